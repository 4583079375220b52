"""Requests of the existing endpoints: JSON and query texts, checked by hand and by type."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson
from attrs import field, frozen

from pgvector_restore.http import legacy_texts as texts
from pgvector_restore.http.legacy_failures import INVALID_PARAMS, LegacyError
from pgvector_restore.model import Location

__all__ = ["BackupRequest", "ListRequest", "RestoreRequest", "read_body"]

_STAMP = re.compile(r"[0-9]{8}_[0-9]{6}")
_TASK = re.compile(r"[A-Za-z0-9_]+")

#: Both spellings of a caller's connection: the documented one, and the one in use.
_CONNECTIONS = ("pg_conn", "db_connection")
#: What an object that names a connection may hold.
_KEYWORDS = ("host", "port", "dbname", "user", "password")
_MAX_PORT = 65535


@frozen
class ListRequest:
    """What ``restore/list`` is asked for."""

    #: Only this task's locations; it wins over ``global_only``.
    task_id: str | None
    #: Only global locations.
    global_only: bool

    @classmethod
    def of(cls, query: Mapping[str, str]) -> ListRequest:
        """From the query's texts.

        Raises:
            LegacyError: One of them is wrong.
        """
        flag = query.get("global_only", "").lower()
        if flag not in {"", "true", "false"}:
            raise _invalid(texts.BAD_FLAG, name="global_only")
        return cls(_task_id(query.get("task_id")), flag == "true")

    def wants(self, location: Location) -> bool:
        """Whether a location is asked for."""
        if self.task_id is not None:
            return location.task_id == self.task_id
        return location.kind == "global" or not self.global_only


@frozen
class RestoreRequest:
    """What ``restore`` is asked for."""

    #: A location, as the list shows it.
    backup_path: str
    #: ``YYYYMMDD_HHMMSS``, digits only.
    timestamp: str
    #: Tables; ``None``: all of the set.
    tables: tuple[str, ...] | None
    #: Whether the rows already there are removed.
    truncate: bool
    #: The caller's connection; ``None``: the service's own.
    connection: str | None = field(repr=False)

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> RestoreRequest:
        """From the body's members; those that are null count as not given.

        Raises:
            LegacyError: Something is missing or wrong.
        """
        required = ("backup_path", "timestamp")
        missing = [name for name in required if body.get(name) in (None, "")]
        if missing:
            raise LegacyError(
                400,
                "MISSING_REQUIRED_PARAMS",
                texts.MISSING,
                values={"names": ", ".join(missing)},
                details={"missing_params": missing},
            )
        for name in required:
            if not isinstance(body[name], str):
                raise _invalid(texts.BAD_TEXT, name=name)
        if not _STAMP.fullmatch(body["timestamp"]):
            raise _invalid(texts.BAD_STAMP)
        return cls(
            body["backup_path"],
            body["timestamp"],
            _tables(body.get("tables")),
            _flag(body, "truncate_before_restore", default=False),
            _connection(body),
        )


@frozen
class BackupRequest:
    """What ``backup`` is asked for."""

    #: Task whose folder the backup goes to; ``None``: the global one.
    task_id: str | None
    #: Whether a backup is made. One that is to be emptied after is always backed up before.
    backup: bool
    #: Whether the embedding table is emptied once the backup is complete.
    truncate: bool
    #: The caller's connection; ``None``: the service's own.
    connection: str | None = field(repr=False)

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> BackupRequest:
        """From the body's members; those that are null count as not given.

        Raises:
            LegacyError: Something is wrong.
        """
        truncate = _flag(body, "truncate_vector_tables", default=False)
        backup = _flag(body, "backup_vector_tables", default=True)
        return cls(_task_id(body.get("task_id")), backup or truncate, truncate, _connection(body))


def read_body(body: bytes) -> dict[str, Any]:
    """The JSON object of a body; nothing at all counts as an empty one.

    Raises:
        LegacyError: It is none.
    """
    if not body.strip():
        return {}
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise _invalid(texts.NO_JSON)
    return found


def _invalid(say: texts.Say, **values: object) -> LegacyError:
    return LegacyError(400, INVALID_PARAMS, say, values=values)


def _task_id(value: object) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _TASK.fullmatch(value):
        raise _invalid(texts.BAD_TASK)
    return value


def _flag(body: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise _invalid(texts.BAD_FLAG, name=name)
    return value


def _tables(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        raise _invalid(texts.BAD_TABLES)
    return tuple(dict.fromkeys(value))  # one that is named twice is restored once


def _connection(body: Mapping[str, Any]) -> str | None:
    found = {name: _conninfo(body.get(name), name) for name in _CONNECTIONS}
    given = {conninfo for conninfo in found.values() if conninfo is not None}
    if len(given) > 1:
        raise _invalid(texts.TWO_CONNECTIONS)
    return next(iter(given), None)


def _conninfo(value: object, name: str) -> str | None:
    """A connection as libpq's keywords and values."""
    if value is None or value in ("", {}):
        return None
    if isinstance(value, str) and "\0" not in value:
        return value
    if not isinstance(value, dict) or not set(value) <= set(_KEYWORDS):
        raise _invalid(texts.BAD_CONNECTION, name=name)
    words = []
    for keyword in _KEYWORDS:
        word = value.get(keyword)
        if word is None:
            continue
        if keyword == "port":
            word = _port(word)
        if not isinstance(word, str) or "\0" in word:
            raise _invalid(texts.BAD_CONNECTION, name=name)
        escaped = word.replace("\\", r"\\").replace("'", r"\'")
        words.append(f"{keyword}='{escaped}'")
    return " ".join(words) or None


def _port(value: object) -> str | None:
    """A port as text, from a number or its digits; ``None``: it is none."""
    if isinstance(value, str) and re.fullmatch("[0-9]{1,5}", value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MAX_PORT:
        return str(value)
    return None
