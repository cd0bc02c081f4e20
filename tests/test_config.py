"""Where key and URL come from, and what a credentials file may look like."""

import os
from pathlib import Path

import pytest

from robotrace import config
from robotrace.config import Target, find_target, home_dir, resolve_target, spool_root, target_settings
from robotrace.errors import ConfigurationError

KEY = "rt_0123456789_canary"
URL = "http://127.0.0.1:8321"


@pytest.fixture
def credentials(robotrace_home):
    """Writes the credentials file."""

    def write(text, mode=0o600):
        path = robotrace_home / "credentials"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    return write


def profile(name, key, url):
    return f'[{name}]\napi_key = "{key}"\nbase_url = "{url}"\n'


# --- the order


def test_arguments_win_over_everything(credentials, monkeypatch):
    credentials(profile("default", "file-key", "http://file"))
    monkeypatch.setenv("ROBOTRACE_API_KEY", "env-key")
    monkeypatch.setenv("ROBOTRACE_BASE_URL", "http://env")
    assert resolve_target(api_key="key", base_url="http://argument") == Target("http://argument", "key")


def test_the_environment_wins_over_the_file(credentials, monkeypatch):
    credentials(profile("default", "file-key", "http://file"))
    monkeypatch.setenv("ROBOTRACE_API_KEY", "env-key")
    monkeypatch.setenv("ROBOTRACE_BASE_URL", "http://env")
    assert resolve_target() == Target("http://env", "env-key")


def test_the_file_is_the_last_resort(credentials):
    credentials(profile("default", "file-key", "http://file"))
    assert resolve_target() == Target("http://file", "file-key")


def test_key_and_url_are_resolved_each_on_their_own(credentials, monkeypatch):
    credentials(profile("default", "file-key", "http://file"))
    monkeypatch.setenv("ROBOTRACE_BASE_URL", "http://env")
    assert resolve_target() == Target("http://env", "file-key")
    assert resolve_target(api_key="key") == Target("http://env", "key")
    monkeypatch.delenv("ROBOTRACE_BASE_URL")
    assert resolve_target(api_key="key") == Target("http://file", "key")


def test_an_empty_variable_is_none(credentials, monkeypatch):
    credentials(profile("default", "file-key", "http://file"))
    monkeypatch.setenv("ROBOTRACE_API_KEY", "")
    monkeypatch.setenv("ROBOTRACE_BASE_URL", "  ")
    assert resolve_target() == Target("http://file", "file-key")


def test_a_broken_file_does_not_matter_where_it_is_not_needed(credentials, monkeypatch):
    credentials("this is no TOML", mode=0o644)
    monkeypatch.setenv("ROBOTRACE_API_KEY", KEY)
    assert resolve_target(base_url=URL) == Target(URL, KEY)


@pytest.mark.parametrize(
    ("given", "missing", "not_missing"),
    [
        ({}, ["no API key and no base URL", "ROBOTRACE_API_KEY", "ROBOTRACE_BASE_URL"], []),
        ({"api_key": KEY}, ["no base URL", "ROBOTRACE_BASE_URL"], ["API key", "ROBOTRACE_API_KEY"]),
        ({"base_url": URL}, ["no API key", "ROBOTRACE_API_KEY"], ["base URL", "ROBOTRACE_BASE_URL"]),
    ],
)
def test_what_is_missing_is_named_with_the_way_to_get_it(given, missing, not_missing):
    with pytest.raises(ConfigurationError) as caught:
        resolve_target(**given)
    text = str(caught.value)
    assert all(part in text for part in [*missing, "robotrace login", "robotrace serve"])
    assert not any(part in text for part in not_missing)


# --- profiles


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("lab", "lab"),
        ("my lab 2", '"my lab 2"'),
        ("lab.arm", '"lab.arm"'),
        ("Labor Zürich", '"Labor Zürich"'),
        ('quo"te', r'"quo\"te"'),
    ],
)
def test_a_profile_is_chosen_by_any_name(credentials, monkeypatch, name, header):
    credentials(profile("default", "other", "http://other") + profile(header, KEY, URL))
    monkeypatch.setenv("ROBOTRACE_PROFILE", name)
    assert resolve_target() == Target(URL, KEY)


def test_a_profile_that_is_not_there_is_named(credentials, monkeypatch):
    path = credentials(profile("default", KEY, URL))
    monkeypatch.setenv("ROBOTRACE_PROFILE", "lab")
    with pytest.raises(ConfigurationError, match="there is no profile 'lab'") as caught:
        resolve_target()
    assert str(path) in str(caught.value)


