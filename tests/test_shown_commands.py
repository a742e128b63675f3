"""Every command that a page shows is one: those of ``sml`` run here, one after the other as the pages say, or are started by another test.

What is not ours (Docker, kubectl, pip) is named below, with what stands in for it.
"""

import gzip
import random
import re
import shlex
import subprocess
import time
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.main import get_command

from service.cli import app
from service.commands import forget
from service.settings import Settings
from stream.log.connect import connect
from stream.log.contract import Message
from stream.log.topics import Topics
from tests.test_docs import PAGES, ROOT, TESTS

PROGRAMS = "sml|make|curl|docker|docker-compose|kubectl|python|pytest|pip|npm|uvicorn"
LEFT_OUT = re.compile(r"Missing (argument|option|command)|requires an argument|^Commands:", re.MULTILINE)  # in a line of text
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

# In this order, in one folder. What runs until it is stopped is given --until-caught-up.
RUN = """
sml --help
sml init sample.csv -o sml.toml
sml init clicks.csv.gz --label click --time ts
sml evaluate clicks.csv.gz
sml evaluate clicks.csv.gz --protocol usual
sml evaluate clicks.csv.gz --report page.html --slice country
sml compare clicks.csv.gz sml.toml smaller.toml
sml topics create
sml topics update
sml topics schema impressions
sml replay clicks.csv.gz
sml join
sml learn
sml explain request.json
sml snapshots list
sml snapshots hold
sml snapshots approve
sml snapshots rollback --to VERSION
sml snapshots rollback --to VERSION --replay
sml dead-letters list
sml dead-letters show OFFSET
sml dead-letters retry
sml doctor
sml keys create --role predict --role ingest --name shop
sml learn --arm treatment
sml learn --arms control,treatment
sml arms start treatment --share 0.01 --experiment no-skip
sml arms start treatment --share 0.5
sml arms list
sml arms list --decisions
sml experiment report no-skip
sml arms promote treatment
sml arms retire control
sml forget --field user_id --value u17
sml forget --field user_id --value u17 --verify
""".strip().splitlines()
MAY_SAY_NO = {
    "sml doctor",  # to this machine
    "sml arms promote treatment",  # while it has not learned enough
    "sml forget --field user_id --value u17 --verify",  # no server answers
}
# What another test starts, or what stands in for it.
ELSEWHERE = {
    "sml up": "test_the_tutorial_ends_with_what_was_clicked_on_top",
    "sml up --takeover": "test_a_second_start_in_one_folder_ends_with_a_word_and_takes_over_only_on_purpose",
    "sml init clicks.csv --label click --time ts": "test_files",
    "sml evaluate clicks.csv": "test_files",
    "sml init kafka://broker:9092/site.views kafka://broker:9092/site.clicks": "test_views_of_several_items_and_clicks_on_them_are_found_in_a_site_s_own_topics",
    "sml serve": "test_every_row_is_joined_learned_once_and_served",
    "sml serve --workers 4": "test_workers_answer_from_the_learners_weights_to_the_last_bit",
    "sml serve --model ctr=ctr.toml --model cvr=cvr.toml": "test_the_command_serves_each_model_from_its_own_settings",
    "sml serve --model NAME=TOML": "test_the_command_serves_each_model_from_its_own_settings",
    "sml serve --certfile server.pem --keyfile server.key": "test_a_server_with_a_certificate_answers_over_tls_only",
    "sml join --partitions 0-7": "test_two_joiners_on_kafka_write_what_one_does_and_one_that_is_killed_stops_no_other",
    "sml join --partitions 8-15": "test_two_joiners_on_kafka_write_what_one_does_and_one_that_is_killed_stops_no_other",
    "sml join --engine flink": "test_flink_takes_over_from_a_joiner_is_killed_and_has_given_what_one_joiner_gives",
    "sml join-task": "test_tasks_that_are_killed_and_rescaled_decide_as_one_joiner_does",
    "sml snapshots verify": "test_verify_also_verifies_the_archive",
    "sml join --accept-gap": "tests/stream/join/test_gaps.py",
    "sml learn --accept-gap": "test_examples_deleted_before_they_were_learned_stop_the_learner_until_the_gap_is_accepted",
    "sml experiment guard": "test_a_guard_that_is_killed_and_two_that_guard_at_once_write_one_decision",
    "sml schema COMMAND": "test_a_schema_is_printed_and_a_wrong_name_is_answered_with_the_nearest",
    "sml simulate": "test_traffic_waits_for_the_server_and_every_click_is_sent_once",
    "sml predict": "test_predicting_once_gives_what_the_server_gives",
    "sml export --format onnx": "test_the_command_exports_what_is_served_now_a_past_version_or_a_checkpoint",
    "sml import model.pt --rows embeddings.parquet": "test_it_predicts_as_the_network_that_was_imported",
    "sml compile --all": "test_the_image_holds_its_kernels_compiled",
    "sml bench step": "test_the_kernels_side_learns_every_example_it_was_made_with",
    "sml reproduce --criteo train.txt --avazu train.csv": "test_one_command_makes_every_table_and_figure",
    "curl localhost:8000/v1/freshness": "test_the_last_heartbeats_are_told_with_their_hops",
    "curl localhost:8000/v1/model": "test_a_server_says_that_newer_versions_are_held_and_what_each_check_found",
    "curl localhost:8000/v1/predict": "test_curl",
    "curl localhost:8000/v1/clicks": "test_curl",
    "curl https://ads.example.org:8000/v1/predict": "test_a_server_with_a_certificate_answers_over_tls_only",  # it stands for your server
    "curl http://127.0.0.1:8000/": "test_curl",
    "uvicorn": "test_the_shop_shows_predicts_and_learns_what_is_clicked",
    "npm": "test_node_predicts_logs_and_clicks_with_it",
    "docker build": "test_the_image_starts_the_command_as_a_user_without_rights",
    "docker-compose": "test_every_service_is_healthy_on_a_real_kafka_by_its_own_check",  # there is no Docker: as processes
    "kubectl": "test_kubectl_renders_what_is_there_into_one_namespace_with_one_image",  # there is no cluster
    "pip install": "test_pipx_runs_it_in_an_empty_folder_and_so_does_what_it_starts",
}


