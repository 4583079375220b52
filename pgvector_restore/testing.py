"""The storage contract as a test class, for those who bring a store of their own.

It needs pytest, which is no dependency of the package. Derive, say how a store is made and
changed behind its back, and let pytest collect the class::

    class TestMyStore(BackupStoreTests):
        def make_store(self, objects): ...
        def make_missing(self): ...
        def replace(self, store, key, data): ...

A store that can be written derives from :class:`WritableStoreTests`, which asks for the same hooks.

No test is meant to be overridden: a store that needs that does not keep the contract.
"""

# ruff: noqa: S101 - assert is how pytest works

from __future__ import annotations

import gzip
import pickle
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor

import pytest

from pgvector_restore.errors import (
    BackupExistsError,
    BackupNotFoundError,
    OptionError,
    StoreChangedError,
)
from pgvector_restore.model import BackupFile
from pgvector_restore.storage import BackupStore, WritableStore

__all__ = ["BackupStoreTests", "WritableStoreTests"]

_SET = "20250722_010318"
_COLLECTION = f"vector_bak/langchain_pg_collection_{_SET}.csv"
_EMBEDDING = f"vector_bak/langchain_pg_embedding_{_SET}.csv"

#: A set, a log, strangers, names around "/" in code point order, and beyond ASCII.
_OBJECTS = {
    _COLLECTION: b"uuid,name\r\n",
    _EMBEDDING: bytes(range(256)) * 40,
    "vector_bak/vector_backup_log.txt": "✓ langchain_pg_collection: 0 rows -> ".encode()
    + _COLLECTION.removeprefix("vector_bak/").encode()
    + b" (11.0 B)\n",
    "a-b/x.txt": b"1",
    "a.txt": b"22",
    "a/b/c/deep.txt": b"333",
    "a/x.txt": b"4444",
    "ab.txt": b"",
    "é.txt": b"55555",
}


