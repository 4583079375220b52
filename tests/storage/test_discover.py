from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_restore.errors import BackupNotFoundError, IncompleteBackupError, OptionError
from pgvector_restore.model import Catalog, ObjectInfo, parse_timestamp
from pgvector_restore.storage._folder import is_moment
from pgvector_restore.storage.discover import build_catalog, check_task_id
from pgvector_restore.storage.layout import DEFAULT_LAYOUT

_C, _E = DEFAULT_LAYOUT.tables
_T1, _T2, _T3 = "20250721_203539", "20250722_010318", "20250722_173950"


def _pair(folder: str, stamp: str) -> list[str]:
    base = f"{folder}/" if folder else ""
    return [f"{base}{_C}_{stamp}.csv", f"{base}{_E}_{stamp}.csv"]


def _catalog(keys: list[str], task_id: str | None = None, *, global_only: bool = False) -> Catalog:
    objects = [ObjectInfo(key, len(key)) for key in keys]
    return build_catalog(objects, DEFAULT_LAYOUT, task_id=task_id, global_only=global_only)


def test_newest_first_and_global_before_task() -> None:
    folders = ["task_2/vector_bak", "task_1/vector_bak", "vector_bak", "global_vector_bak", ""]
    keys = [key for folder in folders for key in _pair(folder, _T2)]
    keys += _pair("manual_1/global_vector_bak", _T3) + _pair("vector_bak", _T1)
    catalog = _catalog(keys)
    assert [one.label for one in catalog.sets] == [
        f"manual_1/{_T3}",
        _T2,
        f"global_vector_bak/{_T2}",
        f"vector_bak/{_T2}",
        f"task_1/{_T2}",
        f"task_2/{_T2}",
        f"vector_bak/{_T1}",
    ]
    assert [location.name for location in catalog.locations] == [
        "", "global_vector_bak", "vector_bak", "manual_1", "task_1", "task_2",
    ]  # fmt: skip
    assert catalog.latest().label == f"manual_1/{_T3}"
    assert catalog.get("./vector_bak/latest").timestamp == _T2
    assert catalog.get(_T2).location.relative_path == "."
    assert [file.table for file in catalog.sets[0].files] == [_C, _E]


def test_log_belongs_to_its_folder() -> None:
    keys = [*_pair("vector_bak", _T1), "vector_bak/vector_backup_log.txt", *_pair("", _T1)]
    with_log, without = (_catalog(keys).get(label) for label in (f"vector_bak/{_T1}", _T1))
    assert with_log.location.log == ObjectInfo(keys[2], len(keys[2]))
    assert without.location.log is None


def test_a_label_of_two_sets_names_none() -> None:
    places = ("task_1/global_vector_bak", "task_1/vector_bak")
    catalog = _catalog([key for place in places for key in _pair(place, _T1)])
    with pytest.raises(OptionError) as caught:
        catalog.get(f"task_1/{_T1}")
    assert caught.value.message == f'"task_1/{_T1}" names 2 backup sets'
    assert caught.value.hint == f"there are {places[0]}/{_T1}, {places[1]}/{_T1}"
    for place in places:
        assert catalog.get(f"{place}/{_T1}").location.key == place
    assert catalog.get("task_1/latest").timestamp == _T1


def test_log_alone_is_no_location() -> None:
    assert _catalog(["vector_bak/vector_backup_log.txt"]) == Catalog((), (), ())


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([f"{_C}_{_T1}.csv"], f"{_E}_{_T1}.csv missing"),
        ([f"{_E}_{_T1}.csv"], f"{_C}_{_T1}.csv missing"),
        (
            [f"{_C}_{_T1}.csv", f"{_E}_{_T1}.csv.tmp"],
            f"{_E}_{_T1}.csv missing; unfinished: {_E}_{_T1}.csv.tmp",
        ),
        (
            [f"{_E}_{_T1}.csv.tmp"],
            f"{_C}_{_T1}.csv, {_E}_{_T1}.csv missing; unfinished: {_E}_{_T1}.csv.tmp",
        ),
        ([f"{_C}_20250721_999999.csv"], "20250721_999999 is no date and time"),
        (_pair("", "20250230_000000"), "20250230_000000 is no date and time"),
    ],
)
def test_incomplete(names: list[str], reason: str) -> None:
    catalog = _catalog([f"vector_bak/{name}" for name in names])
    assert catalog.sets == ()
    (leftover,) = catalog.incomplete
    assert leftover.reason == reason
    assert [info.key for info in leftover.objects] == [f"vector_bak/{name}" for name in names]
    with pytest.raises(IncompleteBackupError, match="incomplete"):
        catalog.get(leftover.label)
    with pytest.raises(BackupNotFoundError):
        catalog.latest()


