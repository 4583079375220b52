"""What a target looks like: frozen values, read from a server's catalogs or made to be created."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal

from attrs import evolve, field, frozen

#: Which rules a column's cells follow: see :mod:`pgvector_restore.rows`.
ColumnKind = Literal["text", "json", "jsonb", "vector", "bytea", "other"]

#: Types that have an encoder for COPY's binary format; every other type goes as text.
WireType = Literal[
    "bool",
    "bytea",
    "date",
    "float4",
    "float8",
    "halfvec",
    "int2",
    "int4",
    "int8",
    "json",
    "jsonb",
    "sparsevec",
    "text",
    "timestamp",
    "timestamptz",
    "uuid",
    "vector",
]


@frozen
class TargetColumn:
    """One column of a target table."""

    #: Name, exactly as the server spells it.
    name: str
    #: Type as ``format_type`` prints it, for people: ``vector(1024)``.
    type_name: str
    #: Rules for its cells.
    kind: ColumnKind
    #: How a cell is encoded in COPY's binary format; ``None``: no encoder for this type. A domain
    #: has its base type's.
    wire: WireType | None = None
    #: ``NOT NULL`` is declared.
    not_null: bool = False
    #: A default, identity or sequence fills the column where a row has no value.
    has_default: bool = False
    #: ``GENERATED ALWAYS AS (…)``: the server computes it, COPY must not name it.
    generated: bool = False
    #: Dimensions every vector must have, by type or by index expression; ``None``: any.
    dimensions: int | None = None
    #: Characters of a ``varchar(n)`` or ``char(n)``, digits of a ``timestamp(p)``; ``None``: the
    #: type has none. A domain has its base type's.
    modifier: int | None = None
    #: ``char(n)``: spaces at the end count for nothing.
    blank_padded: bool = False


#: Values that are compared here as the server compares them: whatever its spelling, one value has
#: one form. Of every other type only the server knows which values are equal.
KeyKind = Literal[
    "bit",
    "bool",
    "bytea",
    "character",
    "date",
    "enum",
    "float4",
    "float8",
    "inet",
    "integer",
    "macaddr",
    "numeric",
    "text",
    "timestamp",
    "timestamptz",
    "uuid",
]


@frozen
class KeyForm:
    """How values of a key column are compared."""

    #: What they are.
    kind: KeyKind
    #: Characters of a ``varchar(n)``, digits of a ``timestamp(p)``, digits after the point of a
    #: ``numeric(p, s)``; ``None``: the type says nothing of that.
    modifier: int | None = None


#: A column's name and cells of it to what the server prints for each of them.
Printer = Callable[[str, Sequence[bytes]], Sequence[bytes]]


@frozen
class ParentKeys:
    """The keys that rows of one column may refer to."""

    #: How values of the referring column are compared with them.
    form: KeyForm
    #: The keys, as the server prints them.
    texts: frozenset[str]


@frozen
class ForeignKey:
    """A foreign key over one column."""

    #: Column that refers.
    column: str
    #: Schema of the table referred to.
    parent_schema: str
    #: Table referred to.
    parent: str
    #: Column referred to.
    parent_column: str
    #: The server refuses rows that refer to nothing.
    enforced: bool = True
    #: Equal are equal values: no operator class and no collation has a say in it.
    plain: bool = True
    #: The rows that it refers to are there before those that refer.
    parents_first: bool = True


@frozen
class TargetIndex:
    """An index of a target table."""

    #: Name.
    name: str
    #: As ``pg_get_indexdef`` prints it with an empty search path.
    definition: str
    #: Access method: ``btree``, ``gin``, ``hnsw``, ``ivfflat`` …
    method: str
    #: It backs a constraint (primary key, UNIQUE, EXCLUDE) or enforces uniqueness by itself.
    enforcing: bool
    #: The server keeps it up and uses it; false after a failed ``CREATE INDEX CONCURRENTLY``.
    valid: bool = True


#: What kind of thing runs the code, or could.
CodeKind = Literal[
    "check",
    "default",
    "domain",
    "event trigger",
    "foreign server",
    "generated",
    "index",
    "partition key",
    "policy",
    "rule",
    "statistics",
    "trigger",
    "type",
]
#: What a query that only reads the table may run, most of it while the query is planned.
_RUN_BY_READING = ("domain", "foreign server", "index", "partition key", "statistics", "type")


@frozen
class AttachedCode:
    """Code that hangs on a table: what writes to the table may run it, with the writer's rights."""

    #: What it is.
    kind: CodeKind
    #: Name of the trigger, rule, policy, constraint, index, statistics or server; else of the
    #: column.
    name: str
    #: ``schema.table`` it hangs on: the target, a partition of it, or a table it refers to; for an
    #: event trigger ``the database``.
    table: str
    #: Functions it calls that are not known to be harmless, with their argument types.
    functions: tuple[str, ...] = ()
    #: Who could have written or attached it, of those the role has no reason to trust.
    strangers: tuple[str, ...] = ()
    #: For a trigger what it waits for: ``INSERT``, ``TRUNCATE``, or nothing where it is disabled.
    events: tuple[str, ...] = ()

    @property
    def untrusted_reading(self) -> bool:
        """A query that reads the table may run it, and somebody may have written it."""
        return bool(self.strangers) and self.kind in _RUN_BY_READING

    def __str__(self) -> str:
        calls = f", which calls {', '.join(self.functions)}" if self.functions else ""
        return f"{self.kind} {self.name} of {self.table}{calls}"


