"""Log lines: which request and which job they belong to, and nothing that is secret."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any, TextIO

from pgvector_restore.db.conninfo import parse_target
from pgvector_restore.errors import BadDataError, OptionError, PgvectorRestoreError, shown
from pgvector_restore.http.settings import ServiceSettings
from pgvector_restore.http.tokens import token_texts

__all__ = ["JsonFormatter", "TextFormatter", "bound", "configure", "failed", "request_id"]

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: Where a line belongs to. Threads that handlers run in have them too.
_bound: ContextVar[Mapping[str, str]] = ContextVar("bound", default=MappingProxyType({}))
#: Fields of a record that become fields of a line.
_FIELDS = (
    *("request_id", "job_id", "method", "path", "status", "code", "seconds"),
    *("kind", "target", "label", "state", "outcome", "error", "at"),
)
#: Loggers whose texts are known to hold no data of others.
_TRUSTED = ("pgvector_restore", "uvicorn")
#: What is so short cannot be told from other text.
_SHORTEST_SECRET = 4


def request_id(given: list[str]) -> str:
    """The id that a caller has given a request if it is a plain word, else a new one."""
    if len(given) == 1 and _ID.fullmatch(given[0]):
        return given[0]
    return secrets.token_hex(8)


@contextmanager
def bound(**names: str | None) -> Iterator[None]:
    """Lines that are logged meanwhile carry these names: ``request_id``, ``job_id``."""
    token = _bound.set({**_bound.get(), **{k: v for k, v in names.items() if v is not None}})
    try:
        yield
    finally:
        _bound.reset(token)


def failed(
    log: logging.Logger,
    what: str,
    exc: BaseException,
    level: int = logging.ERROR,
    about: Mapping[str, object] = MappingProxyType({}),
) -> None:
    """Log what was raised: its type, code and place; a text only if it is this package's own."""
    # Not by exc_info: handlers of an application around this one would show all of it.
    extra = {"error": type(exc).__name__, "at": _places(exc), **about}
    log.log(level, "%s: %s", what, _described(exc), extra=extra)


def _described(exc: BaseException) -> str:
    sqlstate = getattr(exc, "sqlstate", None)
    state = f" {sqlstate}" if isinstance(sqlstate, str) else ""
    return f"{type(exc).__name__}{state}{words_of(exc)}"


def words_of(exc: BaseException) -> str:
    """What a line may say of an error beside its kind: our own words, where none is of a row.

    Of what is wrong with a row only the place: a cell may be a whole document.
    """
    if isinstance(exc, BadDataError):
        named = ("file", "record", "column", "constraint")
        found = [(name, getattr(exc, name, None)) for name in named]
        place = ", ".join(f"{name} {value}" for name, value in found if value is not None)
        return f": {place}" if place else ""
    if not isinstance(exc, PgvectorRestoreError):
        return ""
    return f": {exc} ({exc.hint})" if exc.hint else f": {exc}"


class _Formatter(logging.Formatter):
    """What both forms have in common.

    Args:
        hidden: Secrets; a line that should hold one all the same is shown without it.
    """

    def __init__(self, hidden: Iterable[str] = ()) -> None:
        super().__init__()
        long_enough = {text for text in hidden if len(text) >= _SHORTEST_SECRET}
        found = sorted(long_enough, key=len, reverse=True)
        self._hidden = re.compile("|".join(map(re.escape, found))) if found else None

    def clean(self, text: str) -> str:
        return self._hidden.sub("***", text) if self._hidden is not None else text

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """The line's content in the order it is shown."""
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.clean(_message(record)),
            **_bound.get(),
        }
        for name in _FIELDS:
            value = getattr(record, name, None)
            if value is not None:
                line[name] = self.clean(value) if isinstance(value, str) else value
        exc = record.exc_info[1] if record.exc_info else None
        if exc is not None:
            line["error"] = type(exc).__name__
            line["at"] = _places(exc)
        return line


class JsonFormatter(_Formatter):
    """One JSON document a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return json.dumps(self.fields(record), ensure_ascii=True, default=str)


class TextFormatter(_Formatter):
    """Lines for people: time, level, message, then the other fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields = self.fields(record)
        head = (fields.pop("time"), fields.pop("level"), fields.pop("message"))
        rest = [f"{name}={_told_apart(value)}" for name, value in fields.items()]
        return shown(" ".join((*head, *rest)))


def _told_apart(value: object) -> str:
    """A value that cannot be taken for several: in quotes if it has room for more."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r'[\s="]', text) else text


def _message(record: logging.LogRecord) -> str:
    """Texts of this package and of the server; of others only what is fixed in them.

    What they fill in may be a server's words, which may hold rows, or libpq's, which may hold a
    piece of a password.
    """
    if record.name.partition(".")[0] not in _TRUSTED:
        return str(record.msg) if record.args else f"a message of {record.name}"
    return record.getMessage()


def _places(exc: BaseException) -> list[str]:
    """Where it was raised, innermost last; no text of it, and none of what caused it."""
    frames = traceback.extract_tb(exc.__traceback__)[-8:]
    return [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]


def _short(path: str) -> str:
    return "/".join(path.replace("\\", "/").rsplit("/", 2)[-2:])


def configure(settings: ServiceSettings, stream: TextIO | None = None) -> logging.Handler:
    """Send all log lines of the process to a stream, standard error if not told otherwise.

    Gives back the handler, which is the only one of the root logger then.
    """
    form = JsonFormatter if settings.log_format == "json" else TextFormatter
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(form(_secrets(settings)))
    logging.getLogger().handlers[:] = [handler]
    for name in _TRUSTED:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)
    return handler


def _secrets(settings: ServiceSettings) -> Iterator[str]:
    """All that must not be seen in a line."""
    yield from token_texts(settings)
    for target in settings.named_targets().values():
        try:
            given = parse_target(target.get_secret_value())
        except OptionError:
            continue  # it is refused elsewhere, with an error that names it
        yield from (str(given[name]) for name in ("password", "sslpassword") if name in given)
    if os.environ.get("PGPASSWORD"):
        yield os.environ["PGPASSWORD"]
    password = re.search(r"://[^/:@]*:([^/]*)@", settings.store)
    if password:
        yield password[1]
    yield from _texts(settings.storage_options or {})


def _texts(value: object) -> Iterator[str]:
    """Every text value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)
