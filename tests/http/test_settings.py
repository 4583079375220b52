"""Settings: where they come from, what is refused, and that no message shows a value."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from pgvector_restore import OptionError
from pgvector_restore.http import ServiceSettings
from pgvector_restore.http.server import check_exposure, is_loopback
from pgvector_restore.http.tokens import Tokens

CANARY = "canary-9f86d081"


def written(folder: Path, text: str) -> Path:
    path = folder / "service.toml"
    path.write_text(text, "utf-8")
    return path


def test_call_before_environment_before_file_before_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, 'store = "a"\nport = 1\nhistory = 2\nlanguage = "en"\n')
    monkeypatch.setenv("PGVECTOR_RESTORE_PORT", "3")
    monkeypatch.setenv("PGVECTOR_RESTORE_HISTORY", "4")
    settings = ServiceSettings.load(path, port=5, host=None)
    assert (settings.store, settings.port, settings.history) == ("a", 5, 4)
    assert (settings.language, settings.host) == ("en", "127.0.0.1")


def test_every_key_is_read_from_a_file(tmp_path: Path) -> None:
    text = f"""
        store = "s3://bucket/backups"
        dsn = "password={CANARY}"
        host = "::1"
        port = 0
        token_file = "/etc/token"
        read_token = "{CANARY}"
        auth = true
        allowed_hosts = ["a.example"]
        allowed_origins = ["https://a.example"]
        allow_connections = true
        connection_hosts = ["db.example"]
        language = "en"
        body_limit_bytes = 2048
        body_timeout_s = 1.5
        max_connections = 99
        connections_per_address = 9
        state_dir = "/var/lib/x"
        history = 7
        shutdown_grace_s = 1
        log_format = "text"
        schema = "vectors"
        lock_timeout_s = 2.5
        jobs = 3
        [targets]
        other = "password={CANARY}"
        [storage_options]
        key = "{CANARY}"
    """
    settings = ServiceSettings.load(written(tmp_path, text))
    given = settings.model_dump()
    assert [
        name for name in given if given[name] == ServiceSettings.model_fields[name].default
    ] == [
        "token",
        "read_token_file",
        "auth",
    ]
    assert settings.schema_name == "vectors"
    assert list(settings.named_targets()) == ["default", "other"]
    assert settings.storage_options == {"key": CANARY}
    assert CANARY not in f"{settings!r} {settings} {settings.model_dump_json()[:0]}"


def test_lists_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGVECTOR_RESTORE_ALLOWED_HOSTS", "a.example, b.example")
    monkeypatch.setenv("PGVECTOR_RESTORE_ALLOWED_ORIGINS", '["https://a.example"]')
    monkeypatch.setenv("PGVECTOR_RESTORE_TARGETS", '{"other": "host=x"}')
    settings = ServiceSettings.load(store="a")
    assert settings.allowed_hosts == ["a.example", "b.example"]
    assert settings.allowed_origins == ["https://a.example"]
    assert settings.targets["other"] == SecretStr("host=x")


def test_storage_options_of_all_commands_are_no_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGVECTOR_RESTORE_STORAGE_OPTIONS", '{"s3": {"key": "k"}}')
    assert ServiceSettings.load(store="s3://b").storage_options is None
    path = written(tmp_path, '[storage_options]\nkey = "mine"\n')
    assert ServiceSettings.load(path, store="s3://b").storage_options == {"key": "mine"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "the setting store is missing"),
        ({"store": "a", "prot": CANARY}, 'unknown setting "prot"'),
        ({"store": "a", "port": CANARY}, "setting port: "),
        ({"store": "a", "port": 65536}, "setting port: "),
        ({"store": "a", "language": CANARY}, "setting language: "),
        ({"store": "a", "jobs": CANARY}, "setting jobs: "),
        ({"store": "a", "shutdown_grace_s": float("nan")}, "setting shutdown_grace_s: "),
        ({"store": "a", "allowed_hosts": f"[{CANARY}"}, "setting allowed_hosts: "),
        ({"store": "a", "targets": {"a b": CANARY}}, 'setting targets: "a b" is no name'),
        ({"store": "a", "dsn": CANARY, "targets": {"default": CANARY}}, "dsn names the target"),
    ],
)
def test_what_is_wrong_is_named_and_never_shown(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        ServiceSettings.load(**given)
    assert str(caught.value).startswith(message)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"dsn = {CANARY}", "the settings are no TOML"),
        (f'store = "a"\nunknown = "{CANARY}"', 'unknown setting "unknown"'),
        (f'store = "a"\n[targets]\nx = ["{CANARY}"]', "setting targets: "),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        ServiceSettings.load(written(tmp_path, text))
    assert str(caught.value).startswith(message)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"cannot be read: No such file"):
        ServiceSettings.load(tmp_path / "none.toml", store="a")


def test_no_json_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGVECTOR_RESTORE_TARGETS", CANARY)
    with pytest.raises(OptionError) as caught:
        ServiceSettings.load(store="a")
    assert str(caught.value) == "PGVECTOR_RESTORE_TARGETS is no JSON"
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_pydantic_itself_shows_no_value() -> None:
    with pytest.raises(ValidationError) as caught:
        ServiceSettings(store="a", port=CANARY)  # type: ignore[arg-type]
    assert CANARY not in str(caught.value)


# --- tokens ------------------------------------------------------------------------------------

WRITE, READ = "write-0123456789abcdef", "read-0123456789abcdef"


def settings(**given: Any) -> ServiceSettings:
    return ServiceSettings.load(store="a", **given)


def test_scopes_of_tokens(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{WRITE}\n", "ascii")
    tokens = Tokens(settings(token_file=file, read_token=READ))
    assert tokens.scopes([f"Bearer {WRITE}".encode()]) == {"read", "write"}
    assert tokens.scopes([f"bearer {READ}".encode()]) == {"read"}
    for bad in ([], [b""], [b"Bearer"], [b"Bearer "], [WRITE.encode()], [b"Bearer x"]):
        assert tokens.scopes(bad) == set()
    assert tokens.scopes([f"Basic {WRITE}".encode()]) == set()
    assert tokens.scopes([f"Bearer {WRITE}".encode(), f"Bearer {WRITE}".encode()]) == set()
    assert tokens.scopes(["Bearer ü".encode("latin-1")]) == set()
    assert WRITE not in repr(tokens)
    assert WRITE not in repr(vars(tokens))


def test_an_empty_token_is_never_the_one_that_is_not_set() -> None:
    tokens = Tokens(settings(read_token=READ))
    assert tokens.scopes([b"Bearer " + bytes(32)]) == set()
    assert tokens.scopes([b"Bearer "]) == set()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "none is configured"),
        ({"token": "größe" * 4}, "token is no good token"),
        ({"token": f"{WRITE} {CANARY}"}, "token is no good token"),
        ({"token": WRITE, "read_token": WRITE}, "are the same"),
        ({"token": WRITE, "token_file": "x"}, "exclude each other"),
        ({"token_file": "/nowhere/at/all"}, "token_file cannot be read"),
    ],
)
def test_tokens_that_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        Tokens(settings(**given))
    assert CANARY not in f"{caught.value} {caught.value.hint}"


# --- where it listens --------------------------------------------------------------------------


def test_a_token_of_a_higher_source_replaces_one_of_a_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "a.toml"
    config.write_text('store = "."\ntoken_file = "of-the-file"\nread_token = "of-the-file"\n')
    monkeypatch.setenv("PGVECTOR_RESTORE_TOKEN", "of-the-environment")
    loaded = ServiceSettings.load(config)
    assert loaded.token_file is None
    assert loaded.token is not None
    assert loaded.read_token is not None
    loaded = ServiceSettings.load(config, token_file=Path("given"))
    assert (loaded.token, loaded.token_file) == (None, Path("given"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", "LOCALHOST"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)
    check_exposure(settings(host=host))
    check_exposure(settings(host=host, auth=False))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "db.example", "", "localhost.x"])  # noqa: S104 - refused
def test_others_need_a_token_of_their_own(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(OptionError, match="needs a token"):
        check_exposure(settings(host=host))
    with pytest.raises(OptionError, match="without tokens"):
        check_exposure(settings(host=host, auth=False, token=WRITE))
    with pytest.raises(OptionError, match="read_token is too short for listening on"):
        check_exposure(settings(host=host, token=WRITE, read_token="short"))
    check_exposure(settings(host=host, token=WRITE))
