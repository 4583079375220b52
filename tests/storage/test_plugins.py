"""Stores of other packages, installed as such, and storage options of the environment."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from pgvector_restore import BackupStore, Layout, OptionError, StoreError, WritableStore, open_store
from pgvector_restore.testing import BackupStoreTests
from tests.cli.conftest import run_command
from tests.sets import write_set
from tests.storage.conftest import cloud_place
from tests.storage.serving import s3_options

EXAMPLE = Path(__file__).with_name("example_store.py")


def install(folder: Path, name: str, points: str) -> None:
    """A distribution as pip leaves it, with its modules beside it."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text(f"[pgvector_restore.stores]\n{points}\n", "utf-8")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def example(packages: Path) -> None:
    shutil.copy(EXAMPLE, packages)
    install(packages, "example-store", "tar = example_store:TarStore")


@pytest.mark.usefixtures("example")
class TestExample(BackupStoreTests):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "backups.tar"

    def make_store(self, objects: dict[str, bytes]) -> BackupStore:
        tarfile.open(self.path, "w").close()
        store = open_store(f"tar://{self.path}")
        for key, data in objects.items():
            self.replace(store, key, data)
        return store

    def make_missing(self) -> BackupStore:
        return open_store(f"tar://{self.path}.missing")

    def replace(self, store: BackupStore, key: str, data: bytes) -> None:  # noqa: ARG002
        file = tarfile.TarInfo(key)
        file.size = len(data)
        with tarfile.open(self.path, "a") as archive:
            archive.addfile(file, io.BytesIO(data))


@pytest.mark.usefixtures("example")
def test_example_tells_of_its_storage_in_our_terms(tmp_path: Path) -> None:
    store = open_store(f"tar://{tmp_path}/backups.tar")
    (tmp_path / "backups.tar").write_bytes(b"no archive")
    with pytest.raises(StoreError, match=r'cannot read "tar://.*backups.tar": ReadError') as caught:
        list(store.list())
    assert isinstance(caught.value.__cause__, tarfile.ReadError)
    with pytest.raises(StoreError, match=r'cannot read "tar://.*backups.tar/x.csv": ReadError'):
        store.open("x.csv")


def test_example_is_short() -> None:
    docstring, code = EXAMPLE.read_text("utf-8").split('"""\n\n', 1)
    assert docstring.startswith('"""A store of another package')
    assert len(code.splitlines()) <= 30  # what the guide says


@pytest.mark.usefixtures("example")
def test_layout_reaches_it(tmp_path: Path) -> None:
    layout = Layout(suffix=".txt")
    store = open_store(f"tar://{tmp_path}/x.tar", layout=layout)
    assert store.layout is layout


def test_only_the_one_asked_for_is_loaded(packages: Path, tmp_path: Path) -> None:
    install(packages, "broken", "broken = no_such_module:nothing\nmemory = no_such_module:nothing")
    assert list(open_store(tmp_path).list(max_depth=1)) == []
    with pytest.raises(OptionError, match=r"the store for broken:// cannot be loaded") as caught:
        open_store("broken://key:c4nary@host/x")
    assert caught.value.hint == "it is no_such_module:nothing, of another package"
    assert "c4nary" not in str(caught.value)


@pytest.mark.parametrize("protocol", ["memory", "s3", "http", "zip"])
def test_protocols_of_our_own_are_not_taken_over(packages: Path, protocol: str) -> None:
    install(packages, "thief", f"{protocol} = no_such_module:nothing")
    url = "memory://x" if protocol == "memory" else f"{protocol}://x/y"
    assert "thief" not in repr(open_store(url, storage_options={}))


def test_one_store_for_one_protocol(packages: Path) -> None:
    install(packages, "one", "mydb = builtins:dict")
    install(packages, "two", "mydb = builtins:list")
    with pytest.raises(OptionError, match=r"several packages bring stores for mydb://: one, two"):
        open_store("mydb://x")


def test_what_is_no_store_is_refused(packages: Path) -> None:
    (packages / "wrong_store.py").write_text("def make(*_, **__): return 'wrong'", "utf-8")
    install(packages, "wrong", "mydb = wrong_store:make")
    with pytest.raises(OptionError, match="wrong_store:make gave a str, not a BackupStore"):
        open_store("mydb://x")
    sys.modules.pop("wrong_store")


@pytest.mark.parametrize("kind", ["s3", "gs", "az"])
def test_options_of_the_environment(
    request: pytest.FixtureRequest, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "s3":
        url = f"s3://{request.getfixturevalue('s3_bucket')}/environment"
        options = s3_options(request.getfixturevalue("s3_server"))
    else:
        url, options = cloud_place(request, kind, "environment")
    text = json.dumps({kind: options, "sftp": {"password": "c4nary"}})
    monkeypatch.setenv("PGVECTOR_RESTORE_STORAGE_OPTIONS", text)
    store = open_store(url)
    assert isinstance(store, WritableStore)
    with store.create("x.csv") as stream:
        stream.write(b"1")
    again = pickle.loads(pickle.dumps(store))  # noqa: S301 - made right here
    monkeypatch.delenv("PGVECTOR_RESTORE_STORAGE_OPTIONS")
    assert [info.key for info in again.list()] == ["x.csv"]


@pytest.mark.parametrize("kind", ["gs", "az"])
def test_the_command_line_reads_what_it_is_given(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path
) -> None:
    url, options = cloud_place(request, kind, "command")
    root = write_set(tmp_path)
    here, there = open_store(root), open_store(url, storage_options=options)
    assert isinstance(there, WritableStore)
    for info in here.list():
        with here.open(info.key) as source, there.create(info.key, replace=True) as target:
            target.write(source.read())
    variable = {"PGVECTOR_RESTORE_STORAGE_OPTIONS": json.dumps({kind: options})}
    done = run_command("inspect", url, "latest", **variable)
    assert (done.code, done.err) == (0, "")
    assert "langchain_pg_embedding" in done.out


@pytest.mark.parametrize("text", ["c4nary", "[]", '{"s3": "c4nary"}', '"c4nary"'])
def test_variable_that_is_no_options(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGVECTOR_RESTORE_STORAGE_OPTIONS", text)
    with pytest.raises(OptionError, match="is no JSON object of objects") as caught:
        open_store("memory://x")
    assert "c4nary" not in f"{caught.value} {caught.value.hint} {caught.value.__context__!r}"


def test_local_folder_asks_for_no_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGVECTOR_RESTORE_STORAGE_OPTIONS", "{")
    assert list(open_store(tmp_path).list()) == []


WITHOUT = """
import sys
for name in ("s3fs", "gcsfs", "adlfs", "sshfs"):
    sys.modules[name] = None  # as if it were not installed
from pgvector_restore import MissingExtraError, open_store
for url in sys.argv[1:]:
    try:
        open_store(url)
    except MissingExtraError as exc:
        print(exc)
        print(exc.hint)
"""


def test_missing_extra_is_named_with_its_pip_line() -> None:
    urls = {
        "s3://key:c4nary@bucket/x": "s3",
        "gs://bucket/x": "gs",
        "az://container/x": "az",
        "abfs://container/x": "az",
        "sftp://me:c4nary@host/x": "sftp",
        "simplecache::s3://key:c4nary@bucket/x": "s3",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT, *urls],
        check=True,
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert lines[1::2] == [f'pip install "pgvector_restore[{e}]"' for e in urls.values()]
    assert lines[0] == '"s3://bucket/x" needs a package that is not installed'
    assert "c4nary" not in done.stdout + done.stderr
