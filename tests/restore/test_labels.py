"""Security labels are carried by a swap; where their provider is not loaded they are in its way."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from pgvector_restore import Restorer, TargetMismatchError, open_store
from pgvector_restore.db import _pgserver
from pgvector_restore.db.embedded import EmbeddedServer
from tests.restore.content import execute, query
from tests.sets import restore, write_set

#: They take long, with processes, poolers and silences that are waited for.
pytestmark = pytest.mark.faults

#: A provider that takes any label but one.
PROVIDER = """
#include "postgres.h"
#include "commands/seclabel.h"
#include "fmgr.h"
PG_MODULE_MAGIC;
void _PG_init(void);
static void take(const ObjectAddress *object, const char *label)
{
    if (label != NULL && strcmp(label, GetConfigOption("masks.closed", true, false)
                                ? GetConfigOption("masks.closed", true, false) : "") == 0)
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("not for you")));
}
void _PG_init(void) { register_label_provider("masks", take); }
"""

LABELS = """
ALTER TABLE langchain_pg_embedding ADD COLUMN n int GENERATED ALWAYS AS IDENTITY,
    ADD COLUMN "We""ird" text;
SECURITY LABEL FOR masks ON TABLE langchain_pg_embedding IS 'a ''table''';
SECURITY LABEL FOR masks ON COLUMN langchain_pg_embedding.document IS 'MASKED WITH VALUE $$x$$';
SECURITY LABEL FOR masks ON COLUMN langchain_pg_embedding."We""ird" IS 'a column';
SECURITY LABEL FOR masks ON SEQUENCE langchain_pg_embedding_n_seq IS 'a sequence';
SECURITY LABEL FOR masks ON TYPE langchain_pg_embedding IS 'a row type';
"""
ALL = "SELECT objtype, objname, provider, label FROM pg_seclabels ORDER BY 1, 2"


@pytest.fixture(scope="session")
def provider(server: EmbeddedServer, place: Path) -> str:
    """Connection options that load the provider."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    include = _pgserver.find_install(server.version) / "include" / "postgresql" / "server"
    if compiler is None or not (include / "postgres.h").is_file():
        pytest.skip("a label provider needs a C compiler and the server's headers")
    source, library = place / "masks.c", place / f"masks{server.version}.so"
    source.write_text(PROVIDER, encoding="utf-8")
    command = [compiler, "-shared", "-fPIC", f"-I{include}", "-o", str(library), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    library.chmod(0o755)
    return f"-c session_preload_libraries={library}"


def test_labels_are_carried(g2_dsn: str, tmp_path: Path, provider: str) -> None:
    loaded = make_conninfo(g2_dsn, options=provider)
    execute(loaded, LABELS)
    before = query(g2_dsn, ALL)
    assert len(before) == 5
    root = write_set(tmp_path)
    with Restorer(open_store(root), loaded) as restorer:
        report = restorer.restore(mode="replace", strategy="swap", keep_previous=True)
        assert [row for row in query(g2_dsn, ALL) if "_previous" not in row[1]] == before
        restorer.revert(report)
    assert [row for row in query(g2_dsn, ALL) if "_previous" not in row[1]] == before


def test_labels_whose_provider_is_not_loaded(g2_dsn: str, tmp_path: Path, provider: str) -> None:
    execute(make_conninfo(g2_dsn, options=provider), LABELS)
    before = query(g2_dsn, ALL)
    with Restorer(open_store(write_set(tmp_path)), g2_dsn) as restorer:
        with pytest.raises(TargetMismatchError, match='label provider "masks" is not loaded'):
            restorer.plan(mode="replace", strategy="swap")
        assert restorer.plan(mode="replace").strategy == "in_place"
        restorer.restore(mode="replace")
    assert query(g2_dsn, ALL) == before


def test_a_label_that_its_provider_refuses(g2_dsn: str, tmp_path: Path, provider: str) -> None:
    execute(make_conninfo(g2_dsn, options=provider), LABELS)
    before = query(g2_dsn, ALL)
    closed = make_conninfo(g2_dsn, options=f"{provider} -c masks.closed=a\\ column")
    with pytest.raises(TargetMismatchError, match="cannot be set again: not for you"):
        restore(write_set(tmp_path), closed, mode="replace", strategy="swap")
    assert query(g2_dsn, ALL) == before
    assert query(g2_dsn, "SELECT count(*) FROM langchain_pg_embedding") == [(0,)]