def test_unfinished_file_beside_a_complete_set() -> None:
    partial = f"vector_bak/{_E}_{_T1}.csv.tmp"
    catalog = _catalog([*_pair("vector_bak", _T1), partial])
    assert catalog.get(f"vector_bak/{_T1}").timestamp == _T1
    (leftover,) = catalog.incomplete
    assert [info.key for info in leftover.objects] == [partial]
    assert leftover.reason.startswith(f"{_E}_{_T1}.csv.tmp is unfinished")


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".gz", "gzip"), (".bz2", "bzip2"), (".xz", "xz"), (".zst", "zstd"), (".lz4", "lz4")],
)
def test_compressed_set(suffix: str, codec: str) -> None:
    plain, packed = _pair("vector_bak", _T1)
    found = _catalog([plain, packed + suffix])
    assert [file.codec for file in found.latest().files] == [None, codec]
    assert found.latest().files[1].name == f"{_E}_{_T1}.csv{suffix}"
    assert found.incomplete == ()


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (
            [f"{_C}_{_T1}.csv", f"{_E}_{_T1}.csv", f"{_E}_{_T1}.csv.gz"],
            f"{_E} has 2 files, {_E}_{_T1}.csv, {_E}_{_T1}.csv.gz: keep one",
        ),
        (
            [f"{_C}_{_T1}.csv.gz", f"{_C}_{_T1}.csv.xz", f"{_C}_{_T1}.csv.zst"],
            (
                f"{_E}_{_T1}.csv missing; {_C} has 3 files, {_C}_{_T1}.csv.gz, {_C}_{_T1}.csv.xz, "
                f"{_C}_{_T1}.csv.zst: keep one"
            ),
        ),
        (
            [f"{_C}_{_T1}.csv.gz", f"{_E}_{_T1}.csv.gz.tmp"],
            f"{_E}_{_T1}.csv missing; unfinished: {_E}_{_T1}.csv.gz.tmp",
        ),
        (
            [f"{_C}_{_T1}.csv", f"{_E}_{_T1}.csv.7z", f"{_E}_{_T1}.csv.zip"],
            (
                f"{_E}_{_T1}.csv missing; cannot be read, unpack it first: "
                f"{_E}_{_T1}.csv.7z (7z), {_E}_{_T1}.csv.zip (zip)"
            ),
        ),
    ],
)
def test_no_set_of_doubtful_files(names: list[str], reason: str) -> None:
    keys = [f"vector_bak/{name}" for name in names]
    for order in (keys, keys[::-1]):
        catalog = _catalog(order)
        assert catalog.sets == ()
        (leftover,) = catalog.incomplete
        assert leftover.reason == reason
        assert [info.key for info in leftover.objects] == keys
        with pytest.raises(IncompleteBackupError) as caught:
            catalog.get(f"vector_bak/{_T1}")
        assert reason in caught.value.message


def test_unreadable_file_beside_a_complete_set() -> None:
    others = [f"vector_bak/{_C}_{_T1}.csv.br", f"vector_bak/{_E}_{_T1}.csv.gz.tmp"]
    catalog = _catalog([*_pair("vector_bak", _T1), *others])
    assert [file.codec for file in catalog.get(f"vector_bak/{_T1}").files] == [None, None]
    (leftover,) = catalog.incomplete
    assert [info.key for info in leftover.objects] == others
    assert leftover.reason == (
        f"{_E}_{_T1}.csv.gz.tmp is unfinished and {_C}_{_T1}.csv.br (brotli) cannot be read, "
        "beside a complete set of that time"
    )


