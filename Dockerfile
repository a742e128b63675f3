# One image for every process: docker build -t sml-online --build-arg REVISION=$(git rev-parse HEAD) . && docker run sml-online --help
# Debian's Python, what uv.lock names (no torch, no compiler), and the four packages; runs as a user without rights. /opt/sml/sbom.json lists it all.
ARG BASE=debian:trixie-slim

FROM ${BASE} AS python
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/*

FROM python AS build
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv \
    && python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir uv==0.13.9
ENV UV_PROJECT_ENVIRONMENT=/opt/sml \
    UV_PYTHON=/usr/bin/python3 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_COMPILE_BYTECODE=1 \
    PYC_INVALIDATION_MODE=UNCHECKED_HASH \
    UV_SYSTEM_CERTS=1
WORKDIR /src
COPY pyproject.toml uv.lock ./
RUN /opt/uv/bin/uv sync --locked --no-dev --no-install-project
COPY README.md LICENSE hatch_build.py ./
COPY sml_online sml_online
COPY model model
COPY experiments experiments
COPY paper paper
COPY stream stream
COPY service service
RUN /opt/uv/bin/uv sync --locked --no-dev --no-editable \
    && /opt/uv/bin/uv export --quiet --preview-features sbom-export --frozen --no-dev --format cyclonedx1.5 --output-file /opt/sml/sbom.json
# Numba's cache goes by the sources' times, of which an image keeps whole seconds only.
RUN find /opt/sml -path '*/site-packages/sml_online/model/*.py' -exec touch --date=@0 {} + \
    && NUMBA_CACHE_DIR=/var/cache/sml /opt/sml/bin/sml compile --all

FROM python
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="SML Online" \
      org.opencontainers.image.description="Learns click probability from a live stream of clicks, and serves it" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
RUN useradd --system --uid 10001 --user-group --no-create-home sml \
    && install --directory --owner=sml --group=sml /srv/sml /srv/sml/data
COPY --from=build /opt/sml /opt/sml
COPY --from=build --chown=sml:sml /var/cache/sml /var/cache/sml
ENV PATH=/opt/sml/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/var/cache/sml
USER 10001:10001
# sml.toml is read from here, and data/ is written here.
WORKDIR /srv/sml
VOLUME /srv/sml/data
ENTRYPOINT ["sml"]
