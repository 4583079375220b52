"""What callers may ask for: options by name, each from a fixed list."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pgvector_restore.backup_options import BackupOptions, make_backup_options
from pgvector_restore.errors import OptionError, quoted
from pgvector_restore.keeping import KeepRules
from pgvector_restore.options import RestoreOptions, make_options
from pgvector_restore.storage import BackupStore, WritableStore
from pgvector_restore.storage.discover import check_task_id
from pgvector_restore.verifying import check_limit

__all__ = [
    "BACKUP_OPTIONS",
    "PRUNE_RULES",
    "RESTORE_OPTIONS",
    "VERIFY_OPTIONS",
    "backup_options",
    "check_removable",
    "keep_rules",
    "request_digest",
    "restore_options",
    "verify_options",
]

#: Options of a restore. Not among them: what names a path of the server (``reject_dir``), what
#: lifts a protection (``allow_attached_code``, ``allow_non_atomic``, the limits of unpacking), and
#: ``ledger``, which is always on.
RESTORE_OPTIONS = (
    *("mode", "strategy", "tables", "schema", "create_tables", "check_log", "check_manifest"),
    *("lock_timeout_s", "statement_timeout_s", "wire", "jobs", "keep_previous", "verify"),
)
#: Options of a backup. Not among them: what lifts a protection, as above.
BACKUP_OPTIONS = (
    *("task_id", "format", "compress", "tables", "schema", "jobs", "digest", "truncate_after"),
    *("lock_timeout_s", "statement_timeout_s"),
)
#: Options of a comparison.
VERIFY_OPTIONS = ("tables", "schema", "limit", "check_manifest")
#: Rules of pruning.
PRUNE_RULES = ("last", "daily", "weekly", "monthly", "within_days", "labels", "per_location")

_Made = TypeVar("_Made")


def restore_options(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> RestoreOptions:
    """Options of a restore.

    Args:
        given: The caller's.
        defaults: The service's own.

    Raises:
        OptionError: An option that is not offered, or a wrong value.
    """
    chosen = _chosen(given, RESTORE_OPTIONS, defaults)
    return _made(lambda: make_options(None, {**chosen, "ledger": True}))


def backup_options(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> BackupOptions:
    """Options of a backup; arguments and errors as for :func:`restore_options`."""
    chosen = _chosen(given, BACKUP_OPTIONS, defaults)
    made = _made(lambda: make_backup_options(None, chosen))
    if made.task_id is not None:
        check_task_id(made.task_id)
    return made


def verify_options(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a comparison; arguments and errors as for :func:`restore_options`."""
    chosen = _chosen(given, VERIFY_OPTIONS, defaults)
    if not isinstance(chosen.get("check_manifest", True), bool):
        raise OptionError("check_manifest must be true or false")
    _made(lambda: check_limit(chosen.get("limit", 10)))
    _made(lambda: RestoreOptions(tables=chosen.get("tables"), schema=chosen.get("schema")))
    return chosen


def keep_rules(given: Mapping[str, Any]) -> KeepRules:
    """Rules of pruning.

    Raises:
        OptionError: A rule that is not known, or a wrong value.
    """
    chosen = _chosen(given, PRUNE_RULES, {})
    if not isinstance(chosen.get("per_location", True), bool):
        raise OptionError("per_location must be true or false")
    labels = chosen.get("labels", ())
    if not isinstance(labels, (list, tuple)) or not all(isinstance(one, str) for one in labels):
        raise OptionError("labels must be a list of labels")
    return _made(lambda: KeepRules(**chosen))


def check_removable(store: BackupStore) -> None:
    """Refuse to prune what cannot be written.

    Raises:
        OptionError: It is read-only.
    """
    if not isinstance(store, WritableStore) or store.read_only_reason is not None:
        raise OptionError(f"{store.url} cannot be written: nothing can be removed there")


def request_digest(*parts: object) -> str:
    """A digest by which two requests are told apart."""
    text = json.dumps(parts, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else repr(value)


def _chosen(
    given: Mapping[str, Any], offered: tuple[str, ...], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    for name in given:
        if name not in offered:
            raise OptionError(
                f"option {quoted(str(name)[:80])} is not offered",
                hint=f"there are {', '.join(sorted(offered))}",
            )
    fixed = defaults.get("schema")
    if fixed is not None and given.get("schema") not in (None, fixed):
        raise OptionError("schema is set by the operator", hint="leave it out")
    _check_texts(given)
    mine = {name: value for name, value in defaults.items() if name in offered}
    return mine | {name: value for name, value in given.items() if name != "schema" or not fixed}


def _check_texts(given: Mapping[str, Any]) -> None:
    """Names that are no texts, which options themselves take for granted."""
    tables = given.get("tables")
    if tables is not None and not isinstance(tables, str):
        fits = isinstance(tables, (list, tuple)) and all(isinstance(one, str) for one in tables)
        if not fits:
            raise OptionError("tables must be a list of names")
    if not isinstance(given.get("schema"), (str, type(None))):
        raise OptionError("schema must be a name")


def _made(make: Callable[[], _Made]) -> _Made:
    try:
        return make()
    except OptionError:
        raise
    except (TypeError, ValueError, AttributeError) as exc:
        raise OptionError("an option has a value of the wrong kind") from exc
