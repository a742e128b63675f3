"""Settings are validated on reading; an error names the setting, what was received and what is expected."""

import re
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from model.settings import Field, ModelSettings
from service.settings import Settings, SettingsError, load
from stream.log.settings import format_duration, parse_duration
from stream.log.topics import Kept

DAY = 86_400


@pytest.fixture
def sml_toml(tmp_path: Path) -> Path:
    """Return the path of a settings file."""
    return tmp_path / "sml.toml"


def test_an_empty_file_gives_the_defaults(sml_toml: Path) -> None:
    sml_toml.write_text("")

    assert load(sml_toml) == Settings()


def test_settings_are_read_from_the_file(sml_toml: Path) -> None:
    sml_toml.write_text(
        """
        [log]
        url = "kafka://broker:9092"
        [join]
        click_window = "20s"
        [model]
        hidden = [64, 32]
        [data]
        label = "clicked"
        time = "ts"
        [[field]]
        name = "user_id"
        [[field]]
        name = "price"
        kind = "numeric"
        """
    )

    settings = load(sml_toml)

    assert settings.log.url == "kafka://broker:9092"
    assert settings.join.click_window == 20
    assert settings.data.time == "ts"
    assert settings.spec.model.hidden == (64, 32)
    assert settings.spec.fields == (Field(name="user_id"), Field(name="price", kind="numeric"))


def test_the_environment_wins_over_the_file_and_leaves_the_rest(sml_toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sml_toml.write_text('[log]\nurl = "sqlite:///a.db"\nprefix = "mine"\n')
    monkeypatch.setenv("SML_LOG__URL", "kafka://broker:9092")
    monkeypatch.setenv("SML_MODEL__HIDDEN", "[16]")
    monkeypatch.setenv("SML_DATA_DIR", "/no/setting/of/ours")

    settings = load(sml_toml)

    assert (settings.log.url, settings.log.prefix) == ("kafka://broker:9092", "mine")
    assert settings.model.hidden == (16,)


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket",
        "s3://bucket/a/folder?region=eu-central-1&scheme=http&endpoint_override=127.0.0.1:9000",
        "gs://bucket/models",
        "abfs://container@account.dfs.core.windows.net/models",
        "file:///var/models",
    ],
)
def test_an_archive_is_a_bucket_or_a_folder(sml_toml: Path, url: str) -> None:
    sml_toml.write_text(f'[archive]\nurl = "{url}"\n')

    assert load(sml_toml).archive.url == url


