"""What every store must do: list, and give out what is stored."""

# ruff: noqa: S101 - assert is how pytest works

from __future__ import annotations

import gzip
import pickle
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor

import pytest

from pgvector_restore.errors import BackupNotFoundError, StoreChangedError
from pgvector_restore.model import BackupFile
from pgvector_restore.storage import BackupStore

__all__ = ["OBJECTS", "BackupStoreTests"]

_SET = "20250722_010318"
_COLLECTION = f"vector_bak/langchain_pg_collection_{_SET}.csv"
_EMBEDDING = f"vector_bak/langchain_pg_embedding_{_SET}.csv"

#: A set, a log, strangers, names around "/" in code point order, and beyond ASCII.
OBJECTS = {
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
        listed = [(o.key, o.size_bytes) for o in self.make_store(OBJECTS).list()]
        assert listed == [(key, len(data)) for key, data in sorted(OBJECTS.items())]

    @pytest.mark.parametrize("prefix", ["a", "a/", "a/b", "vector_bak/langchain_pg_c", "é", "a-"])
    def test_prefix_is_a_string_prefix(self, prefix: str) -> None:
        """Not necessarily a whole folder."""
        listed = [o.key for o in self.make_store(OBJECTS).list(prefix)]
        assert listed == sorted(key for key in OBJECTS if key.startswith(prefix))

    @pytest.mark.parametrize(
        "prefix", ["z", "z/", "a.txt/", "../", "/", "a//", "./", "a/../", "a\\", "a\0/", "A/"]
    )
    def test_prefix_of_nothing_yields_nothing(self, prefix: str) -> None:
        """Whatever it is made of."""
        assert list(self.make_store(OBJECTS).list(prefix)) == []

    @pytest.mark.parametrize("depth", [1, 2, 3, 4])
    def test_max_depth_counts_parts(self, depth: int) -> None:
        """Of the whole key, with and without a prefix."""
        store = self.make_store(OBJECTS)
        wanted = sorted(key for key in OBJECTS if key.count("/") < depth)
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
        store = self.make_store(OBJECTS)
        assert "new/file.txt" not in {o.key for o in store.list()}
        self.replace(store, "new/file.txt", b"1")
        assert "new/file.txt" in {o.key for o in store.list()}
        self.replace(store, "new/file.txt", b"two")
        assert [o.size_bytes for o in store.list("new/")] == [3]
        with store.open("new/file.txt") as stream:
            assert stream.read() == b"two"

    @pytest.mark.parametrize(
        ("start", "end"),
        [
            *((0, None), (7, None), (0, 0), (5, 5), (3, 300), (1, 2)),
            *((9000, 99999), (10239, None), (10240, None), (99999, None), (20000, 30000)),
        ],
    )
    def test_open_reads_the_range(self, start: int, end: int | None) -> None:
        """Bytes from start up to, not including, end; as far as the object goes."""
        with self.make_store(OBJECTS).open(_EMBEDDING, start, end) as stream:
            assert stream.read() == OBJECTS[_EMBEDDING][start:end]
            assert stream.read() == b""

    def test_open_reads_in_pieces(self) -> None:
        """A short read is the end."""
        pieces = []
        with self.make_store(OBJECTS).open(_EMBEDDING, 100) as stream:
            while piece := stream.read(1000):
                pieces.append(piece)
        assert b"".join(pieces) == OBJECTS[_EMBEDDING][100:]
        assert {len(piece) for piece in pieces[:-1]} == {1000}

    @pytest.mark.parametrize("key", ["none.txt", "none/none.txt", "a", "a.txt/x", "a.TXT"])
    def test_missing_key_is_not_found(self, key: str) -> None:
        """A folder is no object either."""
        with pytest.raises(BackupNotFoundError):
            self.make_store(OBJECTS).open(key)

    @pytest.mark.parametrize(
        "key",
        ["", "/", "/a.txt", "../a.txt", "a/../a.txt", "a/..", "./a.txt", "a//x.txt", "a/",
         "..\\a.txt", "a\\x.txt", "a.txt\0", "C:\\a.txt"],
    )  # fmt: skip
    def test_hostile_key_is_refused(self, key: str) -> None:
        """Also where the storage would find something under it."""
        with pytest.raises(BackupNotFoundError):
            self.make_store(OBJECTS).open(key)

    def test_closed_stream_is_closed(self) -> None:
        """Closing twice is harmless, reading afterwards an error."""
        stream = self.make_store(OBJECTS).open(_EMBEDDING)
        stream.close()
        stream.close()
        assert stream.closed
        with pytest.raises(ValueError, match="closed"):
            stream.read(1)

    def test_streams_of_one_object_are_independent(self) -> None:
        """Two readers take turns, one of them ends early."""
        store, data = self.make_store(OBJECTS), OBJECTS[_EMBEDDING]
        with store.open(_EMBEDDING) as one:
            first = one.read(10)
            with store.open(_EMBEDDING, 50) as two:
                assert two.read(10) == data[50:60]
                assert one.read(10) == data[10:20]
                assert two.read(10) == data[60:70]
            assert first + one.read() == data[:10] + data[20:]

    def test_threads_share_a_store(self) -> None:
        """Eight of them list and read at once."""
        store = self.make_store(OBJECTS)
        alone = list(store.list())

        def work(start: int) -> tuple[bool, bytes]:
            with store.open(_EMBEDDING, start, start + 3000) as stream:
                return list(store.list()) == alone, stream.read()

        starts = range(0, 4000, 50)
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(work, starts))
        assert results == [(True, OBJECTS[_EMBEDDING][s : s + 3000]) for s in starts]

    def test_catalog_finds_the_set(self) -> None:
        """And the log beside it."""
        store = self.make_store(OBJECTS)
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
        store = self.make_store({**OBJECTS, **dict.fromkeys(keys, b"x")})
        assert [s.label for s in store.catalog(task_id="task_1").sets] == [f"task_1/{_SET}"]
        assert [s.label for s in store.catalog(global_only=True).sets] == [f"vector_bak/{_SET}"]
        assert len(store.catalog().sets) == 4  # noqa: PLR2004 - one global, three tasks

    def test_blocks_are_the_file(self) -> None:
        """In order, none longer than asked for."""
        store = self.make_store(OBJECTS)
        blocks = list(store.blocks(_file(store), block_bytes=999))
        assert b"".join(blocks) == OBJECTS[_EMBEDDING]
        assert max(map(len, blocks)) == 999  # noqa: PLR2004 - as asked for

    @pytest.mark.parametrize(("start", "end"), [(0, 1), (1000, 5000), (10239, None), (7, 10240)])
    def test_blocks_of_a_part_are_that_part(self, start: int, end: int | None) -> None:
        """Workers read parts of a file."""
        store = self.make_store(OBJECTS)
        blocks = store.blocks(_file(store), start, end, block_bytes=999)
        assert b"".join(blocks) == OBJECTS[_EMBEDDING][start:end]

    def test_blocks_of_a_compressed_file_are_its_text(self) -> None:
        """The store gives stored bytes, unpacking is not its business."""
        text = OBJECTS[_EMBEDDING]
        objects = {_COLLECTION: b"uuid\n", f"{_EMBEDDING}.gz": gzip.compress(text)}
        store = self.make_store(objects)
        assert b"".join(store.blocks(_file(store), block_bytes=999)) == text
        with store.open(f"{_EMBEDDING}.gz") as stream:
            assert stream.read() == objects[f"{_EMBEDDING}.gz"]

    @pytest.mark.parametrize("size", [0, 5000, 10239, 10241, 99999])
    def test_blocks_notice_another_length(self, size: int) -> None:
        """More bytes than listed as well as fewer; never more are handed out."""
        store = self.make_store(OBJECTS)
        file = _file(store)
        self.replace(store, file.key, b"x" * size)
        seen: list[int] = []
        with pytest.raises(StoreChangedError):
            seen.extend(map(len, store.blocks(file, block_bytes=1000)))
        assert sum(seen) <= file.size_bytes

    def test_check_unchanged_notices_a_replacement(self) -> None:
        """Of the same size too; and a file that is as it was passes."""
        store = self.make_store(OBJECTS)
        file = _file(store)
        store.check_unchanged(file)
        self.replace(store, file.key, b"x" * file.size_bytes)
        with pytest.raises(StoreChangedError):
            store.check_unchanged(file)

    def test_check_unchanged_notices_a_missing_file(self) -> None:
        """Also when a longer name begins with its name."""
        file = _file(self.make_store(OBJECTS))
        store = self.make_store({f"{_EMBEDDING}.tmp": b"x"})
        with pytest.raises(BackupNotFoundError):
            store.check_unchanged(file)

    def test_pickled_store_is_the_same_store(self) -> None:
        """Workers open it anew."""
        store = self.make_store(OBJECTS)
        again: BackupStore = pickle.loads(pickle.dumps(store))  # noqa: S301 - made right here
        assert list(again.list()) == list(store.list())
        assert (again.url, again.layout) == (store.url, store.layout)
        with again.open("a.txt") as stream:
            assert stream.read() == OBJECTS["a.txt"]


def _file(store: BackupStore) -> BackupFile:
    return store.catalog().latest().file("langchain_pg_embedding")