def test_a_profile_given_by_argument_wins_over_the_variable(credentials, monkeypatch):
    credentials(profile("lab", KEY, URL) + profile("other", "other-key", "http://other"))
    monkeypatch.setenv("ROBOTRACE_PROFILE", "other")
    assert resolve_target(profile="lab") == Target(URL, KEY)
    assert resolve_target() == Target("http://other", "other-key")


def test_a_profile_given_by_argument_has_to_be_there_even_where_it_is_not_needed(credentials):
    path = credentials(profile("default", KEY, URL) + profile('"my lab"', KEY, URL))
    with pytest.raises(ConfigurationError, match="there is no profile 'lba'") as caught:
        resolve_target(api_key=KEY, base_url=URL, profile="lba")
    assert f"{path} (there are: 'default', 'my lab')" in str(caught.value)
    assert KEY not in str(caught.value)
    with pytest.raises(ConfigurationError, match="not empty"):
        resolve_target(profile="")


def test_a_named_profile_without_a_file_is_told_how_to_make_one():
    with pytest.raises(ConfigurationError, match=r"there is none.*robotrace login --profile"):
        resolve_target(profile="lab")


def test_sources_are_known_and_no_key_is_in_the_repr(credentials, monkeypatch):
    credentials(profile("default", KEY, URL))
    monkeypatch.setenv("ROBOTRACE_BASE_URL", "http://env")
    found = target_settings()
    assert (found.api_key, found.api_key_source) == (KEY, "file")
    assert (found.base_url, found.base_url_source) == ("http://env", "environment")
    assert target_settings(base_url="http://argument").base_url_source == "argument"
    assert KEY not in repr(found)


def test_what_is_missing_has_no_source():
    found = target_settings()
    assert (found.api_key, found.api_key_source, found.base_url, found.base_url_source) == ("", None, "", None)


def test_a_file_without_a_default_profile_is_as_none(credentials):
    credentials(profile("lab", KEY, URL))
    with pytest.raises(ConfigurationError, match="no API key and no base URL"):
        resolve_target()


@pytest.mark.parametrize("text", ["default = 5\n", "[default]\napi_key = 5\nbase_url = [1]\n"])
def test_values_of_another_type_are_as_none(credentials, text):
    credentials(text)
    with pytest.raises(ConfigurationError, match="no API key and no base URL"):
        resolve_target()


def test_fields_of_the_login_beside_key_and_url_are_no_problem(credentials):
    more = 'client_id = "c"\nuser_email = "a@b"\nwritten_at = 2030-01-01T00:00:00Z\n'
    credentials(profile("default", KEY, URL) + more)
    assert resolve_target() == Target(URL, KEY)


# --- the file


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o666, 0o620])
def test_a_file_that_others_can_reach_is_refused_with_the_fix(credentials, mode):
    path = credentials(profile("default", KEY, URL), mode)
    with pytest.raises(ConfigurationError, match="readable by others") as caught:
        resolve_target()
    assert f"chmod 600 {path}" in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_ones_own_is_taken(credentials, mode):
    credentials(profile("default", KEY, URL), mode)
    assert resolve_target().api_key == KEY


@pytest.mark.parametrize("text", [f'[default]\napi_key = "{KEY}', "[default\n", b"\xff\xfe"])
def test_broken_toml_is_named_without_its_content(credentials, text):
    path = credentials(text)
    with pytest.raises(ConfigurationError, match="is not valid TOML") as caught:
        resolve_target()
    assert str(path) in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_folder_in_the_files_place_is_named(robotrace_home):
    (robotrace_home / "credentials").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        resolve_target()


# --- keys and URLs that cannot be right


@pytest.mark.parametrize("key", [f"{KEY} more", f"{KEY}\nX-Other: 1", f"{KEY}…", f"{KEY}\x00"])
def test_a_key_that_is_none_is_refused_and_not_shown(key):
    with pytest.raises(ConfigurationError, match="the API key has a") as caught:
        resolve_target(api_key=key, base_url=URL)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8321",
        "ftp://host",
        "host",
        "http://",
        "http:///path",
        "http://h:99999",
        "http://h:x",
        "http://[h",
        "http://a b",
        "http://a\nb",
    ],
)
def test_a_base_url_that_is_none_is_refused(url):
    with pytest.raises(ConfigurationError, match="the base URL"):
        resolve_target(api_key=KEY, base_url=url)