@frozen
class Publication:
    """A publication of logical replication that sends what happens to a table."""

    #: Name, as SQL spells it.
    name: str
    #: What of it makes the table published: ``it``, ``all tables``, ``schema …``, or a table above
    #: or below.
    what: str
    #: Rows that are added are sent.
    inserts: bool
    #: That the table is emptied is sent.
    truncates: bool
    #: The partitioned table above as which rows are sent; that a partition is emptied is not.
    root: str | None = None

    def __str__(self) -> str:
        return f"publication {self.name} publishes {self.what}"


@frozen
class TargetTable:
    """One target table as the catalogs describe it, or as it will be created."""

    #: Schema the table is in.
    schema: str
    #: Table name.
    name: str
    #: Columns in physical order.
    columns: tuple[TargetColumn, ...]
    #: ``None`` for a table that does not exist yet.
    oid: int | None = None
    #: The table is partitioned.
    partitioned: bool = False
    #: The table is unlogged: a crash of the server empties it.
    unlogged: bool = False
    #: Rows there now; ``None`` where nobody counted: without the privilege, or because counting
    #: would run somebody's code.
    rows: int | None = None
    #: Bytes of the table with its TOAST, without indexes; ``None`` where nobody asked.
    size_bytes: int | None = None
    #: Foreign keys over one column.
    foreign_keys: tuple[ForeignKey, ...] = field(default=())
    #: ``schema.table`` of tables that inherit from it, without partitions.
    inherited_by: tuple[str, ...] = field(default=())
    #: ``schema.table`` of tables outside of the backup that reference this one by foreign key.
    referenced_by: tuple[str, ...] = field(default=())
    #: Indexes by name.
    indexes: tuple[TargetIndex, ...] = field(default=())
    #: The role owns the table.
    owned: bool = True
    #: The role may drop indexes of the table and create them: it owns the table and may create in
    #: its schema.
    may_build_indexes: bool = True
    #: What stands in the way of swapping the table for another one, one phrase each.
    swap_blockers: tuple[str, ...] = field(default=())
    #: Where rows of it lie that no single COMMIT covers, one phrase each.
    elsewhere: tuple[str, ...] = field(default=())
    #: Publications that send what happens to it.
    publications: tuple[Publication, ...] = field(default=())
    #: Names of subscriptions that write to it.
    subscriptions: tuple[str, ...] = field(default=())
    #: Names of the providers of its security labels.
    label_providers: tuple[str, ...] = field(default=())
    #: Names of enabled triggers that fire on INSERT.
    insert_triggers: tuple[str, ...] = field(default=())
    #: Code that writing to the table may run.
    attached_code: tuple[AttachedCode, ...] = field(default=())
    #: The role that owns it; ``None`` for a table that does not exist yet.
    owner: str | None = None
    #: What the role lacks of INSERT, SELECT, TRUNCATE and REFERENCES on the table.
    lacking: tuple[str, ...] = field(default=())
    #: Columns filled from a sequence that the role may not use, with that sequence.
    closed_sequences: tuple[tuple[str, str], ...] = field(default=())
    #: Bytes of the table with its indexes; ``None`` where nobody asked.
    total_bytes: int | None = None

    def before(self, others: Collection[str]) -> TargetTable:
        """The same table, loaded before these of its schema: their rows are still to come."""
        keys = tuple(
            evolve(key, parents_first=False)
            if key.parent_schema == self.schema and key.parent in others
            else key
            for key in self.foreign_keys
        )
        return evolve(self, foreign_keys=keys)

    def column(self, name: str) -> TargetColumn | None:
        """The column of that name, or ``None``."""
        for column in self.columns:
            if column.name == name:
                return column
        return None


