"""Bodies of requests: what may be asked for, name by name. Everything else is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pgvector_restore.backup_options import Compress
from pgvector_restore.model import FileFormat
from pgvector_restore.options import Mode, Strategy, VerifyLevel, Wire
from pgvector_restore.prune_report import Check

__all__ = [
    "BackupRequest",
    "KeepRulesBody",
    "PlanRequest",
    "PruneRequest",
    "RestoreRequest",
    "VerifyRequest",
]

#: A label; longer than any that a layout makes, short enough for a log line.
Label = Annotated[
    str,
    Field(
        min_length=1,
        max_length=300,
        description="`<location>/<timestamp>`, `latest` or `<location>/latest`.",
        examples=["vector_bak/20260102_030405"],
    ),
]
#: The name of a target that the operator has configured; never a connection.
Target = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="Name of a configured target; without it: the one named `default`.",
    ),
]
#: A table or schema. 63 bytes are the server's limit, and a character has one at least.
Name = Annotated[str, Field(min_length=1, max_length=63)]
Tables = Annotated[list[Name], Field(min_length=1, max_length=100)]
Jobs = Literal["auto"] | Annotated[int, Field(ge=1, le=64)]
#: Seconds, as the options of the library have them.
Seconds = Annotated[float, Field(ge=0.001, le=2_000_000, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=100_000)]


class _Request(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        hide_input_in_errors=True,
        validate_by_alias=True,
        validate_by_name=False,
    )

    #: Fields that are no options of the library.
    _apart: frozenset[str] = frozenset(("label", "target"))

    @property
    def options(self) -> dict[str, Any]:
        """The options that the caller has named, as the library calls them."""
        given = self.model_dump(by_alias=True, exclude_unset=True)
        return {name: value for name, value in given.items() if name not in self._apart}


class RestoreRequest(_Request):
    """A set to restore, and how. Options are those of the library with the same names."""

    model_config = ConfigDict(title="RestoreRequest")

    label: Label
    target: Target | None = None
    mode: Mode = Field(
        default="append",
        description="`append` keeps the rows that are there, `replace` removes them.",
    )
    strategy: Strategy = Field(
        default="auto",
        description="`in_place`: one transaction. `swap`: new tables beside the old ones.",
    )
    tables: Tables | None = Field(default=None, description="Tables; without it: all of the set.")
    schema_: Name | None = Field(
        default=None, alias="schema", description="Schema of the tables; without it: the target's."
    )
    verify: VerifyLevel = Field(
        default="counts", description="What is compared before the result becomes visible."
    )
    jobs: Jobs = Field(default="auto", description="Connections that load at the same time.")
    wire: Wire = Field(default="auto", description="How rows travel to the server.")
    keep_previous: bool = Field(
        default=False, description="With `swap`: keep the old tables in `<schema>_previous`."
    )
    create_tables: bool = Field(default=True, description="Create tables that are missing.")
    check_log: bool = Field(
        default=True, description="Refuse a file whose row count is not that of the backup log."
    )
    check_manifest: bool = Field(default=True, description="Use the set's manifest, if it has one.")
    lock_timeout_s: Seconds = Field(
        default=30.0, description="Seconds to wait for somebody else's lock on a table."
    )
    statement_timeout_s: Seconds | None = Field(
        default=None, description="Seconds one statement may take; without it: any number."
    )


class PlanRequest(RestoreRequest):
    """The restore that is planned: the same body as that of a restore."""

    model_config = ConfigDict(title="PlanRequest")


class BackupRequest(_Request):
    """A backup to make, and how. Options are those of the library with the same names."""

    model_config = ConfigDict(title="BackupRequest")

    target: Target | None = None
    task_id: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_]{1,200}$",
        description="Task whose folder the backup goes to; without it: that of the whole system.",
    )
    format: FileFormat = Field(
        default="csv", description="`binary`: PostgreSQL's own form, large tables in parts."
    )
    compress: Compress = Field(default="none", description="How files are compressed.")
    tables: Tables | None = Field(default=None, description="Tables; without it: the layout's.")
    schema_: Name | None = Field(
        default=None, alias="schema", description="Schema of the tables; without it: the target's."
    )
    jobs: Jobs = Field(default="auto", description="Connections that read at the same time.")
    digest: bool = Field(default=True, description="Take a digest of the rows into the manifest.")
    truncate_after: bool = Field(
        default=False, description="Empty the embedding table once the backup has been read back."
    )
    lock_timeout_s: Seconds = Field(
        default=30.0, description="Seconds to wait for somebody else's lock on a table."
    )
    statement_timeout_s: Seconds | None = Field(
        default=None, description="Seconds one statement may take; without it: any number."
    )


class VerifyRequest(_Request):
    """A set and a database to compare. Touches nothing."""

    model_config = ConfigDict(title="VerifyRequest")

    label: Label
    target: Target | None = None
    tables: Tables | None = Field(default=None, description="Tables; without it: all of the set.")
    schema_: Name | None = Field(
        default=None, alias="schema", description="Schema of the tables; without it: the target's."
    )
    limit: int = Field(
        default=10, ge=0, le=1000, description="Rows of each table that are named if they differ."
    )
    check_manifest: bool = Field(default=True, description="Use the set's manifest, if it has one.")


class KeepRulesBody(BaseModel):
    """What is kept. Without a number everything is; the newest set of a location always is."""

    model_config = ConfigDict(
        title="KeepRules", extra="forbid", strict=True, frozen=True, hide_input_in_errors=True
    )

    last: Count | None = Field(default=None, description="The newest sets.")
    daily: Count | None = Field(default=None, description="Days of which one set is kept.")
    weekly: Count | None = Field(default=None, description="Weeks of which one set is kept.")
    monthly: Count | None = Field(default=None, description="Months of which one set is kept.")
    within_days: Count | None = Field(
        default=None, description="All sets of so many days before the newest one."
    )
    labels: list[Label] = Field(
        default_factory=list, max_length=1000, description="Labels that are kept in any case."
    )
    per_location: bool = Field(
        default=True, description="Rules go for each location by itself, not for all together."
    )


class PruneRequest(_Request):
    """Rules by which old sets go. Nothing is removed unless `dry_run` is false."""

    model_config = ConfigDict(title="PruneRequest")

    rules: KeepRulesBody
    dry_run: bool = Field(default=True, description="Only say what would be removed.")
    check: Check = Field(
        default="quick",
        description="What is read of the sets that stay before anything goes: the newest of each"
        " location, all of them, or none.",
    )
    remove_emptied: bool = Field(
        default=False,
        description="Sets whose rows were removed from the database afterwards go like any other.",
    )
