"""Naming rules: which folders hold backups, and which files are parts of a set."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple

from attrs import Attribute, field, frozen, validators

from pgvector_restore.errors import OptionError, quoted
from pgvector_restore.model import FileFormat, Location
from pgvector_restore.storage.compression import CODEC_BY_SUFFIX, codec_named

__all__ = ["DEFAULT_LAYOUT", "FileName", "FileState", "Layout", "is_task_id"]

#: ``final``: the whole file is there; ``partial``: it was still being written; ``unreadable``: it
#: is compressed in a way that is known, but not read.
FileState = Literal["final", "partial", "unreadable"]

#: A task's id names a folder and appears in labels, URLs and logs: nothing else is let through.
_TASK_ID = re.compile(r"[A-Za-z0-9_]+")


class FileName(NamedTuple):
    """What the name of a backup file says."""

    #: Table the file is for.
    table: str
    #: ``YYYYMMDD_HHMMSS``, digits only; whether it is a real date is not checked here.
    timestamp: str
    #: Whether the file is finished.
    state: FileState
    #: Name of its codec in ``storage/compression.py``; ``None`` for plain text.
    codec: str | None = None
    #: What is in it.
    format: FileFormat = "csv"
    #: Number of the part, from 1; ``None``: it is the whole file.
    part: int | None = None


def is_task_id(text: str) -> bool:
    """Whether a text can be the id of a task: ASCII letters, digits and underscores."""
    return _TASK_ID.fullmatch(text) is not None


def _are_names(_: object, attribute: Attribute[Any], value: object) -> None:
    label = attribute.name
    if not isinstance(value, tuple) or not value:
        raise OptionError(f"layout: {label} must be a tuple of at least one name, got {value!r}")
    for name in value:
        _is_name(_, attribute, name)
    if len(set(value)) != len(value):
        raise OptionError(f"layout: {label} names something twice: {value!r}")


def _is_name(_: object, attribute: Attribute[Any], value: object) -> None:
    good = isinstance(value, str) and value.isprintable() and value not in {"", ".", ".."}
    if not good or "/" in str(value) or "\\" in str(value):
        raise OptionError(
            f"layout: {attribute.name} cannot be {value!r}",
            hint="a name is one part of a path: not empty, printable, without slashes",
        )


@frozen
class Layout:
    """How backups are laid out in a store; change a field to read differently named ones.

    Raises:
        OptionError: A rule that no file or folder could follow.
    """

    #: Tables of a set, parents before children; a file is named ``<table>_<timestamp><suffix>``.
    tables: tuple[str, ...] = field(
        default=("langchain_pg_collection", "langchain_pg_embedding"), validator=_are_names
    )
    #: Folders directly under the root that hold backups of the whole system.
    global_folders: tuple[str, ...] = field(
        default=("vector_bak", "global_vector_bak"), validator=_are_names
    )
    #: Shell patterns (``*``, ``?``, ``[…]``; case counts) for the folders of tasks; a task's name
    #: must be of ASCII letters, digits and underscores besides.
    task_folders: tuple[str, ...] = field(default=("task_*", "manual_*"), validator=_are_names)
    #: Folders inside of a task's folder that hold its backups.
    inner_folders: tuple[str, ...] = field(
        default=("vector_bak", "global_vector_bak"), validator=_are_names
    )
    #: How a finished file ends; case counts. The suffix of a codec, such as ``.gz``, may follow.
    suffix: str = field(default=".csv", validator=_is_name)
    #: What follows ``suffix`` while a file is being written.
    partial_suffix: str = field(default=".tmp", validator=_is_name)
    #: Name of the log beside the files.
    log_name: str = field(default="vector_backup_log.txt", validator=_is_name)

    #: How a finished file in PostgreSQL's binary format ends. Its parts have ``.part00001`` and so
    #: on before that.
    binary_suffix: str = field(default=".pgcopy", validator=_is_name)
    #: How the name of a manifest begins; ``_<timestamp>.json`` follows.
    manifest_prefix: str = field(default="manifest", validator=_is_name)

    _file_name: re.Pattern[str] = field(
        init=False, repr=False, eq=False, validator=validators.instance_of(re.Pattern)
    )

    @_file_name.default
    def _compile(self) -> re.Pattern[str]:
        suffix, partial = re.escape(str(self.suffix)), re.escape(str(self.partial_suffix))
        binary = re.escape(str(self.binary_suffix))
        # [0-9], not \d: other scripts' digits make no timestamp.
        codecs = "|".join(re.escape(end) for end in CODEC_BY_SUFFIX)
        return re.compile(
            rf"(.+)_([0-9]{{8}}_[0-9]{{6}})(?:{suffix}|(\.part[0-9]{{5}})?({binary}))"
            rf"({codecs})?({partial})?",
            re.DOTALL,
        )

    _manifest_name: re.Pattern[str] = field(init=False, repr=False, eq=False)

    @_manifest_name.default
    def _compile_manifest(self) -> re.Pattern[str]:
        prefix, partial = re.escape(str(self.manifest_prefix)), re.escape(str(self.partial_suffix))
        return re.compile(
            rf"{prefix}_([0-9]{{8}}_[0-9]{{6}})(?:\.json|(?:\.json|{partial})?{partial})"
        )

    #: Codec of all files, where ``suffix`` ends in one's.
    _suffix_codec: str | None = field(init=False, repr=False, eq=False)

    @_suffix_codec.default
    def _find_codec(self) -> str | None:
        codec = CODEC_BY_SUFFIX.get(f".{str(self.suffix).rpartition('.')[2]}")
        return codec.name if codec is not None else None

    @property
    def max_depth(self) -> int:
        """Parts of the longest key that matters: task folder, inner folder, file."""
        return 3

    @property
    def half_log_name(self) -> str:
        """The name of the log while it is rewritten."""
        return f"{self.log_name}{self.partial_suffix}"

    def file_name(self, table: str, timestamp: str) -> str:
        """The name of a table's finished file, not compressed."""
        return f"{table}_{timestamp}{self.suffix}"

    def binary_name(self, table: str, timestamp: str, part: int | None = None) -> str:
        """The name of a table's finished file in binary, or of a part of it, not compressed."""
        number = "" if part is None else f".part{part:05}"
        return f"{table}_{timestamp}{number}{self.binary_suffix}"

    def manifest_name(self, timestamp: str) -> str:
        """The name of a set's manifest."""
        return f"{self.manifest_prefix}_{timestamp}.json"

    def marker_name(self, timestamp: str) -> str:
        """The name of what lies beside a set that is being written."""
        return f"{self.manifest_prefix}_{timestamp}{self.partial_suffix}"

    def parse_manifest_name(self, name: str) -> tuple[str, bool] | None:
        """Timestamp of a manifest, and whether it is finished; ``None`` for any other file.

        A manifest or a mark that is itself being written counts as a mark that the set is.
        """
        match = self._manifest_name.fullmatch(name)
        return (match[1], name.endswith(".json")) if match is not None else None

    def parse_file_name(self, name: str, *, any_table: bool = False) -> FileName | None:
        """What a file's name says, or ``None`` if the file is no part of a backup set.

        Args:
            name: Without folder.
            any_table: Also files of tables that are not the layout's; only a manifest tells that
                they are part of a backup.
        """
        match = self._file_name.fullmatch(name)
        if match is None or not (any_table or match[1] in self.tables):
            return None
        table, timestamp, part, binary, packed, partial = match.groups()
        codec = CODEC_BY_SUFFIX[packed].name if packed else None
        if binary is None and codec is None:
            codec = self._suffix_codec
        readable = codec is None or codec_named(codec).readable
        state: FileState = "final" if readable else "unreadable"
        return FileName(
            table,
            timestamp,
            "partial" if partial else state,
            codec,
            "csv" if binary is None else "binary",
            None if part is None else int(part[5:]),
        )

    def parse_folder(self, key: str) -> Location | None:
        """The location a folder is, or ``None``; ``""`` is the root, a global location."""
        name, _, inner = key.partition("/")
        if not inner:
            known = key == name and (not name or name in self.global_folders)
            return Location("global", name, key) if known else None
        if inner in self.inner_folders and self.is_task_folder(name):
            return Location("task", name, key, task_id=name)
        return None

    def may_use(self, key: str) -> bool:
        """Whether an object of this key, or what lies in this folder, can be part of a backup.

        Whatever cannot is left alone by whoever looks for backups: what others keep in the same
        place, readable or not, is none of theirs.

        Args:
            key: Of an object; of a folder with a slash at its end.
        """
        folder, slash, name = key.rpartition("/")
        if slash and not name:
            if not folder:
                return False
            is_task = "/" not in folder and self.is_task_folder(folder)
            return is_task or self.parse_folder(folder) is not None
        if self.may_use(f"{key}/"):  # a folder that is not known to be one: a link
            return True
        if self.parse_folder(folder) is None:
            return False
        return (
            name in (self.log_name, self.half_log_name)
            or self.parse_manifest_name(name) is not None
            or self.parse_file_name(name, any_table=True) is not None
        )

    def locations_named(self, name: str) -> tuple[Location, ...]:
        """The locations a label may mean by a name: the folder, or the inner ones of a task.

        Args:
            name: All of the label before its last slash; ``""``: the root.
        """
        keys = [name, *(f"{name}/{inner}" for inner in self.inner_folders if name)]
        found = map(self.parse_folder, keys)
        return tuple(one for one in found if one is not None and name in one.names)

    def is_task_folder(self, name: str) -> bool:
        """Whether a folder under the root belongs to a task."""
        return is_task_id(name) and any(fnmatchcase(name, rule) for rule in self.task_folders)

    def __attrs_post_init__(self) -> None:
        if self.partial_suffix in CODEC_BY_SUFFIX:
            raise OptionError(
                f"layout: partial_suffix cannot be {self.partial_suffix!r}",
                hint="finished files that are compressed end like that",
            )
        if self.suffix == self.binary_suffix:
            raise OptionError(f"layout: suffix and binary_suffix are both {self.suffix!r}")
        if self.parse_file_name(self.log_name) is not None:
            raise OptionError(f"layout: the log {quoted(self.log_name)} looks like a table's file")


#: The layout of the backups this package was made for.
DEFAULT_LAYOUT = Layout()
