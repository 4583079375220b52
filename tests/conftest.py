"""Real servers of both versions, and a fresh database for every test that asks for one."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgvector_restore.db import embedded
from pgvector_restore.db.embedded import EmbeddedServer
from tests import sampling, turns

SAMPLES_ENV = "PGVECTOR_RESTORE_SAMPLES"

# How long an example takes says something of the machine.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

#: A lost test database is no loss, so nothing waits for the disk.
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "shared_buffers": "32MB",
    # Little is kept of the log: it may lie in memory.
    "min_wal_size": "32MB",
    "max_wal_size": "128MB",
}

#: Room that must be free in memory before servers live there: two for each of four processes,
#: half a gigabyte each at most.
_ROOM_BYTES = 4 << 30

#: The tables as langchain_postgres creates them.
G2_TABLES = """
CREATE EXTENSION vector;
CREATE TABLE langchain_pg_collection (
    uuid uuid NOT NULL PRIMARY KEY,
    name varchar NOT NULL UNIQUE,
    cmetadata json
);
CREATE TABLE langchain_pg_embedding (
    id varchar NOT NULL PRIMARY KEY,
    collection_id uuid REFERENCES langchain_pg_collection (uuid) ON DELETE CASCADE,
    embedding vector,
    document varchar,
    cmetadata jsonb
);
CREATE INDEX ix_cmetadata_gin ON langchain_pg_embedding USING gin (cmetadata jsonb_path_ops);
"""

_numbers = itertools.count()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[turns.UNTIL] = turns.read_until()


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Iterator[None]:
    config.stash[sampling.SAMPLES] = sampling.mark(items)
    yield  # tests are chosen by their markers, and sorted by servers
    if config.stash[turns.UNTIL] is not None:
        order = turns.in_turns([item.nodeid.partition("[")[0] for item in items])
        items[:] = [items[number] for number in order]


@pytest.hookimpl(tryfirst=True)  # before fixtures
def pytest_runtest_setup(item: pytest.Item) -> None:
    turns.skip_when_time_is_up(item.config.stash[turns.UNTIL])


def connect(dsn: str) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection in autocommit mode; the caller closes it."""
    return psycopg.connect(dsn, autocommit=True)


def _parent() -> str | None:
    """Where data folders go: into memory if there is room, as tests wait for databases above all.

    Creating and dropping one took 30 to 50 ms in memory and 150 to 210 ms on a disk (ext4, fsync
    off, 16 and 18, two cores).
    """
    memory, disk = Path("/dev/shm"), Path("/var/tmp")  # noqa: S108 - a fresh folder is made there
    if memory.is_dir():
        found = os.statvfs(memory)
        programs_run = not found.f_flag & os.ST_NOEXEC  # the server may have to be copied there
        if programs_run and found.f_bavail * found.f_frsize >= _ROOM_BYTES:
            return str(memory)
    # Not pytest's own folders, of mode 0700: a server started by root is another user's.
    return str(disk) if disk.is_dir() else None


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder for data folders, reachable for the server's user; servers in it are stopped."""
    with tempfile.TemporaryDirectory(prefix="pgvr-", dir=_parent()) as made:
        folder = Path(made).resolve()
        folder.chmod(0o755)
        try:
            yield folder
        finally:
            for label in folder.rglob("PG_VERSION"):
                if (label.parent / "global").is_dir():
                    embedded.stop(label.parent)


@pytest.fixture(scope="session", autouse=True)
def place() -> Iterator[Path]:
    """Folder of this session's servers, in an environment without the user's own settings.

    The default place of embedded servers is in there too: no test touches the user's data.
    """
    with server_folder() as folder, pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            mine = name.startswith("PGVECTOR_RESTORE_") and name != SAMPLES_ENV
            libpq = name.startswith("PG") and not name.startswith("PGVECTOR_RESTORE_")
            if mine or libpq:
                patch.delenv(name)
        patch.setenv(embedded.ENV_DIR, str(folder / "default"))
        yield folder


@pytest.fixture(scope="session")
def start_server(place: Path) -> Callable[[int], EmbeddedServer]:
    """Start the session's server of a version, or get the one that runs."""

    def start(version: int) -> EmbeddedServer:
        return embedded.start(place / f"pg{version}", version=version, settings=SETTINGS)

    return start


@pytest.fixture(scope="session", params=[pytest.param(16, id="pg16"), pytest.param(18, id="pg18")])
def server(
    request: pytest.FixtureRequest, start_server: Callable[[int], EmbeddedServer]
) -> EmbeddedServer:
    """A running server; what asks for it, or for anything built on it, runs on both versions."""
    return start_server(request.param)


@contextmanager
def database(server: EmbeddedServer, template: str = "template0") -> Iterator[str]:
    """Connection string of a new database, dropped afterwards whoever is still connected."""
    name = f"test_{next(_numbers)}"
    with connect(server.conninfo) as admin:
        # Measured with fsync off, 16 and 18: file_copy 20 and 40 ms, wal_log 22 and 60 ms.
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        admin.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
    try:
        yield make_conninfo(server.conninfo, dbname=name)
    finally:
        with connect(server.conninfo) as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def g2_template(server: EmbeddedServer) -> str:
    """Name of a database with the extension and the empty tables."""
    name = "template_g2"
    with connect(server.conninfo) as admin:
        if admin.execute("SELECT FROM pg_database WHERE datname = %s", [name]).rowcount:
            return name
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    with connect(make_conninfo(server.conninfo, dbname=name)) as connection:
        connection.execute(G2_TABLES)
    return name


@pytest.fixture
def dsn(server: EmbeddedServer) -> Iterator[str]:
    """Connection string of a database with nothing in it."""
    with database(server) as made:
        yield made


@pytest.fixture
def g2_dsn(server: EmbeddedServer, g2_template: str) -> Iterator[str]:
    """Connection string of a database with the extension and LangChain's empty tables."""
    with database(server, g2_template) as made:
        yield made


@pytest.fixture(scope="session")
def samples() -> Path:
    """Folder with real backup sets, which are not part of the project."""
    beside = Path(__file__).parents[2] / "shared" / "samples" / "training_data"
    folder = Path(os.environ.get(SAMPLES_ENV) or beside)
    if not folder.is_dir():
        pytest.skip(f"no sample backups at {folder}; set {SAMPLES_ENV}")
    return folder
