"""Connections of callers: refused, unless the operator allows them or they mean a target."""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgvector_restore.db.callers import address, caller_parameters, identity, means, reachable
from pgvector_restore.db.embedded import EmbeddedServer
from pgvector_restore.errors import OptionError
from pgvector_restore.http.connections import ConnectionNotAllowedError, Connections
from pgvector_restore.http.jobs import JobConflictError
from pgvector_restore.http.service import Service
from pgvector_restore.http.settings import ServiceSettings
from tests.conftest import connect
from tests.proxy import Proxy
from tests.sets import STAMP, write_set

LABEL = f"vector_bak/{STAMP}"
CANARY = "kanarienvogel"
OWN = f"postgresql://me:{CANARY}@db.example.com/vectors"
CALLER = "caller_with_a_password"


def connections(**changes: Any) -> Connections:
    given = {"store": "s", "dsn": OWN, "targets": {"other": "host=b dbname=c user=d"}}
    return Connections(ServiceSettings.load(**given | changes))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (OWN, "default"),
        ("postgresql+psycopg2://me@db.example.com:5432/vectors", "default"),
        ("host=DB.example.com user=me dbname=vectors password=other", "default"),
        ("default", "default"),
        ("host=b dbname=c user=d connect_timeout=3", "other"),
        ("postgresql://d@b/c", "other"),
    ],
)
def test_a_connection_that_means_a_target(text: str, name: str) -> None:
    assert connections().check(text) == name
    reached = connections().reach(None, text)
    assert (reached.name, reached.configured) == (name, True)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me@db.example.com:5433/vectors",
        "postgresql://you@db.example.com/vectors",
        "postgresql://me@db.example.com/vectors2",
        "postgresql://me@db.example.com/vectors?sslmode=disable",
        "postgresql://me@db.example.com/vectors?options=-csearch_path%3Dx",
        "postgresql://me@db.example.com/vectors?hostaddr=10.0.0.1",
        "postgresql://me@db.example.com,evil/vectors",
        "host=evil dbname=x user=y password=z",
        "service=prod",
        "sslkeylogfile=/etc/passwd",
        f"postgresql://me:{CANARY}/@evil/x",
        f"host=a password='{CANARY}",
        "",
        "\0",
        "other\n",
    ],
)
def test_others_are_refused(text: str) -> None:
    with pytest.raises(ConnectionNotAllowedError) as caught:
        connections().check(text)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


ALLOWED = {"allow_connections": True, "connection_hosts": ["db2", "db3:6000", "::1"]}


