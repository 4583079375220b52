"""Pages of a catalog: nothing is left out or told twice, whatever changes between them."""

from __future__ import annotations

import itertools
import time

from hypothesis import given
from hypothesis import strategies as st

from pgvector_restore.http.pages import (
    Cursor,
    Filter,
    Rendered,
    incomplete_document,
    page_of,
    read_cursor,
)
from pgvector_restore.http.shared import Shared
from pgvector_restore.model import Catalog, IncompleteSet, Location, ObjectInfo

NAMES = ["vector_bak", "vector", "task_1", "task_1x", ""]
STAMPS = ["20260101_000000", "20260102_000000", "2026", "99999999_999999"]


def entry(kind: str, name: str, stamp: str, number: int) -> IncompleteSet:
    where = Location("task" if kind == "task" else "global", name, f"{name}/vector_bak")
    return IncompleteSet(where, stamp, (ObjectInfo(f"{name}/{number}", 1),), f"reason {number}")


def in_order(entries: set[IncompleteSet]) -> list[IncompleteSet]:
    """Sorted as discovery does it."""
    found = sorted(entries, key=lambda one: one.reason)
    found.sort(key=lambda one: (one.location.kind != "global", one.location.names))
    found.sort(key=lambda one: one.timestamp, reverse=True)
    return found


entries = st.builds(
    entry,
    st.sampled_from(["global", "task"]),
    st.sampled_from(NAMES),
    st.sampled_from(STAMPS),
    st.integers(0, 2),
)


@given(st.sets(entries), st.integers(1, 4))
def test_a_walk_finds_everything_once(found: set[IncompleteSet], limit: int) -> None:
    every = in_order(found)
    seen: list[IncompleteSet] = []
    cursor = None
    while True:
        page = page_of(every, limit, cursor)
        assert page.total == len(every)
        seen += page.entries
        if page.cursor is None:
            break
        cursor = read_cursor(str(page.cursor))
        assert cursor == page.cursor
    assert seen == every


#: At most one of them at a location and time, as sets are.
plain = st.sets(
    entries.map(lambda one: entry(one.location.kind, one.location.name, one.timestamp, 0))
)


@given(plain, plain, st.integers(1, 3))
def test_what_stays_is_found_once_while_others_come_and_go(
    before: set[IncompleteSet], after: set[IncompleteSet], limit: int
) -> None:
    first = page_of(in_order(before), limit, None)
    seen = list(first.entries)
    cursor = first.cursor
    later = in_order(after)
    while cursor is not None:
        page = page_of(later, limit, cursor)
        seen += page.entries
        cursor = page.cursor
    assert len(set(seen)) == len(seen)
    assert before & after <= set(seen)


@given(st.text(max_size=40))
def test_no_other_text_is_a_cursor(text: str) -> None:
    try:
        made = read_cursor(text)
    except ValueError:
        return
    assert str(made) == text


def test_cursors_with_wrong_parts_are_none() -> None:
    good = Cursor("20260101_000000", "global", "vector_bak", "vector_bak", 1)
    assert read_cursor(str(good)) == good
    for bad in (
        Cursor("20260101_000000", "global", "vector_bak", "vector_bak", 0),
        Cursor("20260101_000000", "other", "vector_bak", "vector_bak", 1),  # type: ignore[arg-type]
        Cursor("20260101_000000", "global", "vector_bak", "vector_bak", True),  # noqa: FBT003
    ):
        try:
            read_cursor(str(bad))
        except ValueError:
            continue
        raise AssertionError(bad)


def test_names_of_what_is_no_set_are_shown_harmless() -> None:
    one = IncompleteSet(
        Location("global", "a\x1b[2Jb\udce4", "a"), "x\ny", (ObjectInfo("a/\u202egnp", 1),), "r\t"
    )
    shown = incomplete_document(one)
    assert shown["label"] == "a\\x1b[2Jb\\udce4/x\\ny"
    assert shown["files"] == ["\\u202egnp"]
    assert Filter(location="./a").of([one]) == [one]


def test_pages_are_made_once_while_the_catalog_stays_the_same() -> None:
    rendered = Rendered()
    numbers = itertools.count()

    def ask(catalog: Catalog, what: str = "page") -> bytes:
        return rendered.get(catalog, what, lambda: b"%d" % next(numbers))

    def listed(stamp: str) -> Catalog:
        return Catalog((), (), (entry("global", "vector_bak", stamp, 0),))

    assert ask(listed("a")) == ask(listed("a")) == b"0"
    assert ask(listed("a"), "other page") == b"1"
    assert ask(listed("b")) == b"2"
    assert ask(listed("a")) == b"3"


def test_pages_that_would_take_too_much_are_not_kept() -> None:
    rendered = Rendered()
    catalog = Catalog((), (), ())
    large = bytes(rendered.MAX_BYTES + 1)
    assert rendered.get(catalog, 1, lambda: large) == large
    assert rendered.get(catalog, 1, lambda: b"again") == b"again"
    assert rendered.get(catalog, 1, lambda: b"no more") == b"again"


def test_what_takes_long_to_find_is_used_for_longer() -> None:
    found = itertools.count()

    def slowly() -> int:
        time.sleep(0.01)
        return next(found)

    at_once = Shared(slowly, 0.0)
    assert (at_once.get(), at_once.get()) == (0, 1)
    kept = Shared(slowly, 0.0, times=1e6)
    assert (kept.get(), kept.get()) == (2, 2)
    assert kept.get(fresh=True) == 3