class BackupStoreTests(ABC):
    """What every :class:`~pgvector_restore.storage.BackupStore` must do.

    The hooks do not go through the store under test: they write as another program would.
    """

    @abstractmethod
    def make_store(self, objects: dict[str, bytes]) -> BackupStore:
        """A store whose root exists and holds these objects and no others."""

    @abstractmethod
    def make_missing(self) -> BackupStore:
        """A store whose root does not exist."""

    @abstractmethod
    def replace(self, store: BackupStore, key: str, data: bytes) -> None:
        """Put an object, new or instead of the one there, at a later time than all before."""

    def test_list_yields_every_object_once_in_key_order(self) -> None:
        """By code point, with the sizes stored."""
        listed = [(o.key, o.size_bytes) for o in self.make_store(_OBJECTS).list()]
        assert listed == [(key, len(data)) for key, data in sorted(_OBJECTS.items())]

    @pytest.mark.parametrize("prefix", ["a", "a/", "a/b", "vector_bak/langchain_pg_c", "é", "a-"])
    def test_prefix_is_a_string_prefix(self, prefix: str) -> None:
        """Not necessarily a whole folder."""
        listed = [o.key for o in self.make_store(_OBJECTS).list(prefix)]
        assert listed == sorted(key for key in _OBJECTS if key.startswith(prefix))

    @pytest.mark.parametrize(
        "prefix", ["z", "z/", "a.txt/", "../", "/", "a//", "./", "a/../", "a\\", "a\0/", "A/"]
    )
    def test_prefix_of_nothing_yields_nothing(self, prefix: str) -> None:
        """Whatever it is made of."""
        assert list(self.make_store(_OBJECTS).list(prefix)) == []

    @pytest.mark.parametrize("depth", [1, 2, 3, 4])
    def test_max_depth_counts_parts(self, depth: int) -> None:
        """Of the whole key, with and without a prefix."""
        store = self.make_store(_OBJECTS)
        wanted = sorted(key for key in _OBJECTS if key.count("/") < depth)
        assert [o.key for o in store.list(max_depth=depth)] == wanted
        below = [key for key in wanted if key.startswith("a/")]
        assert [o.key for o in store.list("a/", max_depth=depth)] == below

    def test_empty_store_lists_nothing(self) -> None:
        """An empty root is no error."""
        store = self.make_store({})
        assert list(store.list()) == []
        assert store.catalog().sets == ()

    def test_missing_root_is_not_found(self) -> None:
        """A root that is not there is no empty store."""
        with pytest.raises(BackupNotFoundError) as caught:
            list(self.make_missing().list())
        assert caught.value.hint

    def test_nothing_is_cached(self) -> None:
        """Each listing and each opening sees the storage as it is."""
        store = self.make_store(_OBJECTS)
        assert "new/file.txt" not in {o.key for o in store.list()}
        self.replace(store, "new/file.txt", b"1")
        assert "new/file.txt" in {o.key for o in store.list()}
        self.replace(store, "new/file.txt", b"two")
        assert [o.size_bytes for o in store.list("new/")] == [3]
        with store.open("new/file.txt") as stream:
            assert stream.read() == b"two"

    @pytest.mark.parametrize(
        ("start", "end"), [(0, None), (7, None), (0, 0), (5, 5), (3, 300), (9000, 99999), (1, 2)]
    )
    def test_open_reads_the_range(self, start: int, end: int | None) -> None:
        """Bytes from start up to, not including, end; as far as the object goes."""
        with self.make_store(_OBJECTS).open(_EMBEDDING, start, end) as stream:
            assert stream.read() == _OBJECTS[_EMBEDDING][start:end]
            assert stream.read() == b""

    def test_open_reads_in_pieces(self) -> None:
        """A short read is the end."""
        pieces = []
        with self.make_store(_OBJECTS).open(_EMBEDDING, 100) as stream:
            while piece := stream.read(1000):
                pieces.append(piece)
        assert b"".join(pieces) == _OBJECTS[_EMBEDDING][100:]
        assert {len(piece) for piece in pieces[:-1]} == {1000}

    @pytest.mark.parametrize("key", ["none.txt", "none/none.txt", "a", "a.txt/x", "a.TXT"])
    def test_missing_key_is_not_found(self, key: str) -> None:
        """A folder is no object either."""
        with pytest.raises(BackupNotFoundError):
            self.make_store(_OBJECTS).open(key)

    @pytest.mark.parametrize(
        "key",
        ["", "/", "/a.txt", "../a.txt", "a/../a.txt", "a/..", "./a.txt", "a//x.txt", "a/",
         "..\\a.txt", "a\\x.txt", "a.txt\0", "C:\\a.txt"],
    )  # fmt: skip
    def test_hostile_key_is_refused(self, key: str) -> None:
        """Also where the storage would find something under it."""
        with pytest.raises(BackupNotFoundError):
            self.make_store(_OBJECTS).open(key)

    def test_closed_stream_is_closed(self) -> None:
        """Closing twice is harmless, reading afterwards an error."""
        stream = self.make_store(_OBJECTS).open(_EMBEDDING)
        stream.close()
        stream.close()
        assert stream.closed
        with pytest.raises(ValueError, match="closed"):
            stream.read(1)

    def test_streams_of_one_object_are_independent(self) -> None:
        """Two readers take turns, one of them ends early."""
        store, data = self.make_store(_OBJECTS), _OBJECTS[_EMBEDDING]
        with store.open(_EMBEDDING) as one:
            first = one.read(10)
            with store.open(_EMBEDDING, 50) as two:
                assert two.read(10) == data[50:60]
                assert one.read(10) == data[10:20]
                assert two.read(10) == data[60:70]
            assert first + one.read() == data[:10] + data[20:]

    def test_threads_share_a_store(self) -> None:
        """Eight of them list and read at once."""
        store = self.make_store(_OBJECTS)
        alone = list(store.list())

        def work(start: int) -> tuple[bool, bytes]:
            with store.open(_EMBEDDING, start, start + 3000) as stream:
                return list(store.list()) == alone, stream.read()

        starts = range(0, 4000, 50)
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(work, starts))
        assert results == [(True, _OBJECTS[_EMBEDDING][s : s + 3000]) for s in starts]

    def test_catalog_finds_the_set(self) -> None:
        """And the log beside it."""
        store = self.make_store(_OBJECTS)
        catalog = store.catalog()
        assert [one.label for one in catalog.sets] == [f"vector_bak/{_SET}"]
        assert [file.key for file in catalog.latest().files] == [_COLLECTION, _EMBEDDING]
        assert catalog.incomplete == ()
        log = store.read_log(catalog.latest().location)
        assert log is not None
        assert log.rows_of(catalog.latest().files[0].name) == 0

    def test_catalog_of_a_task_lists_that_task_only(self) -> None:
        """A task's name is no prefix of others."""
        names = ("langchain_pg_collection", "langchain_pg_embedding")
        tasks = ("task_1", "task_11", "manual_1")
        keys = [f"{task}/vector_bak/{name}_{_SET}.csv" for task in tasks for name in names]
        store = self.make_store({**_OBJECTS, **dict.fromkeys(keys, b"x")})
        assert [s.label for s in store.catalog(task_id="task_1").sets] == [f"task_1/{_SET}"]
        assert [s.label for s in store.catalog(global_only=True).sets] == [f"vector_bak/{_SET}"]
        assert len(store.catalog().sets) == 4  # noqa: PLR2004 - one global, three tasks

    def test_blocks_are_the_file(self) -> None:
        """In order, none longer than asked for."""
        store = self.make_store(_OBJECTS)
        blocks = list(store.blocks(_file(store), block_bytes=999))
        assert b"".join(blocks) == _OBJECTS[_EMBEDDING]
        assert max(map(len, blocks)) == 999  # noqa: PLR2004 - as asked for

    @pytest.mark.parametrize(("start", "end"), [(0, 1), (1000, 5000), (10239, None), (7, 10240)])
    def test_blocks_of_a_part_are_that_part(self, start: int, end: int | None) -> None:
        """Workers read parts of a file."""
        store = self.make_store(_OBJECTS)
        blocks = store.blocks(_file(store), start, end, block_bytes=999)
        assert b"".join(blocks) == _OBJECTS[_EMBEDDING][start:end]

    def test_blocks_of_a_compressed_file_are_its_text(self) -> None:
        """The store gives stored bytes, unpacking is not its business."""
        text = _OBJECTS[_EMBEDDING]
        objects = {_COLLECTION: b"uuid\n", f"{_EMBEDDING}.gz": gzip.compress(text)}
        store = self.make_store(objects)
        assert b"".join(store.blocks(_file(store), block_bytes=999)) == text
        with store.open(f"{_EMBEDDING}.gz") as stream:
            assert stream.read() == objects[f"{_EMBEDDING}.gz"]

    @pytest.mark.parametrize("size", [0, 5000, 10239, 10241, 99999])
    def test_blocks_notice_another_length(self, size: int) -> None:
        """More bytes than listed as well as fewer; never more are handed out."""
        store = self.make_store(_OBJECTS)
        file = _file(store)
        self.replace(store, file.key, b"x" * size)
        seen: list[int] = []
        with pytest.raises(StoreChangedError):
            seen.extend(map(len, store.blocks(file, block_bytes=1000)))
        assert sum(seen) <= file.size_bytes

    def test_check_unchanged_notices_a_replacement(self) -> None:
        """Of the same size too; and a file that is as it was passes."""
        store = self.make_store(_OBJECTS)
        file = _file(store)
        store.check_unchanged(file)
        self.replace(store, file.key, b"x" * file.size_bytes)
        with pytest.raises(StoreChangedError):
            store.check_unchanged(file)

    def test_check_unchanged_notices_a_missing_file(self) -> None:
        """Also when a longer name begins with its name."""
        file = _file(self.make_store(_OBJECTS))
        store = self.make_store({f"{_EMBEDDING}.tmp": b"x"})
        with pytest.raises(BackupNotFoundError):
            store.check_unchanged(file)

    def test_pickled_store_is_the_same_store(self) -> None:
        """Workers open it anew."""
        store = self.make_store(_OBJECTS)
        again: BackupStore = pickle.loads(pickle.dumps(store))  # noqa: S301 - made right here
        assert list(again.list()) == list(store.list())
        assert (again.url, again.layout) == (store.url, store.layout)
        with again.open("a.txt") as stream:
            assert stream.read() == _OBJECTS["a.txt"]


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
            assert stream.read() == _OBJECTS["a.txt"]

    def test_what_is_there_is_replaced_if_asked_for(self) -> None:
        """As a whole."""
        store = self._writable()
        for data in (b"new", b"", b"newer"):
            with store.create("a.txt", replace=True) as stream:
                stream.write(data)
            with store.open("a.txt") as stream:
                assert stream.read() == data
        assert [info.key for info in store.list()] == sorted(_OBJECTS)

    def test_what_is_there_is_not_replaced_unasked(self) -> None:
        """It is known before the block runs."""
        store = self._writable()
        with pytest.raises(BackupExistsError, match="is there already"):  # noqa: SIM117
            with store.create("a.txt"):
                pytest.fail("the block must not run")
        with store.open("a.txt") as stream:
            assert stream.read() == _OBJECTS["a.txt"]

    @pytest.mark.parametrize("size", [0, 4, 20 << 20])
    def test_what_came_meanwhile_is_not_replaced(self, size: int) -> None:
        """Another program was faster."""
        store = self._writable()
        with pytest.raises(BackupExistsError, match="is there already"):  # noqa: SIM117
            with store.create("new.csv") as stream:
                stream.write(bytes(size))
                self.replace(store, "new.csv", b"theirs")
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
        assert [info.key for info in store.list()] == sorted(_OBJECTS)

    def test_what_is_deleted_is_gone(self) -> None:
        """It alone."""
        store = self._writable()
        store.delete("a/b/c/deep.txt")
        store.delete("a.txt")
        gone = {"a/b/c/deep.txt", "a.txt"}
        assert [info.key for info in store.list()] == sorted(set(_OBJECTS) - gone)

    @pytest.mark.parametrize("key", ["none.txt", "none/none.txt", "a", "a.txt/x", "../a.txt", ""])
    def test_what_is_not_there_is_not_deleted(self, key: str) -> None:
        """A folder is no object either."""
        store = self._writable()
        with pytest.raises(BackupNotFoundError):
            store.delete(key)
        assert [info.key for info in store.list()] == sorted(_OBJECTS)

    def test_root_is_made(self) -> None:
        """The first backup needs no folder to be there."""
        store = self.make_missing()
        assert isinstance(store, WritableStore)
        with store.create("vector_bak/a.csv") as stream:
            stream.write(b"1")
        assert [info.key for info in store.list()] == ["vector_bak/a.csv"]

    def _writable(self) -> WritableStore:
        store = self.make_store(_OBJECTS)
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


def _file(store: BackupStore) -> BackupFile:
    return store.catalog().latest().file("langchain_pg_embedding")