@pytest.mark.parametrize(
    "text",
    [
        "host=db2 dbname=x user=y password=z",
        "host=DB2 port=7000 dbname=x user=y password=z sslmode=verify-full connect_timeout=3",
        "postgresql://y:z@db3:6000/x",
        "postgresql://y:z@[::1]/x",
    ],
)
def test_the_operator_may_allow_hosts(text: str) -> None:
    assert connections(**ALLOWED).check(text) == text
    with pytest.raises(ConnectionNotAllowedError):
        connections(allow_connections=False, connection_hosts=["db2"]).check(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("host=db4 dbname=x user=y password=z", "not allowed"),
        ("host=db3 dbname=x user=y password=z", "not allowed"),
        ("host=db2,db4 dbname=x user=y password=z", "not allowed"),
        ("host=/run/postgresql dbname=x user=y password=z", "not allowed"),
        ("dbname=x user=y password=z", "must say"),
        ("host=db2 user=y password=z", "must say"),
        ("host=db2 dbname=x password=z", "must say"),
        ("host=db2 dbname=x user=y", "must say"),
        ("host=db2 dbname=x user=y password=''", "must say"),
        ("host=db2 dbname=x user=y password=z port=0", "no port"),
        ("host=db2 dbname=x user=y password=z port=99999", "no port"),
        ("host=db2 dbname=x user=y password=z port=1,2", "no port"),
        ("host=db2 dbname=x user=y password=z connect_timeout=soon", "connect_timeout"),
        ("host=db2 dbname=x user=y password=z connect_timeout=0", "connect_timeout"),
        (f"host=db2 dbname=x user=y password=z port={'0' * 5000}5432", "no port"),
        (f"host=db2 dbname=x user=y password=z connect_timeout={'1' * 5000}", "connect_timeout"),
        (f"host=db2 dbname=x user=y password=z sslmode={CANARY}", "sslmode that there is not"),
        ("host=db2 dbname='x\ny' user=y password=z", "name that can be none"),
        (f"host=db2 dbname=x user={'y' * 64} password=z", "name that can be none"),
        ("host=db2 dbname=x user=y password=z hostaddr=10.0.0.1", "may say"),
        *[
            (f"host=db2 dbname=x user=y password=z {name}=x", "may say")
            for name in (
                *("service", "passfile", "sslkeylogfile", "sslrootcert", "sslcert", "sslkey"),
                *("sslcrl", "options", "require_auth", "gssencmode", "krbsrvname"),
                *("target_session_attrs", "client_encoding", "replication", "sslcertmode"),
            )
        ],
    ],
)
def test_what_an_allowed_connection_may_not_say(text: str, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        caller_parameters(text, ALLOWED["connection_hosts"])  # type: ignore[arg-type]
    with pytest.raises(ConnectionNotAllowedError):
        connections(**ALLOWED).check(text)


def test_nothing_is_left_to_the_environment() -> None:
    given = caller_parameters("host=db2 dbname=x user=y password=z", ["db2"])
    for option in pq.Conninfo.get_defaults():
        if option.envvar and option.keyword != b"service":
            assert option.keyword.decode() in given
    assert given["require_auth"] == "scram-sha-256"
    assert given["passfile"] == os.devnull
    assert given["password"] == "z"


def test_secrets_are_in_no_repr() -> None:
    reached = connections().reach("default", None)
    assert CANARY not in repr(reached)
    assert CANARY not in repr(connections())
    assert CANARY not in reached.key
    assert reached.holds == {"target default", "address db.example.com:5432/vectors"}
    assert address(OWN) == "db.example.com:5432/vectors"
    with pytest.raises(OptionError) as caught:
        connections(dsn=f"host=a password='{CANARY}")
    assert CANARY not in str(caught.value)


def test_means_is_about_the_place() -> None:
    assert means("host=a dbname=b user=c password=x", "host=a dbname=b user=c password=y")
    assert not means("host=a dbname=b", "host=a dbname=b user=c")
    own = "host=a dbname=b user=c"
    # What a text leaves open could lead elsewhere.
    assert not means("host=a user=b", "host=a user=b dbname=b")
    for text in ("host=localhost", "password=x", " ", "host=localhost port=5432"):
        for target in ("service=prod", "application_name=x", "port=5432", own):
            assert not means(text, target)
    assert not means(own, f"service=prod {own}")
    assert means("service=prod", "service=prod")
    assert address("service=prod") == address("dbname=b") == ""
    assert not means("no conninfo at all", "host=a dbname=b user=c")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with closing(socket.create_server(("127.0.0.1", 0))) as made:
        made.settimeout(30)
        yield made


@pytest.mark.parametrize(
    "question",
    [
        struct.pack("!cii", b"R", 8, 3),  # the password in clear
        struct.pack("!cii4s", b"R", 12, 5, b"salt"),  # by MD5
        struct.pack("!cii", b"R", 8, 0),  # none: whoever answers is no server that knows it
    ],
    ids=["clear", "md5", "trust"],
)
def test_no_password_goes_to_a_server_that_asks_for_it(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, question: bytes
) -> None:
    monkeypatch.setenv("PGPASSWORD", "the-services-own")
    monkeypatch.setenv("PGUSER", "the-services-own")
    monkeypatch.setenv("PGOPTIONS", "-c the.services=own")
    heard: list[bytes] = []

    def answer() -> None:
        with listener.accept()[0] as client:
            client.settimeout(30)
            heard.append(client.recv(4096))
            if heard[-1][4:8] == struct.pack("!i", 80877103):  # SSLRequest
                client.sendall(b"N")
                heard.append(client.recv(4096))
            client.sendall(question)
            heard.append(client.recv(4096))

    serving = threading.Thread(target=answer)
    serving.start()
    port = listener.getsockname()[1]
    text = f"host=127.0.0.1 port={port} dbname=d user=u password={CANARY}"
    assert not reachable(caller_parameters(text, ["127.0.0.1"]))
    serving.join()
    said = b"".join(heard)
    assert b"user\0u\0database\0d\0" in said
    assert heard[-1] == b""  # hung up without a word
    assert CANARY.encode() not in said
    assert b"own" not in said


@pytest.fixture
def caller(server: EmbeddedServer, g2_dsn: str) -> Iterator[str]:
    """The database over TCP, as a role that has to show its password."""
    rules = Path(server.data_dir) / "pg_hba.conf"
    line = f"local all {CALLER} scram-sha-256\n"
    before = rules.read_text("utf-8")
    with connect(g2_dsn) as admin:
        admin.execute(f"DROP ROLE IF EXISTS {CALLER}".encode())
        admin.execute(f"CREATE ROLE {CALLER} SUPERUSER LOGIN PASSWORD '{CANARY}'".encode())
        rules.write_text(line + before, "utf-8")
        admin.execute("SELECT pg_reload_conf()")
        try:
            with Proxy(g2_dsn) as proxy:
                text = make_conninfo(
                    "",
                    host="127.0.0.1",
                    port=str(conninfo_to_dict(proxy.dsn)["port"]),
                    dbname=admin.info.dbname,
                    user=CALLER,
                    password=CANARY,
                )
                wait_until_asked(text)
                yield text
        finally:
            rules.write_text(before, "utf-8")
            admin.execute("SELECT pg_reload_conf()")


def wait_until_asked(text: str) -> None:
    """The server reads its rules some time after it was told to."""
    while reachable(make_conninfo(text, password="wrong")):
        pass


def test_a_restore_over_a_callers_connection(
    caller: str, g2_dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = ServiceSettings.load(
        store=str(write_set(tmp_path / "store")),
        dsn=g2_dsn,
        allow_connections=True,
        connection_hosts=["127.0.0.1"],
        state_dir=tmp_path / "state",
    )
    service = Service(settings)
    assert identity(caller_parameters(caller, ["127.0.0.1"])) == identity(g2_dsn) != ""
    with connect(g2_dsn) as holder, holder.transaction(force_rollback=True):
        holder.execute("LOCK TABLE langchain_pg_embedding IN ACCESS EXCLUSIVE MODE")
        running = service.restore(LABEL, connection=caller, idempotency_key="k")
        # By another way it is the same database.
        with pytest.raises(JobConflictError):
            service.restore(LABEL)
        again = caller.replace("127.0.0.1", "127.0.0.1 connect_timeout=7")
        with pytest.raises(JobConflictError):
            service.backup(connection=again)
        other = make_conninfo(caller, password="other")
        assert service.restore(LABEL, connection=other, idempotency_key="k").id == running.id
    job = service.jobs.wait(running.id, 60)
    assert job.state == "done"
    assert job.target.startswith("127.0.0.1:")
    wrong = service.restore(LABEL, connection=make_conninfo(caller, password=f"{CANARY}2"))
    assert service.jobs.wait(wrong.id, 60).state == "failed"
    saved = service.jobs.wait(service.backup(connection=caller).id, 60)
    assert saved.state == "done"
    service.close()
    written = b"".join(one.read_bytes() for one in (tmp_path / "state").iterdir())
    assert CANARY.encode() not in written
    assert CANARY not in caplog.text
    assert CANARY not in json.dumps([one.to_dict() for one in service.jobs.list()])
