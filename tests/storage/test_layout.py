from __future__ import annotations

import pickle

import pytest

from pgvector_restore.errors import OptionError
from pgvector_restore.storage.layout import DEFAULT_LAYOUT, FileName, Layout

_STAMP = "20250722_010318"


@pytest.mark.parametrize(
    ("name", "state"),
    [
        (f"langchain_pg_embedding_{_STAMP}.csv", "final"),
        (f"langchain_pg_embedding_{_STAMP}.csv.tmp", "partial"),
    ],
)
def test_file_names(name: str, state: str) -> None:
    parsed = DEFAULT_LAYOUT.parse_file_name(name)
    assert parsed == FileName("langchain_pg_embedding", _STAMP, "final")._replace(
        state="final" if state == "final" else "partial"
    )


@pytest.mark.parametrize(
    ("end", "state", "codec"),
    [
        (".gz", "final", "gzip"), (".bz2", "final", "bzip2"), (".xz", "final", "xz"),
        (".zst", "final", "zstd"), (".zstd", "final", "zstd"), (".lz4", "final", "lz4"),
        (".gz.tmp", "partial", "gzip"), (".br.tmp", "partial", "brotli"),
        (".br", "unreadable", "brotli"), (".zip", "unreadable", "zip"), (".7z", "unreadable", "7z"),
        (".Z", "unreadable", "compress"), (".lzma", "unreadable", "lzma"),
        (".sz", "unreadable", "snappy"), (".lz", "unreadable", "lzip"),
    ],
)  # fmt: skip
def test_compressed_file_names(end: str, state: str, codec: str) -> None:
    parsed = DEFAULT_LAYOUT.parse_file_name(f"langchain_pg_embedding_{_STAMP}.csv{end}")
    assert parsed is not None
    assert parsed[:4] == ("langchain_pg_embedding", _STAMP, state, codec)


def test_suffix_that_is_a_codecs() -> None:
    layout = Layout(suffix=".csv.gz")
    assert layout.parse_file_name(f"langchain_pg_embedding_{_STAMP}.csv.gz") == (
        "langchain_pg_embedding", _STAMP, "final", "gzip", "csv", None,
    )  # fmt: skip
    assert layout.parse_file_name(f"langchain_pg_embedding_{_STAMP}.csv") is None
    again = pickle.loads(pickle.dumps(layout))  # noqa: S301 - made right here
    assert again == layout
    with pytest.raises(OptionError, match=r"layout: partial_suffix cannot be '\.gz'"):
        Layout(partial_suffix=".gz")


@pytest.mark.parametrize(
    "name",
    [
        f"langchain_pg_embedding_{_STAMP}.csv\n",
        f"\nlangchain_pg_embedding_{_STAMP}.csv",
        f"xlangchain_pg_embedding_{_STAMP}.csv",
        f"langchain_pg_embedding_{_STAMP}.CSV",
        f"langchain_pg_embedding_{_STAMP}xcsv",
        f"langchain_pg_embedding_{_STAMP}.csv.GZ",
        f"langchain_pg_embedding_{_STAMP}.csv.gz.gz",
        f"langchain_pg_embedding_{_STAMP}.csv.tmp.gz",
        f"langchain_pg_embedding_{_STAMP}.gz",
        f"langchain_pg_embedding_{_STAMP}.csv.tmp.tmp",
        f"langchain_pg_embedding_{_STAMP}.tmp",
        f"langchain_pg_embedding_1{_STAMP}.csv",
        "langchain_pg_embedding_20250722010318.csv",
        "langchain_pg_embedding_２０２５０７２２_010318.csv",  # noqa: RUF001 - full-width digits
        f"langchain_pg_other_{_STAMP}.csv",
        "vector_backup_log.txt",
        "",
    ],
)
def test_foreign_file_names(name: str) -> None:
    assert DEFAULT_LAYOUT.parse_file_name(name) is None


@pytest.mark.parametrize(
    ("key", "kind", "label"),
    [
        ("", "global", ""),
        ("vector_bak", "global", "vector_bak"),
        ("global_vector_bak", "global", "global_vector_bak"),
        ("task_20250721_213627/vector_bak", "task", "task_20250721_213627"),
        ("task_1/global_vector_bak", "task", "task_1"),
        ("manual_20250722_164749/vector_bak", "task", "manual_20250722_164749"),
    ],
)
def test_folders(key: str, kind: str, label: str) -> None:
    location = DEFAULT_LAYOUT.parse_folder(key)
    assert location is not None
    assert (location.kind, location.name, location.key) == (kind, label, key)
    assert location.task_id == (label if kind == "task" else None)


@pytest.mark.parametrize(
    "key",
    [
        "other", "vector_bak/", "/vector_bak", "/", "vector_bak\n", "Vector_bak", "task_1",
        "task_1/", "task_1/other", "task_1/vector_bak/x", "task_1\n/vector_bak",
        "task_\x1b[31m/vector_bak", "task_é/vector_bak", "task_1-2/vector_bak",
        "../vector_bak", "other_1/vector_bak", "TASK_1/vector_bak", "vector_bak/vector_bak",
    ],
)  # fmt: skip
def test_foreign_folders(key: str) -> None:
    assert DEFAULT_LAYOUT.parse_folder(key) is None


def test_other_rules() -> None:
    layout = Layout(
        tables=("t.1", "t"),
        global_folders=("dump",),
        task_folders=("job?",),
        inner_folders=("out",),
        suffix=".tsv",
        partial_suffix="~",
    )
    assert layout.parse_file_name(f"t.1_{_STAMP}.tsv~") == (
        "t.1", _STAMP, "partial", None, "csv", None,
    )  # fmt: skip
    assert layout.parse_file_name(f"tx1_{_STAMP}.tsv") is None
    assert layout.file_name("t", _STAMP) == f"t_{_STAMP}.tsv"
    assert layout.parse_folder("job7/out") is not None
    assert layout.parse_folder("job77/out") is None
    assert layout.parse_folder("vector_bak") is None


def test_layout_is_a_value() -> None:
    assert Layout() == DEFAULT_LAYOUT
    assert hash(Layout()) == hash(DEFAULT_LAYOUT)
    again = pickle.loads(pickle.dumps(Layout(suffix=".txt")))  # noqa: S301 - made right here
    assert again == Layout(suffix=".txt")
    assert again.parse_file_name(f"langchain_pg_embedding_{_STAMP}.txt") is not None
    assert DEFAULT_LAYOUT.max_depth == 3


@pytest.mark.parametrize(
    "rules",
    [
        {"tables": ()},
        {"tables": ("a", "a")},
        {"tables": "langchain"},
        {"tables": ("a/b",)},
        {"tables": (1,)},
        {"global_folders": ("..",)},
        {"inner_folders": ("",)},
        {"task_folders": ("a\\b",)},
        {"suffix": ""},
        {"suffix": "\n"},
        {"partial_suffix": ""},
        {"log_name": None},
        {"log_name": f"langchain_pg_embedding_{_STAMP}.csv"},
    ],
)
def test_rules_nothing_could_follow(rules: dict[str, object]) -> None:
    with pytest.raises(OptionError, match="layout: "):
        Layout(**rules)  # type: ignore[arg-type]  # wrong on purpose
