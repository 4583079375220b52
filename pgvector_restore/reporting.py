"""What the load of one table comes to: its report, and what to warn of."""

from __future__ import annotations

from collections.abc import Iterator

from pgvector_restore.binary_feed import BinaryFeed
from pgvector_restore.db.work import LoadResult
from pgvector_restore.feed import TableFeed
from pgvector_restore.plan import RestorePlan, TablePlan
from pgvector_restore.report import TableReport

__all__ = ["table_report", "table_warnings"]


def table_report(
    table: TablePlan,
    feed: TableFeed | BinaryFeed,
    result: LoadResult,
    reject_file: str | None,
    digest: str | None,
) -> TableReport:
    """The report on one table.

    Args:
        table: What was planned.
        feed: The file, read to its end.
        result: What the database did.
        reject_file: Where bad records were set aside.
        digest: That of the rows, if content was compared.
    """
    return TableReport(
        table=table.name,
        source_file=feed.file,
        size_bytes=table.source.size_bytes,
        created=table.create,
        wire=table.wire,
        rows_before=result.rows_before,
        rows_removed=result.rows_removed,
        rows_read=feed.rows_read,
        rows_loaded=result.rows_loaded,
        rows_after=result.rows_after,
        repairs=feed.repairs,
        remove_seconds=result.remove_seconds,
        seconds=result.seconds,
        index_seconds=result.index_seconds,
        digest=digest,
        rows_rejected=len(feed.rejected),
        reject_file=reject_file,
    )


def table_warnings(
    plan: RestorePlan, table: TablePlan, feed: TableFeed | BinaryFeed, result: LoadResult
) -> Iterator[str]:
    """What is worth a second look although the table was restored, and was not told before."""
    if feed.final_newline_missing:
        yield f"{feed.file} does not end with a row end: its last record may be cut short"
    if result.rows_removed and not feed.rows_read and not plan.told("empty", table.name):
        yield (
            f"{feed.file} has no rows: {table.name} is empty now, "
            f"{result.rows_removed} rows were removed"
        )