def test_a_base_url_with_a_password_is_refused_and_not_shown():
    # httpx would send it as Authorization, in the key's place.
    with pytest.raises(ConfigurationError, match="must not carry a user name") as caught:
        resolve_target(api_key=KEY, base_url="https://user:word@host")
    assert "word@" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://user:canary@host:99999", "ftp://user:canary@host", "user:canary@host", "https://u:canary@"]
)
def test_a_password_is_not_shown_where_something_else_is_wrong_with_the_url(url):
    with pytest.raises(ConfigurationError, match="the base URL") as caught:
        resolve_target(api_key=KEY, base_url=url)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        ("http://h/", "http://h"),
        (" https://h:1/a//\n", "https://h:1/a"),
        ("HTTP://H", "HTTP://H"),
        ("http://[::1]:8321", "http://[::1]:8321"),
        ("http://zürich.example", "http://zürich.example"),
    ],
)
def test_a_base_url_loses_its_trailing_slash_and_space(given, resolved):
    assert resolve_target(api_key=KEY, base_url=given).base_url == resolved


def test_the_key_is_not_in_the_repr():
    assert KEY not in repr(Target(URL, KEY))


# --- the rest of the environment


def test_the_home_and_the_spool_follow_their_variables(monkeypatch, tmp_path):
    monkeypatch.setenv("ROBOTRACE_HOME", str(tmp_path / "a"))
    monkeypatch.delenv("ROBOTRACE_SPOOL_DIR")
    assert (home_dir(), spool_root()) == (tmp_path / "a", tmp_path / "a" / "spool")
    monkeypatch.setenv("ROBOTRACE_SPOOL_DIR", "~/b")
    monkeypatch.setenv("ROBOTRACE_HOME", "~/a")
    home = Path(os.environ["HOME"])
    assert (home_dir(), spool_root()) == (home / "a", home / "b")
    monkeypatch.delenv("ROBOTRACE_HOME")
    assert home_dir() == home / ".robotrace"


@pytest.mark.parametrize("home", [None, "~/x"])
def test_a_user_without_a_home_is_told_which_variable_helps(monkeypatch, home):
    def no_home(*_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(Path, "expanduser", no_home)
    monkeypatch.delenv("ROBOTRACE_HOME")
    if home:
        monkeypatch.setenv("ROBOTRACE_HOME", home)
    with pytest.raises(ConfigurationError, match="set ROBOTRACE_HOME"):
        resolve_target()


@pytest.mark.parametrize(("value", "mode"), [("", "online"), (" Offline ", "offline"), ("disabled", "disabled")])
def test_the_mode_is_read_leniently(monkeypatch, value, mode):
    monkeypatch.setenv("ROBOTRACE_MODE", value)
    assert config.mode() == mode
    assert config.recording_enabled() is (mode != "disabled")


def test_a_mode_that_is_none_is_an_error(monkeypatch):
    monkeypatch.setenv("ROBOTRACE_MODE", "of line")
    with pytest.raises(ConfigurationError, match="online, offline or disabled"):
        config.mode()


@pytest.mark.parametrize(("value", "durability"), [("", "power"), ("Power ", "power"), ("process", "process")])
def test_the_durability_is_read_leniently(monkeypatch, value, durability):
    monkeypatch.setenv("ROBOTRACE_DURABILITY", value)
    assert config.durability() == durability


def test_a_durability_that_is_none_is_an_error(monkeypatch):
    monkeypatch.setenv("ROBOTRACE_DURABILITY", "fsync")
    with pytest.raises(ConfigurationError, match="ROBOTRACE_DURABILITY is 'fsync'; it takes power or process"):
        config.durability()


@pytest.mark.parametrize(
    ("value", "enabled"), [("0", False), ("False", False), ("off", False), ("1", True), ("", True)]
)
def test_recording_is_switched_off_by_a_variable(monkeypatch, value, enabled):
    monkeypatch.setenv("ROBOTRACE_ENABLED", value)
    assert config.recording_enabled() is enabled


def test_without_anything_configured_there_is_no_target():
    assert find_target() is None


def test_offline_there_is_no_target(monkeypatch):
    monkeypatch.setenv("ROBOTRACE_API_KEY", KEY)
    monkeypatch.setenv("ROBOTRACE_BASE_URL", URL)
    assert find_target() == Target(URL, KEY)
    monkeypatch.setenv("ROBOTRACE_MODE", "offline")
    assert find_target() is None


def test_half_a_target_is_an_error_and_not_offline(monkeypatch):
    monkeypatch.setenv("ROBOTRACE_API_KEY", KEY)
    with pytest.raises(ConfigurationError, match="no base URL"):
        find_target()


def test_every_variable_has_its_constant():
    names = {value for name, value in vars(config).items() if name.startswith("ENV_")}
    assert {"ROBOTRACE_API_KEY", "ROBOTRACE_BASE_URL", "ROBOTRACE_PROFILE", "ROBOTRACE_HOME"} <= names
    assert all(name.startswith("ROBOTRACE_") for name in names)