def test_one_task_or_global_only() -> None:
    folders = ["vector_bak", "task_1/vector_bak", "task_11/vector_bak", ""]
    keys = [key for folder in folders for key in [*_pair(folder, _T1), *_pair(folder, _T2)[:1]]]
    one = _catalog(keys, "task_1")
    assert [s.label for s in one.sets] == [f"task_1/{_T1}"]
    assert [s.label for s in one.incomplete] == [f"task_1/{_T2}"]
    assert [location.name for location in one.locations] == ["task_1"]
    everywhere = _catalog(keys, global_only=True)
    assert [s.label for s in everywhere.sets] == [_T1, f"vector_bak/{_T1}"]
    assert {location.kind for location in everywhere.locations} == {"global"}


@pytest.mark.parametrize("text", ["task_1", "A", "0", "_"])
def test_task_ids(text: str) -> None:
    check_task_id(text)


@pytest.mark.parametrize(
    "text", ["", "task_1\n", "../x", "a/b", "a b", "é", "٣", "a-b", "<script>", "a\x1b", "a\0", "*"]
)
def test_no_task_ids(text: str) -> None:
    with pytest.raises(OptionError, match="no task id") as caught:
        check_task_id(text)
    assert caught.value.message.isprintable()


# What a listing may hold: parts of real keys, mixed with what only looks like them.
_PART = st.sampled_from(
    ["", "vector_bak", "global_vector_bak", "task_1", "manual_2", "task_\n", "..", "x\x1b[0m"]
)
_STAMP = st.sampled_from([_T1, _T2, "20250230_000000", "2025", "20250721_20353９"])  # noqa: RUF001
_END = st.sampled_from(
    [
        ".csv",
        ".csv.gz",
        ".csv.zst",
        ".csv.br",
        ".CSV",
        ".csv.tmp",
        ".csv.gz.tmp",
        ".csv\n",
        ".tmp",
        "",
    ]
)
_NAME = st.builds("{}_{}{}".format, st.sampled_from([_C, _E, "other"]), _STAMP, _END)
_KEY = st.builds(
    lambda folder, name: "/".join([*folder, name]),
    st.lists(_PART, max_size=3),
    _NAME | st.just("vector_backup_log.txt") | st.text(max_size=5),
)
_OBJECTS = st.lists(
    st.builds(ObjectInfo, _KEY, st.integers(0, 9)), max_size=40, unique_by=lambda info: info.key
)


@given(_OBJECTS, st.randoms(use_true_random=False), st.none() | st.just("task_1"), st.booleans())
def test_order_of_the_listing_does_not_matter(
    objects: list[ObjectInfo],
    rng: random.Random,
    task_id: str | None,
    global_only: bool,  # noqa: FBT001 - drawn
) -> None:
    first = build_catalog(objects, DEFAULT_LAYOUT, task_id=task_id, global_only=global_only)
    shuffled = rng.sample(objects, len(objects))
    assert first == build_catalog(
        iter(shuffled), DEFAULT_LAYOUT, task_id=task_id, global_only=global_only
    )


@given(_OBJECTS)
def test_every_backup_file_is_somewhere_once(objects: list[ObjectInfo]) -> None:
    catalog = build_catalog(objects, DEFAULT_LAYOUT)
    used = [file.info for one in catalog.sets for file in one.files]
    used += [info for one in catalog.incomplete for info in one.objects]
    expected = []
    for info in objects:
        folder, slash, name = info.key.rpartition("/")
        known = DEFAULT_LAYOUT.parse_folder(folder) is not None and bool(folder or not slash)
        if known and DEFAULT_LAYOUT.parse_file_name(name) is not None:
            expected.append(info)
    assert sorted(info.key for info in used) == sorted(info.key for info in expected)
    for one in catalog.sets:
        assert one.label.isascii()
        assert one.label.isprintable()
        assert parse_timestamp(one.timestamp) is not None
        assert [file.table for file in one.files] == [_C, _E]
    for leftover in catalog.incomplete:
        assert leftover.label.isprintable()
        assert leftover.reason.isprintable()
    stamps = [one.timestamp for one in catalog.sets]
    assert stamps == sorted(stamps, reverse=True)


@given(
    st.from_regex(r"\A(?:0000|0001|2[0-9]{3})[01][0-9][0-3][0-9]_[0-2][0-9][0-6][0-9][0-6][0-9]\Z")
)
def test_real_stamps_are_those_that_parse(stamp: str) -> None:
    assert is_moment(stamp) == (parse_timestamp(stamp) is not None)
