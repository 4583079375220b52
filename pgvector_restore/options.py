"""What a caller may ask of a restore, as one validated value."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable
from typing import Any, Literal, TypeVar, get_args

from attrs import Attribute, AttrsInstance, field, fields, frozen
from attrs.validators import optional

from pgvector_restore.errors import OptionError, quoted
from pgvector_restore.model import UnpackLimits

__all__ = [
    "BadRows",
    "Mode",
    "RestoreOptions",
    "Strategy",
    "VerifyLevel",
    "Wire",
    "between",
    "check_identifier",
    "check_jobs",
    "check_schema",
    "check_tables",
    "flag",
    "make_options",
    "merged",
    "number",
    "one_of",
    "table_names",
]

#: What becomes of rows already there.
Mode = Literal["append", "replace"]
#: How rows come in. ``auto`` chooses, and the plan says what.
Strategy = Literal["auto", "in_place", "swap"]
#: What is compared before the result becomes visible.
VerifyLevel = Literal["counts", "content"]
#: How rows travel. ``auto``: binary where every loaded column has an encoder, else text.
Wire = Literal["auto", "binary", "text"]
#: What becomes of records that cannot be restored.
BadRows = Literal["error", "quarantine"]

#: More connections than this help no server and exhaust most.
_MAX_JOBS = 64

#: Bytes of an identifier; the server silently cuts what is longer (NAMEDATALEN - 1).
_MAX_IDENTIFIER_BYTES = 63


def check_identifier(name: str, what: str) -> str:
    """The name, if the server would take it whole.

    Raises:
        OptionError: Empty, longer than 63 bytes of UTF-8, or with NUL or lone surrogates.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size = -1
    if not 0 < size <= _MAX_IDENTIFIER_BYTES or "\0" in name:
        raise OptionError(
            f"{what} {quoted(name[:80])} is no PostgreSQL name",
            hint="names have 1 to 63 bytes and no NUL",
        )
    return name


def one_of(choices: Any) -> Any:  # noqa: ANN401 - attrs' validator type is generic in the class
    """A validator: one of the texts of a ``Literal``."""
    allowed = get_args(choices)

    def check(_: object, attribute: Attribute[Any], value: object) -> None:
        if value not in allowed:
            raise OptionError(
                f"{attribute.name} {quoted(str(value)[:80])} is not known",
                hint=f"{attribute.name} is one of {', '.join(allowed)}",
            )

    return check


def between(low: float, high: float, kind: type[float | int]) -> Any:  # noqa: ANN401 - as above
    """A validator: a number within bounds, which belong to it."""

    def check(_: object, attribute: Attribute[Any], value: object) -> None:
        allowed = (int,) if kind is int else (int, float)
        fits = isinstance(value, allowed) and not isinstance(value, bool) and low <= value <= high
        if not fits:
            noun = "a whole number" if kind is int else "a number"
            raise OptionError(
                f"{attribute.name} must be {noun} from {low} to {high}, not {value!r}"
            )

    return check


def flag(_: object, attribute: Attribute[Any], value: object) -> None:
    """A validator: true or false."""
    if not isinstance(value, bool):
        raise OptionError(f"{attribute.name} must be true or false, not {value!r}")


