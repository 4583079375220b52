"""A pipeline step: bring the newest backup into a database, the same however often it runs.

    python examples/pipeline_step.py STORE [DSN]

Without DSN the environment names the database (``PGVECTOR_RESTORE_DSN``, then libpq's own
variables). Prints the report as JSON; the exit code is the command line's.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pgvector_restore import (
    PgvectorRestoreError,
    RestorePlan,
    Restorer,
    TargetMismatchError,
    environment_target,
    open_store,
    resolve_target,
)

#: A backup with fewer rows than this share of what is there is not loaded without a human.
MIN_SHARE = 0.5


def restore_step(store_url: str, dsn: str | None = None, label: str = "latest") -> dict[str, Any]:
    """Replace the tables' rows with those of a backup, after a look at the plan.

    Args:
        store_url: Where the backups lie.
        dsn: The database; ``None``: the environment's.
        label: The set to restore.

    Raises:
        PgvectorRestoreError: It was not done; the database is as it was.
    """
    target = resolve_target(dsn, environment_target()).target
    with Restorer(open_store(store_url), target) as restorer:
        plan = restorer.plan(label, mode="replace")
        print(plan, file=sys.stderr)
        check(plan)
        return restorer.run(plan).to_dict()


def check(plan: RestorePlan) -> None:
    """Refuse a plan that would lose much of what is there.

    Raises:
        TargetMismatchError: A table would shrink below the share that is allowed.
    """
    for table in plan.tables:
        there, coming = table.target.rows or 0, table.logged_rows
        if coming is not None and coming < MIN_SHARE * there:
            raise TargetMismatchError(
                f"{table.name} has {there} rows, the backup only {coming}",
                hint="restore it by hand if this is meant",
            )


def main() -> int:
    """Run the step with this process's arguments."""
    store_url, *dsn = sys.argv[1:3] or ["."]
    try:
        report = restore_step(store_url, *dsn)
    except PgvectorRestoreError as exc:
        print(f"{type(exc).__name__}: {exc}", file=sys.stderr)
        if exc.hint:
            print(f"hint: {exc.hint}", file=sys.stderr)
        return exc.exit_code
    print(json.dumps(report, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
