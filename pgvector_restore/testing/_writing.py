"""What every store must do that can be written: objects whole or not at all."""

# ruff: noqa: S101 - assert is how pytest works

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from pgvector_restore.errors import BackupExistsError, BackupNotFoundError, OptionError
from pgvector_restore.storage import WritableStore
from pgvector_restore.testing._reading import OBJECTS, BackupStoreTests

__all__ = ["WritableStoreTests"]


class WritableStoreTests(BackupStoreTests):
    """What every :class:`~pgvector_restore.storage.WritableStore` must do besides.

    A root that is missing must be one that can be made: a folder, not a bucket.
    """

    def test_what_is_created_is_there_when_the_block_ends(self) -> None:
        """And not before; folders are made, pieces of any size and kind are taken."""
        store = self._writable()
        with store.create("new/folder/a.csv") as stream:
            stream.write(b"x" * 100_000)
            stream.write(memoryview(b"y"))
            stream.write(bytearray(b""))
            assert "new/folder/a.csv" not in {info.key for info in store.list()}
        assert {info.key: info.size_bytes for info in store.list("new/")} == {
            "new/folder/a.csv": 100_001
        }
        with store.open("new/folder/a.csv") as stream:
            assert stream.read() == b"x" * 100_000 + b"y"

    def test_large_object_is_created_whole(self) -> None:
        """Larger than a part of an upload."""
        store = self._writable()
        block = bytes(range(256)) * 4096
        with store.create("large.bin") as stream:
            for _ in range(20):
                stream.write(block)
        assert [info.size_bytes for info in store.list("large")] == [20 * len(block)]
        with store.open("large.bin", 13 * len(block) - 7) as stream:
            assert stream.read() == block[-7:] + block * 7

    def test_empty_object_is_created(self) -> None:
        """An object of no bytes is one, and is not replaced either."""
        store = self._writable()
        with store.create("empty"):
            pass
        assert [(info.key, info.size_bytes) for info in store.list("empty")] == [("empty", 0)]
        with pytest.raises(BackupExistsError), store.create("empty"):
            pytest.fail("the block must not run")

    @pytest.mark.parametrize("size", [1, 20 << 20])
    def test_nothing_is_there_after_an_error(self, size: int) -> None:
        """Neither the object nor what it was written to, and it can be created then."""
        store = self._writable()
        before = list(store.list())
        self._fail_while_writing(store, "new/a.csv", size, replace=False)
        assert list(store.list()) == before
        with store.create("new/a.csv"):
            pass

    @pytest.mark.parametrize("size", [1, 20 << 20])
    def test_what_was_there_is_there_after_an_error(self, size: int) -> None:
        """The old object, until the new one is complete."""
        store = self._writable()
        before = list(store.list())
        self._fail_while_writing(store, "a.txt", size, replace=True)
        assert list(store.list()) == before
        with store.open("a.txt") as stream:
            assert stream.read() == OBJECTS["a.txt"]

    def test_what_is_there_is_replaced_if_asked_for(self) -> None:
        """As a whole."""
        store = self._writable()
        for data in (b"new", b"", b"newer"):
            with store.create("a.txt", replace=True) as stream:
                stream.write(data)
            with store.open("a.txt") as stream:
                assert stream.read() == data
        assert [info.key for info in store.list()] == sorted(OBJECTS)

    def test_what_is_there_is_not_replaced_unasked(self) -> None:
        """It is known before the block runs."""
        store = self._writable()
        with pytest.raises(BackupExistsError, match="is there already"):  # noqa: SIM117
            with store.create("a.txt"):
                pytest.fail("the block must not run")
        with store.open("a.txt") as stream:
            assert stream.read() == OBJECTS["a.txt"]

    @pytest.mark.parametrize("size", [0, 4, 20 << 20])
    def test_what_came_meanwhile_is_not_replaced(self, size: int) -> None:
        """Another program was faster."""
        store = self._writable()

        def write() -> None:
            with store.create("new.csv") as stream:
                stream.write(bytes(size))
                self.replace(store, "new.csv", b"theirs")

        with pytest.raises(BackupExistsError, match="is there already"):
            write()
        with store.open("new.csv") as stream:
            assert stream.read() == b"theirs"
        assert [info.key for info in store.list("new")] == ["new.csv"]

    def test_several_are_created_at_once(self) -> None:
        """By a thread each."""
        store = self._writable()

        def write(number: int) -> None:
            with store.create(f"many/{number}.csv") as stream:
                for _ in range(10):
                    stream.write(bytes([number]) * 1000)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(16)))
        assert len(list(store.list("many/"))) == 16  # noqa: PLR2004 - as many as were written
        for number in range(16):
            with store.open(f"many/{number}.csv") as stream:
                assert stream.read() == bytes([number]) * 10_000

    @pytest.mark.parametrize("key", ["", "../x", "/x", "a//b", "a/", "./a", "a\\b", "a\nb", "a\0b"])
    def test_hostile_key_is_not_created(self, key: str) -> None:
        """It is a wrong call."""
        store = self._writable()
        with pytest.raises(OptionError), store.create(key):
            pytest.fail("the block must not run")
        assert [info.key for info in store.list()] == sorted(OBJECTS)

    def test_what_is_deleted_is_gone(self) -> None:
        """It alone."""
        store = self._writable()
        store.delete("a/b/c/deep.txt")
        store.delete("a.txt")
        gone = {"a/b/c/deep.txt", "a.txt"}
        assert [info.key for info in store.list()] == sorted(set(OBJECTS) - gone)

    @pytest.mark.parametrize("key", ["none.txt", "none/none.txt", "a", "a.txt/x", "../a.txt", ""])
    def test_what_is_not_there_is_not_deleted(self, key: str) -> None:
        """A folder is no object either."""
        store = self._writable()
        with pytest.raises(BackupNotFoundError):
            store.delete(key)
        assert [info.key for info in store.list()] == sorted(OBJECTS)

    def test_root_is_made(self) -> None:
        """The first backup needs no folder to be there."""
        store = self.make_missing()
        assert isinstance(store, WritableStore)
        with store.create("vector_bak/a.csv") as stream:
            stream.write(b"1")
        assert [info.key for info in store.list()] == ["vector_bak/a.csv"]

    def _writable(self) -> WritableStore:
        store = self.make_store(OBJECTS)
        assert isinstance(store, WritableStore)
        assert store.read_only_reason is None
        return store

    def _fail_while_writing(
        self, store: WritableStore, key: str, size: int, *, replace: bool
    ) -> None:
        def write() -> None:
            with store.create(key, replace=replace) as stream:
                stream.write(bytes(size))
                raise KeyError

        with pytest.raises(KeyError):
            write()
