"""Listing, replacing files, restoring, killing and colliding in any order, against a model.

The model knows two things: what the store offers and what the database serves. Each example has a
database of its own, in which the first set has been restored.
"""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from pgvector_restore import (
    ProgressEvent,
    Restorer,
    StoreChangedError,
    TargetBusyError,
    open_store,
)
from pgvector_restore.db.embedded import EmbeddedServer
from pgvector_restore.failpoints import POINTS
from pgvector_restore.progress import Progress, no_progress
from tests.conftest import database
from tests.faults.kit import PATIENCE_S, Client, wait_until
from tests.restore.content import query
from tests.sets import SQL_ID, STAMP, embedding_bytes, write_set

_SERVED = "SELECT DISTINCT document, count(*) OVER () FROM langchain_pg_embedding"
_LEFT_OVER = "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, 'pgvr_staging_')"
_SESSIONS = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'pgvector_restore'
"""
_numbers = itertools.count()

strategies = st.sampled_from(["in_place", "swap"])
#: Those that a restore over one connection, with nothing to sweep, is sure to pass.
_EVERYWHERE = (
    "connect",
    "claim",
    "create",
    "load.begin",
    "load.block",
    "load.end",
    "index.begin",
    "index.end",
    "verify",
    "commit.before",
    "commit.after",
)
points = st.sampled_from(_EVERYWHERE)


class Pause:
    """A listener that stops at the first rows until it is let go."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()

    def __call__(self, event: ProgressEvent) -> None:
        if event.phase == "load":
            self.reached.set()
            assert self.go_on.wait(PATIENCE_S)


class Restores(RuleBasedStateMachine):
    """See the module."""

    def __init__(self, server: EmbeddedServer, template: str, folder: Path) -> None:
        super().__init__()
        self._stack = ExitStack()
        self._dsn = self._stack.enter_context(database(server, template))
        self._root = folder / str(next(_numbers))
        self._client = folder / "client"
        #: What the store offers, and what the database serves: the set's number.
        self._offered = 0
        self._served = 0

    def teardown(self) -> None:
        self._stack.close()

    def _write(self) -> None:
        """The next set, in place of the one before: other rows, and more of them."""
        self._offered += 1
        rows = 20 + self._offered
        records = [
            (f"{self._offered}-{n}", SQL_ID, f'"[{n},2,3]"', f"set {self._offered}", "")
            for n in range(rows)
        ]
        write_set(self._root, embedding=embedding_bytes(records=records))

    def _restore(self, strategy: str, progress: Progress = no_progress) -> None:
        with Restorer(open_store(self._root), self._dsn) as restorer:
            restorer.restore("latest", mode="replace", strategy=strategy, progress=progress)

    @initialize(strategy=st.just("in_place"))
    def begin(self, strategy: str) -> None:
        self._write()
        self.restore(strategy)

    @rule()
    def write(self) -> None:
        self._write()

    @rule()
    def list(self) -> None:
        catalog = open_store(self._root).catalog()
        assert [found.label for found in catalog.sets] == [f"vector_bak/{STAMP}"]
        listed = {file.name: file.size_bytes for file in catalog.sets[0].files}
        assert listed == {
            path.name: path.stat().st_size for path in (self._root / "vector_bak").glob("*.csv")
        }

    @rule(strategy=strategies)
    def restore(self, strategy: str) -> None:
        self._restore(strategy)
        self._served = self._offered

    @rule(strategy=strategies, phase=st.sampled_from(["prepare", "load", "index", "verify"]))
    def replace_the_files_meanwhile(self, strategy: str, phase: str) -> None:
        done = False

        def listen(event: ProgressEvent) -> None:
            nonlocal done
            if event.phase == phase and not done:
                done = True
                self._write()

        with pytest.raises(StoreChangedError):
            self._restore(strategy, progress=listen)

    @rule(strategy=strategies, point=points)
    def restore_and_be_killed(self, strategy: str, point: str) -> None:
        client = Client(
            self._client, self._dsn, self._root, f"{point}=kill", strategy=strategy, jobs=1
        )
        outcome = client.wait()
        assert outcome.code < 0, outcome
        wait_until(lambda: not query(self._dsn, _SESSIONS), "end of its sessions")
        if point == "commit.after":
            self._served = self._offered

    @rule(first=strategies, second=strategies)
    def restore_two_at_once(self, first: str, second: str) -> None:
        pause = Pause()
        with (
            Restorer(open_store(self._root), self._dsn) as restorer,
            ThreadPoolExecutor(1) as executor,
        ):
            plan = restorer.plan(mode="replace", strategy=second, lock_timeout_s=PATIENCE_S)
            running = executor.submit(self._restore, first, progress=pause)
            try:
                assert pause.reached.wait(PATIENCE_S)
                with pytest.raises(TargetBusyError, match="another restore is writing"):
                    restorer.run(plan)
            finally:
                pause.go_on.set()
            running.result()
        self._served = self._offered

    @rule()
    def tidy(self) -> None:
        self._restore("swap")
        self._served = self._offered
        assert not query(self._dsn, _LEFT_OVER)

    @invariant()
    def old_or_new(self) -> None:
        if self._served:
            assert query(self._dsn, _SERVED) == [(f"set {self._served}", 20 + self._served)]


def test_the_points_exist() -> None:
    assert set(_EVERYWHERE) <= set(POINTS)


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("examples", "steps"),
    [
        pytest.param(3, 8, marks=pytest.mark.faults_sample, id="sample"),
        pytest.param(60, 20, id="many"),
    ],
)
def test_any_order(
    server: EmbeddedServer, g2_template: str, tmp_path: Path, examples: int, steps: int
) -> None:
    run_state_machine_as_test(
        cast("type[Restores]", lambda: Restores(server, g2_template, tmp_path)),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