class Shown(NamedTuple):
    """A command that a page shows."""

    command: str
    in_block: bool  # to be typed as it is; in a line of text it may leave out what it is given


def shown_on(page: Path) -> Iterator[Shown]:
    """Yield the commands of a page, without comments and variables."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = "\n".join(block for language, block in _BLOCK.findall(text) if language in ("", "sh"))
    rest = _BLOCK.sub("", text)
    written = [
        *((line, True) for line in re.findall(r"^(?:\$ )?(.+)$", blocks, re.MULTILINE)),
        *((line, True) for line in re.findall(r"^    (.+)$", rest, re.MULTILINE)),
        *((span, False) for span in re.findall(r"`([^`\n]+)`", rest)),
    ]
    for line, in_block in written:
        for command in re.split(r"&&|&(?= |$)", re.sub(r"\s#.*", "", line)):
            if found := re.fullmatch(rf"(?:[A-Z_]+=\S+ )*((?:{PROGRAMS}) .+?)", command.strip()):
                yield Shown(found[1], in_block)


SHOWN = {(page, shown) for page in PAGES if page.name != "CHANGELOG.md" for shown in shown_on(page)}
USED = {page for page in PAGES if not page.is_relative_to(ROOT / "benchmarks")}  # the others measure, for minutes and more


def main(program: Any, words: list[str]) -> tuple[int, str]:
    """Run the program; return its status, and what it printed."""
    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as ended:
        program.main(words, prog_name="sml")
    return int(ended.value.code or 0), said.getvalue()


@pytest.fixture(scope="module")
def parser() -> Any:
    """Return the program, whose commands are taken and do nothing."""
    program: Any = get_command(app)
    commands = [program]
    while commands:
        command = commands.pop()
        command.callback = lambda **_: None
        commands += getattr(command, "commands", {}).values()
    return program


def words_of(command: str) -> list[str]:
    """Return the words after the first; those in capitals stand for something."""
    return [re.sub(r"^[A-Z]+$|(?<==)[A-Z]+$|^[A-Z]+(?==)", "1", word) for word in shlex.split(command)[1:]]


def test_what_a_page_shows_of_sml_is_taken_by_the_real_parser_and_run_by_a_test(parser: Any) -> None:
    wrong, not_run = {}, set()
    run = {str(words_of(each)) for each in (*RUN, *ELSEWHERE)}
    for page, (command, in_block) in SHOWN:
        if command.startswith("sml "):
            status, said = main(parser, words_of(command))
            incomplete = LEFT_OUT.search(said)
            if status and "No such file" not in said and (in_block or not incomplete):
                wrong[f"{page.name}: {command}"] = said
            elif page in USED and not incomplete and str(words_of(command)) not in run:
                not_run.add(f"{page.name}: {command}")

    assert wrong == {}
    assert not_run == set()


def test_what_a_page_shows_of_other_programs_is_there() -> None:
    for page, (command, _) in SHOWN:
        program, *words = shlex.split(command) if command.count("'") % 2 == 0 else command.split()
        if program == "make":
            assert subprocess.run(["make", "--dry-run", *words], cwd=ROOT, capture_output=True, check=False).returncode == 0, (
                page,
                command,
            )
        elif program == "python" and words[0] == "-m":
            assert find_spec(words[1]), (page, command)
        elif program == "pytest":
            assert all((ROOT / word).exists() for word in words if word.startswith("tests/")), (page, command)
        elif program != "sml":
            assert any(command.startswith(each) for each in ELSEWHERE), (page, command)


def test_what_runs_elsewhere_is_there() -> None:
    assert [test for test in ELSEWHERE.values() if f"def {test}(" not in TESTS and not (ROOT / test).exists()] == []


@pytest.mark.parametrize(
    "page", sorted({page for page in USED if "```toml" in page.read_text(encoding="utf-8")}), ids=lambda page: page.name
)
def test_the_settings_that_a_page_shows_are_settings(page: Path) -> None:
    shown: dict[str, Any] = {}
    for language, block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        for table, values in (tomllib.loads(block) if language == "toml" else {}).items():
            shown[table] = shown.get(table, {}) | values  # on top of what the page has shown before

    assert Settings.model_validate(shown)


def write_files(folder: Path) -> None:
    """Write what the commands read: a recorded log of the last hour, and a request."""
    chance, now = random.Random(7), int(time.time())
    lines = ["ts,user_id,item_id,country,price,click"]
    for second in range(600):
        item, country = chance.choice(["cup", "pot", "tea"]), chance.choice(["at", "ch"])
        click = int(chance.random() < {"cup": 0.1, "pot": 0.3, "tea": 0.6}[item])
        lines.append(f"{now - 3_600 + second},u{chance.randrange(40)},{item},{country},{chance.uniform(3, 30):.2f},{click}")
    (folder / "sample.csv").write_text("\n".join(lines))
    (folder / "clicks.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (folder / "request.json").write_text('{"context": {"user_id": "u17"}, "candidates": [{"id": "a", "item_id": "tea"}]}')


def before(command: str, folder: Path) -> None:
    """Do what stands between the commands in the pages."""
    settings = folder / "sml.toml"
    if command.startswith("sml compare"):
        (folder / "smaller.toml").write_text(re.sub(r"(?m)^capacity = .*", "capacity = 1_024", settings.read_text()))
    elif command == "sml join":  # something to find among the dead letters
        with connect(Settings().log.url) as log:
            log.append([Message(Topics("sml").impressions, b"i-1", b"rubbish")] * 2)
    elif command == "sml learn --arm treatment":
        page = (ROOT / "docs/several-models.md").read_text(encoding="utf-8")
        settings.write_text(settings.read_text() + _BLOCK.findall(page)[1][1])
        assert main(get_command(app), ["topics", "create"])[0] == 0
    elif command == "sml arms retire control":
        assert main(get_command(app), ["arms", "promote", "treatment", "--anyway"])[0] == 0


def test_the_commands_of_the_pages_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SML_JOIN__METRICS_PORT": "0", "SML_LEARN__METRICS_PORT": "0", "SML_ACCESS__KEYS": "data/keys.json"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(forget, "PATIENCE", 0.01)  # seconds: no learner runs
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    program = get_command(app)

    for command in RUN:
        before(command, tmp_path)
        words = words_of(command) + ["--until-caught-up"] * command.startswith(("sml join", "sml learn"))
        status, said = main(program, words)

        assert status == 0 or (status == 1 and command in MAY_SAY_NO), f"{command}: {said}"
