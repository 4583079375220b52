"""Tables whose files are loaded over several connections."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import ExitStack

from pgvector_restore.binary_feed import BinaryFeed
from pgvector_restore.cancel import CancelToken
from pgvector_restore.db.pool import Target
from pgvector_restore.errors import ConnectError
from pgvector_restore.executors import ask_workers
from pgvector_restore.feed import WHOLE, TableFeed
from pgvector_restore.lanes import Lane, lanes, load_parallel, sendable
from pgvector_restore.pieces import Loaded, Task, divided, divisible
from pgvector_restore.plan import RestorePlan, TablePlan
from pgvector_restore.quarantine import Quarantine
from pgvector_restore.storage import BackupStore
from pgvector_restore.storage.spool import Spool

__all__ = ["Loader"]


class Loader:
    """Loads the tables of one plan; a context manager, which starts and ends what it takes.

    Args:
        store: Where the files lie.
        target: Where the rows go.
        plan: What to load, and over how many connections.
        executor: Where parts of files are loaded; ``None``: in threads and processes of our own.
        cancel: Calls it off.
    """

    def __init__(
        self,
        store: BackupStore,
        target: Target,
        plan: RestorePlan,
        executor: Executor | None,
        cancel: CancelToken,
    ) -> None:
        self._store = store
        self._target = target
        self._connection = target.parameters
        self._plan = plan
        self._executor = executor
        self._cancel = cancel
        self._stack = ExitStack()
        self._lanes: list[Lane] = []
        reason = sendable(store, self._connection) if plan.jobs > 1 else None
        self._jobs = 1 if reason else plan.jobs
        #: Why it is one connection only, where more were planned.
        self.warnings = [f"loaded over one connection: {reason}"] if reason else []
        #: There is a connection for a look beside.
        self.spare = True

    def __enter__(self) -> Loader:  # noqa: PYI034 - typing.Self came with 3.11
        if self._jobs > 1 and any(divisible(table.source) for table in self._plan.tables):
            self._find_connections()
        if self._jobs > 1:
            begun = lanes(self._executor, self._jobs, self._threads())
            self._lanes = self._stack.enter_context(begun)
        if self._executor is not None and self.used:
            ask_workers(self._executor, self._jobs + 1, self._cancel.check)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def used(self) -> bool:
        """There is a table whose file is loaded here."""
        return any(map(self.takes, self._plan.tables))

    def _find_connections(self) -> None:
        """Fewer are used where there are fewer, unless a number was asked for.

        Raises:
            ConnectError: There are not so many.
        """
        found, reason = self._target.available(self._jobs + 1)
        self.spare = found > self._jobs
        if found >= self._jobs:
            return
        if self._plan.options.jobs != "auto":
            raise ConnectError(
                f"jobs {self._jobs} takes {self._jobs} connections beside the first one, and"
                f" {found} can be had: {reason.message}",
                hint="with jobs auto a restore goes on with those there are",
            )
        # With one more than the first, which does not load meanwhile, nothing would be won.
        self._jobs = max(1, found)
        number = f"{found} connections" if found > 1 else "one connection"
        self.warnings.append(f"loaded over {number}: {reason.message}")

    def takes(self, table: TablePlan) -> bool:
        """The table's file is loaded here; others are no work for several connections."""
        return bool(self._lanes) and divisible(table.source)

    def load(
        self,
        table: TablePlan,
        feed: TableFeed | BinaryFeed,
        aside: Quarantine | None,
        on_change: Callable[[Loaded], None],
    ) -> None:
        """Load a table.

        Args:
            table: What to load, and into which table.
            feed: Told what was read in its place.
            aside: Given the records that cannot be restored.
            on_change: Told what is finished.

        Raises:
            PgvectorRestoreError: See :func:`~pgvector_restore.lanes.load_parallel`.
        """
        most, already = (aside.max_bad_rows, aside.count) if aside else (None, 0)
        whole = Task(
            self._store,
            table,
            WHOLE,
            self._plan.options.max_record_bytes,
            feed.content is not None,
            self._connection or {},
            most,
            already,
            self._plan.options.unpack_limits,
        )
        with ExitStack() as stack:
            spool = None
            if self._fetches(table):
                spool = stack.enter_context(Spool(self._store, table.source.key))
            tasks = divided(whole, sum(lane.capacity for lane in self._lanes), spool)
            loaded = load_parallel(
                self._lanes, tasks, on_change, (most or 0) - already, apart=table.as_is
            )
        if aside is not None:
            set_aside = aside.of(table.source)
            for reject in loaded.rejects:
                set_aside(reject)
        feed.read_elsewhere(
            loaded.rows,
            loaded.bytes_read,
            loaded.repairs,
            final_newline_missing=loaded.final_newline_missing,
            content=loaded.content if feed.content is not None else None,
            rejected=[reject.record for reject in loaded.rejects],
        )
        on_change(loaded)

    def _threads(self) -> int:
        """How many parts threads of this process load at a time.

        Rows in binary are passed on as they are: there is nothing to decode, and no process has to
        start. What is fetched over a network waits for Python's lock piece by piece: nothing is
        decoded beside it.
        """
        if all(table.as_is for table in self._plan.tables):
            return self._jobs
        return 0 if any(self._fetches(table) for table in self._plan.tables) else 1

    def _fetches(self, table: TablePlan) -> bool:
        """Its file comes over a network, through this process, to others on this machine."""
        return (
            self._executor is None
            and not self._store.is_local
            and not table.as_is
            and divisible(table.source)
        )
