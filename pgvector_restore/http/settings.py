"""Settings of the service: from the call, the environment and a TOML file, in this order."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from pgvector_restore.errors import MissingExtraError, OptionError, quoted

__all__ = ["DEFAULT_TARGET", "ServiceSettings"]

#: Name of the target that ``dsn`` names.
DEFAULT_TARGET = "default"

_PREFIX = "PGVECTOR_RESTORE_"
#: Names of targets are parts of answers, labels of metrics and keys of the jobs' records.
_TARGET_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
#: Two ways to give one token.
_TWINS = (("token", "token_file"), ("read_token", "read_token_file"))
#: Spellings in files and calls that are no attribute's name.
_RENAMED = {"schema": "schema_name"}


def _words(value: object) -> object:
    """A list as the environment has it: JSON, or words with commas between them."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [word.strip() for word in value.split(",") if word.strip()]


_Words = Annotated[list[str], NoDecode, BeforeValidator(_words)]


class ServiceSettings(BaseSettings):
    """What the service is told; :meth:`load` reads a file too and says what is wrong.

    Secrets are ``SecretStr``: no repr, log or error shows them.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=False,
    )

    #: Folder or URL of the backups; existing callers see a relative path as it is written here. A
    #: URL may hold a password.
    store: str = Field(min_length=1, repr=False)
    #: Keywords of the storage. ``None``: as ``PGVECTOR_RESTORE_STORAGE_OPTIONS`` has them for the
    #: protocol, as everywhere; so this key is not read from the environment.
    storage_options: dict[str, Any] | None = Field(default=None, repr=False)
    #: URL or conninfo of the target ``default``.
    dsn: SecretStr | None = None
    #: More targets by name; the environment has them as JSON.
    targets: dict[str, SecretStr] = Field(default_factory=dict)
    #: Address that is listened on.
    host: str = "127.0.0.1"
    #: TCP port; 0: any free one.
    port: int = Field(default=8084, ge=0, le=65535)
    #: Token that may read and write.
    token: SecretStr | None = None
    #: File with that token, its first line.
    token_file: Path | None = None
    #: Token that may only read.
    read_token: SecretStr | None = None
    #: File with the token that may only read.
    read_token_file: Path | None = None
    #: Whether a token is asked for; without, the service listens on loopback only.
    auth: bool = True
    #: Names and addresses in ``Host`` that are answered, besides loopback's and ``host``;
    #: ``*.example.com`` for all names below, ``*`` for any.
    allowed_hosts: _Words = Field(default_factory=list)
    #: Origins (``https://example.com``) whose pages may call the service.
    allowed_origins: _Words = Field(default_factory=list)
    #: Whether callers may name a connection of their own.
    allow_connections: bool = False
    #: Hosts that such connections may lead to.
    connection_hosts: _Words = Field(default_factory=list)
    #: Language of texts where ``Accept-Language`` does not say.
    language: Literal["zh", "en"] = "zh"
    #: Largest body of a request, in bytes.
    body_limit_bytes: int = Field(default=65536, ge=1024, le=1 << 30)
    #: How long the body of a request may take to come, in seconds.
    body_timeout_s: float = Field(default=30.0, gt=0, le=3600, allow_inf_nan=False)
    #: Connections at the same time; for one more, the one goes that has kept the service waiting
    #: longest. Each may hold a body of the limit.
    max_connections: int = Field(default=1000, ge=1, le=100_000)
    #: Of these, connections of one address; loopback's, where a proxy may speak for everybody, may
    #: have all of them.
    connections_per_address: int = Field(default=100, ge=1, le=100_000)
    #: Folder of the jobs' records; ``None``: they are kept in memory and end with the process.
    state_dir: Path | None = None
    #: How many ended jobs are remembered.
    history: int = Field(default=1000, ge=1, le=1_000_000)
    #: How long jobs may take to end once the service is told to, in seconds.
    shutdown_grace_s: float = Field(default=30.0, ge=0, le=86_400, allow_inf_nan=False)
    #: Form of log lines.
    log_format: Literal["json", "text"] = "json"
    #: Schema of the tables; ``None``: the connection's first one. ``schema`` in files and calls.
    schema_name: str | None = None
    #: How long to wait for somebody else's lock on a table, in seconds.
    lock_timeout_s: float = Field(default=30.0, gt=0, le=2_000_000, allow_inf_nan=False)
    #: Connections that load or read at the same time.
    jobs: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = "auto"

    @classmethod
    def load(cls, path: Path | None = None, **overrides: Any) -> ServiceSettings:  # noqa: ANN401
        """The settings of a call, else of the environment, else of a TOML file.

        Args:
            path: The file; ``None``: there is none.
            overrides: Settings by name; ``None`` counts as not given.

        Raises:
            OptionError: The file cannot be read, or a key is unknown or has a bad value; the
                message names the key and never the value.
        """
        given = {key: value for key, value in overrides.items() if value is not None}
        in_environment = {name.upper() for name, value in os.environ.items() if value}
        in_file = {} if path is None else _read(path)
        values = {
            key: value
            for key, value in _renamed(in_file).items()
            if f"{_PREFIX}{key.upper()}" not in in_environment or not _from_environment(key)
        }
        for name, twin in (*_TWINS, *(pair[::-1] for pair in _TWINS)):
            # A token of a higher source replaces one of a lower source, however that is given.
            if name in given:
                values.pop(twin, None)
                if twin not in given:
                    given[twin] = None
            elif f"{_PREFIX}{name.upper()}" in in_environment and twin not in given:
                values.pop(twin, None)
        problem: OptionError
        try:
            return cls(**(values | _renamed(given)))
        except ValidationError as exc:
            problem = _problem(exc)
        except SettingsError as exc:
            field = re.search(r'field "(\w+)"', str(exc))
            name = field[1] if field else "a setting"
            problem = OptionError(f"{_PREFIX}{name.upper()} is no JSON")
        raise problem  # not while the other is handled: that one knows the value

    def replaced(self, **changes: Any) -> ServiceSettings:  # noqa: ANN401 - the fields
        """The settings with some changed; text for a secret becomes one."""
        secret = {"dsn", "token", "read_token"}
        return self.model_copy(
            update={k: SecretStr(v) if k in secret else v for k, v in changes.items()}
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: Any,  # noqa: ANN401 - sources, of the base's signature
        env_settings: Any,  # noqa: ANN401
        dotenv_settings: Any,  # noqa: ANN401
        file_secret_settings: Any,  # noqa: ANN401
    ) -> tuple[Any, ...]:
        """The call, then the environment; no other file is looked for."""
        del settings_cls, dotenv_settings, file_secret_settings

        def environment() -> dict[str, Any]:
            found: dict[str, Any] = env_settings()
            return {key: value for key, value in found.items() if _from_environment(key)}

        return init_settings, environment

    @model_validator(mode="before")
    @classmethod
    def _rename(cls, values: Any) -> Any:  # noqa: ANN401 - whatever was given
        return _renamed(values) if isinstance(values, Mapping) else values

    @field_validator("targets")
    @classmethod
    def _check_targets(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name in value:
            if not _TARGET_NAME.fullmatch(name):
                raise ValueError(f"{quoted(name)} is no name for a target")
        return value

    @model_validator(mode="after")
    def _check_default(self) -> ServiceSettings:
        if self.dsn is not None and DEFAULT_TARGET in self.targets:
            raise ValueError("dsn names the target default, and targets has one of that name")
        return self

    def named_targets(self) -> dict[str, SecretStr]:
        """All targets by name, ``default`` first."""
        first = {} if self.dsn is None else {DEFAULT_TARGET: self.dsn}
        return first | self.targets


def _renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {_RENAMED.get(key, key): value for key, value in values.items()}


def _from_environment(key: str) -> bool:
    # That variable has options by protocol, for all commands.
    return key != "storage_options"


def _read(path: Path) -> dict[str, Any]:
    """The keys of a TOML file.

    Raises:
        OptionError: It cannot be read, or is no TOML; the message shows nothing of it.
    """
    toml = _toml()
    try:
        found: dict[str, Any] = toml.loads(path.read_text("utf-8"))
    except OSError as exc:
        raise OptionError(f"the settings cannot be read: {exc.strerror} ({path})") from exc
    except ValueError as exc:  # TOMLDecodeError, UnicodeDecodeError
        place = re.search(r"line \d+, column \d+", str(exc))
        where = f", {place[0]}" if place else ""
        problem = OptionError(f"the settings are no TOML ({path}{where})")
    else:
        return found
    raise problem


def _toml() -> Any:  # noqa: ANN401 - one of two modules of the same interface
    if sys.version_info >= (3, 11):
        return import_module("tomllib")
    try:
        return import_module("tomli")
    except ImportError as exc:
        raise MissingExtraError(
            "settings in TOML need tomli, which is not installed",
            hint='pip install "pgvector_restore[http]"',
        ) from exc


def _problem(exc: ValidationError) -> OptionError:
    """The first thing that is wrong, by key; pydantic's own text would go on about values."""
    first = exc.errors(include_url=False, include_context=False, include_input=False)[0]
    place = first["loc"]
    key = str(place[0]) if place else ""
    if first["type"] == "extra_forbidden":
        return OptionError(f"unknown setting {quoted(key)}")
    if first["type"] == "missing":
        return OptionError(f"the setting {key} is missing")
    words = first["msg"].removeprefix("Value error, ")
    said = words[:1].lower() + words[1:]
    return OptionError(f"setting {key}: {said}" if key else said)