OVERLAP = "".join(f"[[field]]\nname = '{name}'\n" for name in "ab") + "[[field]]\nname = 'c'\nkind = 'multi'\n"
OVERLAP += "[[field]]\nname = 'd'\nkind = 'overlap'\nof = "
CROSS = "[[field]]\nname = 'a'\n[[field]]\nname = 'b'\n[[field]]\nname = 'c'\nkind = 'cross'\nof = "
VIEWS = "[input.impressions]\ntopic = 'site.views'\nid = '/id'\ntime = '/ts'\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[join]\nclick_windw = "1s"', "join.click_windw: no such setting, nearest is 'click_window'"),
        ("[lern]", "lern: no such setting, nearest is 'learn'"),
        ('[[field]]\nname = "a"\nknd = "multi"', "field.0.knd: no such setting, nearest is 'kind'"),
        ('[[field]]\nkind = "multi"', "field.0.name: got nothing, expected a value"),
        ('[[field]]\nname = "a"\nkind = "number"', "field.0.kind: got 'number', expected 'categorical', 'numeric', 'multi'"),
        ('[[field]]\nname = "a"\n[[field]]\nname = "a"', "field: got .*, expected each name once, but a stands there again"),
        (
            '[[field]]\nname = "a"\n[[field]]\nname = "b"\nkind = "cross"',
            "field: .*, expected each cross to be of two fields .a., but b is of none",
        ),
        (f"{CROSS}['a', 'a']", "field: .*, expected each cross to be of two fields .a, b., but c is of a, a"),
        (f"{CROSS}['a', 'c']", "field: .*, expected each cross to be of two fields .a, b., but c is of a, c"),
        ('[[field]]\nname = "a"\nbucket_width = 0.5', "expected `bucket_width` in fields of kind numeric alone, but a is categorical"),
        ('[[field]]\nname = "a"\nkind = "numeric"\nbucket_width = 0', r"field\.0\.bucket_width: got .*, expected"),
        ('[[field]]\nname = "a"\nkind = "numeric"\nbucket_width = inf', r"field\.0\.bucket_width: got .*, expected"),
        ('[[field]]\nname = "a"\nof = ["b", "c"]', "field: .*, expected `of` in fields of kind cross or overlap alone, but a is of b, c"),
        (
            f"{OVERLAP}['a', 'b']",
            "field: .*, expected each overlap to be of a list .kind multi. and a list or a category, but d is of a, b",
        ),
        (f"{OVERLAP}['c']", "field: .*, expected each overlap to be .*, but d is of c"),
        (
            f"{OVERLAP}['a', 'c']\n[[field]]\nname = 'e'\nkind = 'cross'\nof = ['a', 'd']",
            "expected each cross to be of two fields .a, b, c., but e",
        ),
        (f"{CROSS}['a', 'b']\n[privacy]\nfields = ['b']", "privacy.fields to be fields of which no cross is made, got b"),
        ('[join]\nlateness = "ten"', "join.lateness: got 'ten', expected a duration such as 100ms"),
        ("[join]\nlateness = -1", "join.lateness: got -1, expected a duration"),
        ('[log]\nurl = "mysql://x"', "log.url: got 'mysql://x', expected sqlite:///path/to/log.db or kafka://host:9092"),
        ("[serve]\nport = 70000", "serve.port: got 70000, expected less than or equal to 65535"),
        ("[model]\nhidden = [0]", "model.hidden.0: got 0, expected greater than or equal to 1"),
        ('[data]\nlabel = "x"\ntime = "x"', "data: got .*, expected a column of its own"),
        ('[data]\nclick_time = "x"', "data: got .*, expected time, where click_time is given"),
        ('[archive]\nurl = "http://bucket/models"', r"archive.url: got what is not shown here, expected s3://bucket/folder, gs://"),
        ('[learn]\nslices = ["a"]\n[[field]]\nname = "a"\nkind = "multi"', "learn.slices to be fields of kind categorical or .* got a"),
        ('[learn]\nslices = ["a"]\n[privacy]\nfields = ["a"]\n[[field]]\nname = "a"', "not in privacy.fields, got a"),
        ('[learn]\nslices = ["a", "b", "c", "d", "e"]', "learn.slices: got .*, expected Tuple should have at most 4 items"),
        (f"{VIEWS}[join]\nrekey = false", r"join.rekey: got false, expected true where there is \[input\]"),
        (f"{VIEWS}items = 'skus'", "input.impressions.items: got 'skus', expected a JSON Pointer such as /user/id"),
        (f"{VIEWS}itms = '/skus'", "input.impressions.itms: no such setting, nearest is 'items'"),
        (f"{VIEWS}item_features = {{ sku = '' }}", "input.impressions: got .*, expected items, where item_features are given"),
        (VIEWS.replace("site.views", "sml.impressions-by-id"), "input: got the topic sml.impressions-by-id, expected one of your site's"),
        (f"{VIEWS}{VIEWS.replace('impressions', 'clicks')}", "input: got .*, expected where to tell impressions from clicks"),
        ("[input.views]", "input.views: no such setting, nearest is 'impressions'"),
        ("log = 5", "log: got 5, expected"),
        ("no toml", r"sml.toml: expected TOML: .*line 1"),
    ],
)
def test_a_wrong_setting_is_answered_with_where_got_and_expected(sml_toml: Path, text: str, complaint: str) -> None:
    sml_toml.write_text(text)

    with pytest.raises(SettingsError, match=complaint):
        load(sml_toml)


def test_the_embeddings_of_deepfm_have_their_own_defaults(sml_toml: Path) -> None:
    sml_toml.write_text('[model]\nnetwork = "deepfm"')
    assert load(sml_toml).model.embedding_rate < ModelSettings().embedding_rate

    sml_toml.write_text('[model]\nnetwork = "deepfm"\nembedding_rate = 0.5')
    assert load(sml_toml).model.embedding_rate == 0.5


def test_a_wrong_network_is_the_only_complaint(sml_toml: Path) -> None:
    sml_toml.write_text('[model]\nnetwork = "fm"')

    with pytest.raises(SettingsError, match=r"^[^\n]*model.network: got 'fm', expected 'dnn', [^\n]*$"):
        load(sml_toml)


def test_every_wrong_setting_is_named_at_once(sml_toml: Path) -> None:
    sml_toml.write_text("[serve]\nport = -1\n[table]\ncapacity = 7\n")

    with pytest.raises(SettingsError, match=r"(?s)table\.capacity.*serve\.port"):
        load(sml_toml)