def table_names(value: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """A converter: names, or one text with commas between them. Names are taken as they are given.

    In a text, blanks that follow a comma belong to it. A name that has a comma, or begins with a
    blank, goes in double quotes, as in CSV.

    Raises:
        OptionError: Quotes that do not match.
    """
    if value is None:
        return None
    names = _split(value) if isinstance(value, str) else tuple(value)
    return tuple(dict.fromkeys(names))


def _split(text: str) -> tuple[str, ...]:
    if '"' in text:
        try:
            return tuple(next(csv.reader([text], skipinitialspace=True, strict=True)))
        except csv.Error as exc:
            raise OptionError(
                f"tables {quoted(text)} cannot be told apart: {exc}",
                hint='a name with a comma goes in double quotes: "a,b",c',
            ) from None
    first, *others = text.split(",")
    return (first, *(name.lstrip(" ") for name in others))


def check_tables(_: object, __: Attribute[Any], value: tuple[str, ...] | None) -> None:
    """A validator: names the server would take, at least one."""
    if value is None:
        return
    if not value:
        raise OptionError("tables names no table", hint="leave it out to restore all of them")
    for name in value:
        check_identifier(name, "table")


def check_schema(_: object, __: Attribute[Any], value: str | None) -> None:
    """A validator: a name the server would take, or ``None``."""
    if value is not None:
        check_identifier(value, "schema")


#: The smallest value the server takes for ``maintenance_work_mem`` in all versions, 1 MB; and the
#: largest, 2 GB less 1 kB, where ``long`` has 32 bits.
_MEMORY_BYTES = (1 << 20, (2 << 30) - 1024)

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def _size(value: Any) -> Any:  # noqa: ANN401 - the validator judges what comes out
    """Bytes of ``1GB``, ``512 MB`` or a number; units are 1024-based as the server's own."""
    if isinstance(value, str):
        found = re.fullmatch(r"\s*([0-9]+)\s*([kKmMgG]?)[bB]?\s*", value)
        if found is None:
            raise OptionError(
                f"maintenance_memory {quoted(value[:80])} is no size",
                hint="write it like 512MB or 1GB",
            )
        return int(found[1]) * _UNITS[found[2].upper()]
    return value


def check_jobs(_: object, attribute: Attribute[Any], value: object) -> None:
    """A validator: ``auto``, or how many."""
    if value != "auto":
        between(1, _MAX_JOBS, int)(_, attribute, value)


def _folder(value: Any) -> Any:  # noqa: ANN401 - the validator judges what comes out
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _path(_: object, attribute: Attribute[Any], value: object) -> None:
    if value is not None and not (isinstance(value, str) and value and "\0" not in value):
        raise OptionError(f"{attribute.name} must be the path of a folder, not {value!r}")


def number(value: Any) -> Any:  # noqa: ANN401 - the validator judges what comes out
    """A converter: digits of a command line to a number."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _dashes(value: object) -> Any:  # noqa: ANN401 - the validator judges what comes out
    return value.replace("-", "_") if isinstance(value, str) else value


@frozen(kw_only=True)
class RestoreOptions:
    """Options of one restore. Everything has a default; wrong values raise ``OptionError``."""

    #: ``append`` keeps the rows already there, ``replace`` removes them, in the same transaction.
    mode: Mode = field(default="append", validator=one_of(Mode))
    #: ``in_place``: one transaction on one connection. ``swap`` (replace only): load new tables
    #: beside the old ones, which are served meanwhile, then exchange them.
    strategy: Strategy = field(default="auto", converter=_dashes, validator=one_of(Strategy))
    #: Tables to restore, ``None`` for all of the set. A comma-separated string will do.
    tables: tuple[str, ...] | None = field(
        default=None, converter=table_names, validator=check_tables
    )
    #: Schema of the tables; ``None``: where the connection's search path finds or puts them.
    schema: str | None = field(default=None, validator=check_schema)
    #: Create the extension and tables that are missing.
    create_tables: bool = field(default=True, validator=flag)
    #: Refuse a file whose row count differs from what the backup log says of it.
    check_log: bool = field(default=True, validator=flag)
    #: Use the set's manifest, where it has one: compare files with its sums and row counts. A set
    #: in binary cannot be restored without.
    check_manifest: bool = field(default=True, validator=flag)
    #: Seconds to wait for somebody else's lock on a table, 0.001 to 2,000,000 (23 days).
    lock_timeout_s: float = field(default=30.0, validator=between(0.001, 2_000_000, float))
    #: Seconds one statement may take, COPY and CREATE INDEX included, 0.001 to 2,000,000; ``None``:
    #: any number, whatever limit the role or the database has.
    statement_timeout_s: float | None = field(
        default=None, validator=optional(between(0.001, 2_000_000, float))
    )
    #: Write a row about the restore into the table ``pgvector_restore_ledger`` beside the tables,
    #: in the restore's own transaction.
    ledger: bool = field(default=False, validator=flag)
    #: How rows travel to the server. ``text`` leaves every cell's spelling to the server.
    wire: Wire = field(default="auto", validator=one_of(Wire))
    #: Connections that load at the same time with ``swap``, and parallel workers of an index build,
    #: 1 to 64. ``auto``: 1 for files below 64 MB together, else as many as cores, 4 at the most.
    jobs: int | Literal["auto"] = field(default="auto", converter=number, validator=check_jobs)
    #: Cap of ``maintenance_work_mem`` while indexes are built, bytes, 1 MB to 2 GB; or ``512MB``.
    maintenance_memory: int = field(
        default=1 << 30, converter=_size, validator=between(*_MEMORY_BYTES, int)
    )
    #: With ``swap``: keep the old tables in the schema ``<schema>_previous``, for ``revert``.
    keep_previous: bool = field(default=False, validator=flag)
    #: ``counts``: of records and rows. ``content``: every row is read back and compared as well.
    verify: VerifyLevel = field(default="counts", validator=one_of(VerifyLevel))
    #: Restore into tables to which a role that we have no reason to trust has attached code, and
    #: run it with our rights.
    allow_attached_code: bool = field(default=False, validator=flag)
    #: Restore into tables with rows on other servers (foreign partitions, distributed tables): no
    #: single COMMIT covers them, and after an error some may be new and others old.
    allow_non_atomic: bool = field(default=False, validator=flag)
    #: A record with more bytes is refused; PostgreSQL's own limit for a field is 1 GiB.
    max_record_bytes: int = field(default=64 << 20, validator=between(1, 1 << 30, int))
    #: A compressed file that unpacks to more than so many times its size, and to more than 64 MiB,
    #: is refused, 1 to 1,000,000; see :class:`~pgvector_restore.UnpackLimits`.
    max_unpack_ratio: int = field(default=200, validator=between(1, 1_000_000, int))
    #: A compressed file that unpacks to more bytes is refused, 1 to 2**60.
    max_unpacked_bytes: int = field(default=1 << 40, validator=between(1, 1 << 60, int))
    #: ``quarantine`` sets records aside that cannot be restored, and loads the others.
    on_bad_row: BadRows = field(default="error", validator=one_of(BadRows))
    #: More bad records than this in all tables end the restore with nothing changed.
    max_bad_rows: int = field(default=1000, validator=between(0, 1_000_000_000, int))
    #: Local folder in which a folder with the records set aside is made; ``quarantine`` needs one.
    reject_dir: str | None = field(default=None, converter=_folder, validator=_path)

    def __attrs_post_init__(self) -> None:
        if self.on_bad_row == "quarantine" and self.reject_dir is None:
            raise OptionError(
                "on_bad_row quarantine needs a folder for the records it sets aside",
                hint="name one with reject_dir",
            )

    @property
    def unpack_limits(self) -> UnpackLimits:
        """The limits of compressed files as one value."""
        return UnpackLimits(self.max_unpack_ratio, self.max_unpacked_bytes)


_Options = TypeVar("_Options", bound=AttrsInstance)


def make_options(options: RestoreOptions | None, changes: dict[str, Any]) -> RestoreOptions:
    """Options from keyword arguments, on top of given ones.

    Raises:
        OptionError: An unknown name or a wrong value.
    """
    return merged(RestoreOptions, options, changes)


def merged(kind: type[_Options], options: _Options | None, changes: dict[str, Any]) -> _Options:
    """A value of an attrs class from keyword arguments, on top of another one.

    Raises:
        OptionError: An unknown name or a wrong value.
    """
    known = {a.name for a in fields(kind)}
    for name in changes:
        if name not in known:
            raise OptionError(
                f"option {quoted(name)} is not known", hint=f"known are {', '.join(sorted(known))}"
            )
    given = {} if options is None else {name: getattr(options, name) for name in known}
    return kind(**(given | changes))