@frozen
class DatabaseIdentity:
    """Which database of which server this is."""

    #: What ``initdb`` gave the server's data; a copy of the data has it too. ``None`` where the
    #: role may not know it.
    system_identifier: str | None
    #: Name of the database.
    name: str
    #: Its OID. ``CREATE DATABASE … TEMPLATE`` copies the OIDs of tables, and gives another one.
    oid: int
    #: ``host:port`` that was connected to.
    address: str
    #: When the server process began, in the server's words.
    started: str

    def is_same(self, other: DatabaseIdentity) -> bool:
        """Whether both are one database.

        A server that is found at another address is the same one if it began at the same moment,
        and one that has begun anew if it is at the same address. A copy of its data differs in
        both.
        """
        own = (self.system_identifier, self.name, self.oid)
        if own != (other.system_identifier, other.name, other.oid):
            return False
        return self.address == other.address or self.started == other.started

    def __str__(self) -> str:
        return f'"{self.name}" at {self.address}'


@frozen
class TargetFacts:
    """What the target database looks like."""

    #: ``user@host:port/dbname``, without secrets.
    label: str
    #: As ``server_version_num``: 160014.
    server_version: int
    #: Schema the tables are in or will be created in.
    schema: str
    #: Schema of the extension ``vector``; ``None`` where it is not installed in the database.
    vector_schema: str | None
    #: Version of the extension, or the one that would be installed; ``None``: not available.
    vector_version: str | None
    #: Names asked for: all tables of the set.
    asked: tuple[str, ...]
    #: Those of them that exist.
    tables: tuple[TargetTable, ...]
    #: The server takes no writes.
    read_only: bool = False
    #: What a restore needs to keep its tables over several transactions is there: the session is
    #: the server's own, or a pooler in between gives a second connection.
    keeps_claims: bool = True
    #: The role may create schemas in the database.
    may_create_schemas: bool = True
    #: The role that restores.
    role: str = ""
    #: The role may use the schema.
    may_use_schema: bool = True
    #: The role may create tables in the schema.
    may_create_tables: bool = True
    #: The role may create the extension; true where it is there.
    may_create_extension: bool = True
    #: Names of tables in the schema beside ASCII ones, for look-alikes of those asked for.
    unusual_names: tuple[str, ...] = ()
    #: Folder of the server that new tables go to; ``None`` where the role may not know it, or the
    #: server is on another machine.
    data_folder: str | None = None
    #: Event triggers of the database that somebody else than a superuser may have written.
    event_triggers: tuple[AttachedCode, ...] = ()

    #: Publications that send what happens to any table that is created in the schema.
    publications: tuple[Publication, ...] = ()
    #: Providers of security labels of the tables that the server has not loaded.
    unloaded_providers: tuple[str, ...] = ()
    #: Which database it is; ``None``: it was not asked.
    identity: DatabaseIdentity | None = None

    def table(self, name: str) -> TargetTable | None:
        """The existing table of that name, or ``None``."""
        return next((t for t in self.tables if t.name == name), None)
