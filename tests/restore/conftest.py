"""A database whose tables belong to a role that nobody has a reason to trust."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgvector_restore.schema import COLLECTION, EMBEDDING
from tests.restore.roles import Low, role


@pytest.fixture
def low(g2_dsn: str) -> Iterator[Low]:
    owned = f"ALTER TABLE {EMBEDDING} OWNER TO {{}}; ALTER TABLE {COLLECTION} OWNER TO {{}};"
    with role(g2_dsn, owned + "GRANT CREATE ON SCHEMA public TO {};") as (name, own):
        yield Low(name, g2_dsn, own)
