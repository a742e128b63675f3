"""No secret of [log.security] is shown, whatever is asked, written or wrong; and what is written is its owner's alone."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.main import get_command
from typer.testing import CliRunner

from service.cli import app
from service.settings import Settings, SettingsError, load
from stream.log.settings import LogSettings, SecuritySettings
from tests.helpers.kafka_server import ROOT
from tests.helpers.ports import free_port
from tests.helpers.site import Site

SECRET = "correct-horse-battery"
SASL = {"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "u", "password": SECRET}
WRONG = [
    f'password = "{SECRET}"\nprotocl = "SSL"',
    f'password = ["{SECRET}"]',
    f'password = "{SECRET}"\nkey_password = {{ is = "{SECRET}" }}',
    f'protocol = "SASL_SSL"\nmechanism = "PLAIN"\npassword = "{SECRET}"',
    f'protocol = "SSL"\npassword = "{SECRET}"\nmechanism = "PLAIN"',
    f'username = 5\npassword = "{SECRET}"',
    f'protocol = "SASL_SSL"\nmechanism = "PLAIN"\nusername = "u"\npassword = "{SECRET}"\npassword_file = "{SECRET}"',
    f'protocol = "SASL_SSL"\nmechanism = "OAUTHBEARER"\nusername = "u"\npassword = "{SECRET}"\ntoken_url = "https://u:{SECRET}@idp"',
]


@pytest.mark.parametrize("text", WRONG)
def test_an_error_about_a_wrong_setting_does_not_show_the_secret(tmp_path: Path, text: str) -> None:
    (tmp_path / "sml.toml").write_text(f"[log.security]\n{text}\n")

    with pytest.raises(SettingsError, match=r"log\.security") as raised:
        load(tmp_path / "sml.toml")

    assert SECRET not in str(raised.value) + str(raised.value.__cause__)


def test_a_user_in_the_url_is_refused_without_being_shown(tmp_path: Path) -> None:
    (tmp_path / "sml.toml").write_text(f'[log]\nurl = "kafka://me:{SECRET}@broker:9092"\n')

    with pytest.raises(SettingsError, match=r"\[log.security\]") as raised:
        load(tmp_path / "sml.toml")

    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        f"s3://me:{SECRET}@bucket/models",
        f"s3://bucket/models?secret_key={SECRET}",
        f"abfs://me:{SECRET}@account.dfs.core.windows.net/models",
        f"abfs://container@account.dfs.core.windows.net/models?region=a&client_secret={SECRET}",
        f"s3://bucket/models?endpoint_override=me:{SECRET}@host",
    ],
)
def test_an_archives_url_holds_no_credentials_and_a_wrong_one_is_not_shown(tmp_path: Path, url: str) -> None:
    (tmp_path / "sml.toml").write_text(f'[archive]\nurl = "{url}"\n')

    with pytest.raises(SettingsError, match=r"archive\.url: got what is not shown here") as raised:
        load(tmp_path / "sml.toml")

    assert SECRET not in str(raised.value) + str(raised.value.__cause__)


def test_an_unknown_setting_of_the_table_is_answered_with_the_nearest_known_one(tmp_path: Path) -> None:
    (tmp_path / "sml.toml").write_text('[log.security]\nprotocl = "SSL"\n')

    with pytest.raises(SettingsError, match=r"log.security.protocl: no such setting, nearest is 'protocol'"):
        load(tmp_path / "sml.toml")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"ca_file": "ca.pem"}, "protocol SSL or SASL_SSL, where ca_file"),
        ({"protocol": "SSL", "mechanism": "PLAIN"}, "both or neither"),
        ({"protocol": "SASL_SSL"}, "both or neither"),
        ({"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "u"}, "password_file"),
        ({"protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-256", "password": "p"}, "username"),
        ({"protocol": "SASL_PLAINTEXT", "mechanism": "AWS_MSK_IAM"}, "SASL_SSL"),
        ({"protocol": "SSL", "key_file": "key.pem"}, "cert_file"),
        ({"protocol": "SSL", "cert_file": "c", "key_password": "a", "key_password_file": "b"}, "not both"),
        (SASL | {"password_file": "p"}, "not both"),
        (SASL | {"token_url": "https://idp/token"}, "nowhere else"),
        (SASL | {"mechanism": "OAUTHBEARER"}, "token_url"),
    ],
)
def test_a_setting_that_would_silently_protect_nothing_is_refused(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(expected)):
        SecuritySettings.model_validate(given)


def test_the_environment_gives_the_secret_and_no_form_of_the_settings_shows_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sml.toml").write_text('[log.security]\nprotocol = "SASL_SSL"\nmechanism = "PLAIN"\nusername = "u"\n')
    monkeypatch.setenv("SML_LOG__SECURITY__PASSWORD", SECRET)

    settings = load(tmp_path / "sml.toml")

    assert settings.log.security.password
    assert settings.log.security.password.get_secret_value() == SECRET
    shown = (repr(settings), str(settings), f"{settings.log}", settings.model_dump_json(), str(settings.model_dump()))
    assert SECRET not in "".join(shown)


def test_old_settings_without_the_table_mean_what_they_meant() -> None:
    assert LogSettings().security == SecuritySettings()
    assert LogSettings().security.protocol == "PLAINTEXT"


def test_init_writes_every_setting_but_no_secret_and_the_file_can_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (SASL | {"ca_file": "ca.pem", "cert_file": "c.pem", "key_password": SECRET}).items():
        monkeypatch.setenv(f"SML_LOG__SECURITY__{name.upper()}", value)
    (tmp_path / "clicks.csv").write_text("user,click\na,0\nb,1\n")

    for options in ([], ["--all"]):
        done = CliRunner().invoke(app, ["init", str(tmp_path / "clicks.csv"), "-o", str(tmp_path / "sml.toml"), *options])
        assert done.exit_code == 0, done.output
    text = (tmp_path / "sml.toml").read_text()

    assert SECRET not in text + (tmp_path / "sml.toml.old").read_text() + done.output
    assert all(re.search(rf"^(# )?{name}\b", text.partition("[log.security]")[2], re.MULTILINE) for name in SecuritySettings.model_fields)
    assert isinstance(load(tmp_path / "sml.toml"), Settings)


LOGLESS = {
    "evaluate",
    "predict",
    "simulate",
    "reproduce",
    "bench",
    "init",
    "snapshots",
    "rebuild",
    "keys",
    "experiment",
    "explain",
    "arms",
    "compare",
    "compile",
    "import",
    "schema",
}  # or not before a version is known


def test_no_command_shows_the_secret_while_kafka_is_away(tmp_path: Path) -> None:
    (tmp_path / "sml.toml").write_text('[[field]]\nname = "user"\n')
    (tmp_path / "clicks.csv").write_text("user,click\na,0\nb,1\n")
    environment = os.environ | {f"SML_LOG__SECURITY__{name.upper()}": value for name, value in SASL.items()}
    environment |= {"SML_LOG__URL": f"kafka://127.0.0.1:{free_port()}", "PYTHONPATH": str(ROOT)}
    words = {"replay": ["clicks.csv"], "topics": ["create"], "dead-letters": ["list"], "doctor": ["--json"]}
    words["forget"] = ["--field", "user", "--value", "a"]
    words["export"] = ["--format", "safetensors"]
    opening = set(get_command(app).commands) - LOGLESS  # type: ignore[attr-defined]
    running = {
        name: subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "ignore", "-m", "service", name, *words.get(name, [])],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in sorted(opening)
    }
    said = {name: process.communicate(timeout=300)[0] for name, process in running.items()}

    assert opening >= {"up", "join", "learn", "serve", "replay", "topics", "dead-letters", "doctor"}
    assert all("127.0.0.1" in text for text in said.values()), said
    assert SECRET not in "".join(said.values())
    assert {process.returncode for process in running.values()} == {1}


def _modes(folder: Path) -> dict[str, str]:
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if not path.is_symlink()}
    wanted = {path: 0o700 if path.is_dir() else 0o600 for path in found}
    return {str(path.relative_to(folder)): oct(mode) for path, mode in found.items() if mode != wanted[path]}


def test_log_checkpoints_settings_and_logs_are_their_owners_alone(tmp_path: Path) -> None:
    (tmp_path / "clicks.csv").write_text("user,click\n" + "a,0\na,1\nb,0\n" * 50)
    site = Site(tmp_path, "sqlite:///data/deep/log.db")
    before = os.umask(0o022)  # as it is for most people
    try:
        site.sml("init", "clicks.csv", "-o", "made/sml.toml", answer=False)
        (tmp_path / "made" / "sml.toml").rename(tmp_path / "sml.toml")
        site.sml("topics", "create")
        site.sml("replay", "clicks.csv", "--as", "examples")
        with site.running("learn"):
            site.wait_for(lambda: site.get("learn", "/metrics").is_success, "the learner", 120)
            for name in ("learn.log", "clicks.csv"):  # the test's own
                (tmp_path / name).chmod(0o600)
            assert _modes(tmp_path) == {}  # while the write-ahead log is there
        saved = {path.name for path in tmp_path.rglob("*")}
    finally:
        os.umask(before)

    assert {"log.db", "log.db-wal", "sml.toml"} & saved >= {"log.db", "sml.toml"}
    assert any(name.endswith(".checkpoint") for name in saved)
    assert _modes(tmp_path) == {}


def test_the_modes_are_said_where_people_look() -> None:
    page = (ROOT / "deploy" / "kafka.md").read_text(encoding="utf-8")

    assert "mode 0600 in folders of 0700" in page
    assert json.dumps(SECRET) not in page
