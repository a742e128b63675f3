# The two commands of the README are `make up` and `make test`; `make` alone lists the rest.
UV := .venv/bin/uv
.DEFAULT_GOAL := help
unexport PYTHONDONTWRITEBYTECODE  # else each of the hundreds of processes compiles anew all that it imports
.PHONY: help up test faults hostile lint watch client docs audit sbom clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

.venv/ready: pyproject.toml uv.lock
	python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
	$(UV) sync --quiet --frozen --inexact --no-dev
	touch $@

.venv/tests-ready: .venv/ready
	$(UV) sync --quiet --frozen --inexact --all-extras
	touch $@

up: .venv/ready ## learn, serve and simulate on this machine, on the embedded log; EXPERIMENT=sml compares two models; Ctrl-C ends it
	.venv/bin/sml up --simulate $(if $(EXPERIMENT),--experiment $(EXPERIMENT)) --config deploy/simulated.toml

test: .venv/tests-ready ## run every test, three files at a time, a real Kafka, Prometheus and Chromium included
	.venv/bin/sml compile --config deploy/simulated.toml
	.venv/bin/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

faults: .venv/tests-ready ## kill, pause and break everything, for longer than `make test` does
	SML_FAULTS=long .venv/bin/pytest -m faults -s

hostile: .venv/tests-ready ## attack a site from all sides, on each kind of log for SML_HOSTILE seconds (ten minutes)
	SML_HOSTILE=$${SML_HOSTILE:-600} .venv/bin/pytest -s tests/hostile

lint: .venv/tests-ready ## ruff, and mypy --strict
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

watch: .venv/tests-ready ## write deploy/metrics.md, Grafana's dashboards and Kubernetes' rules from the code
	.venv/bin/python -m deploy.watch

client: .venv/tests-ready ## write the TypeScript client's types from the server's OpenAPI document
	cd client/typescript && npm ci --silent --ignore-scripts
	.venv/bin/python -m deploy.typescript

docs: .venv/tests-ready ## build the documentation as a site, in dist/docs; a warning fails it
	.venv/bin/python -m sphinx --quiet --fail-on-warning --builder html --conf-dir docs . dist/docs

OSV := https://api.osv.dev/
audit: .venv/ready ## ask OSV for known vulnerabilities of everything in uv.lock
	@$(UV) audit --quiet --preview-features audit --frozen --service-url $(OSV) --output-format text; status=$$?; \
	case $$status in 0) echo "OSV knows of no vulnerability in uv.lock";; \
	1) echo "OSV knows of vulnerabilities in uv.lock" >&2;; \
	*) echo "nothing is known: OSV at $(OSV) could not be asked" >&2;; esac; exit $$status

sbom: .venv/ready ## write what a release is made of, as CycloneDX, to dist/sbom.json
	mkdir -p dist
	$(UV) export --quiet --preview-features sbom-export --frozen --no-dev --format cyclonedx1.5 --output-file dist/sbom.json

clean: ## remove the environment and what runs have left
	rm -rf .venv .kafka .flink data
