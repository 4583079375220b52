"""Backuper: makes backup sets of a database's tables."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Any

from pgvector_restore.backup_options import BackupOptions, make_backup_options
from pgvector_restore.backup_report import BackupReport
from pgvector_restore.backup_run import BackupRun
from pgvector_restore.cancel import CancelToken
from pgvector_restore.db.conninfo import TargetLike
from pgvector_restore.db.pool import Target
from pgvector_restore.errors import OptionError, quoted
from pgvector_restore.progress import Progress, no_progress
from pgvector_restore.storage import BackupStore, WritableStore

__all__ = ["Backuper"]

_log = logging.getLogger(__name__)


class Backuper:
    """Backs up tables of one database into one store.

    Safe to use from several threads. Nothing is printed and nothing global is changed. Use it as a
    context manager, or call :meth:`close`.

    Args:
        store: Where backups go; see :func:`pgvector_restore.open_store`.
        target: The database, as for :class:`~pgvector_restore.Restorer`.

    Raises:
        OptionError: The store cannot be written, or the target cannot be understood. No connection
            is made yet.
    """

    def __init__(self, store: BackupStore, target: TargetLike) -> None:
        reason = "" if isinstance(store, WritableStore) else "it is read-only"
        if isinstance(store, WritableStore):
            reason = store.read_only_reason or ""
        if reason or not isinstance(store, WritableStore):
            raise OptionError(
                f"no backup can be written to {quoted(store.url)}: {reason}",
                hint="name a folder, or a storage that can be written",
            )
        self.store = store
        self._target = Target(target)

    def __enter__(self) -> Backuper:  # noqa: PYI034 - typing.Self came with 3.11
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Backuper to {self.store.url}>"

    def close(self) -> None:
        """Close the connections this has opened. A pool of the caller's stays open."""
        self._target.close()

    def backup(
        self,
        options: BackupOptions | None = None,
        *,
        progress: Progress = no_progress,
        cancel: CancelToken | None = None,
        **changes: Any,  # noqa: ANN401 - the fields of BackupOptions
    ) -> BackupReport:
        """Back up tables: one snapshot of all of them, and a set only when all of it is there.

        Tables with rows on other servers, which no snapshot covers, are refused unless
        ``allow_non_atomic`` says otherwise.

        Args:
            options: Options to start from.
            progress: Called with :class:`~pgvector_restore.progress.ProgressEvent`.
            cancel: Calls it off from another thread, within about a second.
            **changes: Fields of :class:`~pgvector_restore.BackupOptions`.

        Raises:
            CancelledError: It was called off; nothing is left of it.
            OptionError: A wrong option, or a table after which no file can be named.
            StoreError: The storage could not take it; what was written is removed.
            TargetError: The database refused, was busy, or was lost. With ``truncate_after`` the
                backup may be there all the same: the message says so.
        """
        chosen = make_backup_options(options, changes)
        run = BackupRun(self.store, self._target, chosen, progress, cancel or CancelToken())
        report = run.execute()
        _log.info("%s", report)
        return report