def test_a_wrong_variable_is_named_instead_of_the_file(sml_toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sml_toml.write_text("")
    monkeypatch.setenv("SML_LOG__PARTITIONS", "none")

    with pytest.raises(SettingsError, match=r"^SML_LOG__PARTITIONS: log.partitions: got 'none', expected a valid integer"):
        load(sml_toml)


def test_a_file_that_is_not_there_is_answered_with_how_to_get_one(sml_toml: Path) -> None:
    with pytest.raises(SettingsError, match=re.escape(f"{sml_toml}: got No such file") + ".*sml init"):
        load(sml_toml)


@pytest.mark.parametrize(
    ("text", "delay"),
    [
        ("", 660_000),
        ('[data]\ntime = "ts"', 660_000),
        ('[data]\nformat = "avazu"\n[join]\nclick_window = "20s"\nlateness = "2s"\nlabel_policy = "fnw"', 22_000),
        ('[data]\nformat = "criteo"', 50),
    ],
)
def test_records_wait_for_as_long_as_a_label_does_and_for_some_rows_in_a_file_without_times(sml_toml: Path, text: str, delay: int) -> None:
    sml_toml.write_text(f'{text}\n[model]\nrecords = true\n[[field]]\nname = "user"')
    assert load(sml_toml).spec.label_delay == delay

    sml_toml.write_text(f'{text}\n[[field]]\nname = "user"')
    assert load(sml_toml).spec.label_delay == 0
    assert not {"label_delay", "records"} & load(sml_toml).spec.model_dump(exclude_defaults=True).keys()


def test_a_model_without_fields_is_refused() -> None:
    with pytest.raises(SettingsError, match="field: got none, expected at least one"):
        _ = Settings().spec


@pytest.mark.parametrize(
    ("text", "seconds"), [("100ms", 0.1), ("30s", 30), ("1.5s", 1.5), ("10m", 600), ("1h", 3_600), ("2d", 172_800), ("0s", 0), (0.25, 0.25)]
)
def test_durations_are_read_as_people_write_them(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@given(st.floats(min_value=0, max_value=1e9).map(lambda seconds: round(seconds, 3)))
def test_a_duration_that_is_written_reads_back_as_itself(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize("text", ["100ms", "30s", "10m", "1h", "2d", "90s"])
def test_a_duration_is_written_as_it_was(text: str) -> None:
    assert format_duration(parse_duration(text)) == text


def test_a_share_of_choices_at_random_explores_as_it_did_before_there_was_another_way(sml_toml: Path) -> None:
    sml_toml.write_text("[serve]\nepsilon = 0.1")

    assert load(sml_toml).serve.explore == "epsilon"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[serve]\nexplore = "thompson"\nepsilon = 0.1', "explore to be epsilon, where epsilon is 0.1, or epsilon to be 0"),
        ('[serve]\nexplore = "none"\nepsilon = 0.1', "explore to be epsilon"),
        ('[serve]\nexplore = "greedy"', "got 'greedy', expected 'none', 'epsilon' or 'thompson'"),
        ('[serve]\nexplore = "thompson"', r"serve\.explore: got 'thompson', expected records = true in model"),
        (
            '[serve]\nexplore = "thompson"\n[model]\nrecords = true\n[arms.control]\n[arms.other]\nmodel = { records = false }',
            r"expected records = true in arms\.other\.model",
        ),
    ],
)
def test_exploration_that_the_settings_do_not_allow_is_refused(sml_toml: Path, text: str, message: str) -> None:
    sml_toml.write_text(text)

    with pytest.raises(SettingsError, match=message):
        load(sml_toml)


def test_records_that_a_restart_needs_are_kept(sml_toml: Path) -> None:
    sml_toml.write_text('[log]\nretention = "20m"')
    with pytest.raises(
        SettingsError, match=r"^.*sml\.toml: log\.retention: got 20m, expected at least 74m, which a restart needs by click_window"
    ):
        load(sml_toml)
    sml_toml.write_text('[log]\nretention = "20d"\n[join]\nclick_window = "10d"\nlate_clicks = "learn"')
    with pytest.raises(SettingsError, match=r"expected at least 43254m"):
        load(sml_toml)


def test_settings_that_say_nothing_of_retention_keep_what_their_window_needs(sml_toml: Path) -> None:
    sml_toml.write_text("")
    assert load(sml_toml).kept == Kept(records=7 * DAY, dead_letters=30 * DAY, weights=3600)
    sml_toml.write_text('[join]\nclick_window = "10d"')

    assert 20 * DAY < load(sml_toml).kept.records < 21 * DAY


@pytest.mark.parametrize("key", ["schema_registry = 'https://user:hunter2@registry'", "schema_registry_password = ['hunter2']"])
def test_no_error_shows_the_password_of_a_schema_registry(tmp_path: Path, key: str) -> None:
    (tmp_path / "sml.toml").write_text(f"[join]\n{key}\n[[field]]\nname = 'user'\n")

    with pytest.raises(SettingsError, match="schema_registry") as caught:
        load(tmp_path / "sml.toml")

    assert "hunter2" not in str(caught.value)
