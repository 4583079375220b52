"""What the existing endpoints are made of: paths, requests, failures, without a server."""

from __future__ import annotations

import inspect
import re
import string
from typing import Any

import orjson
import pytest
from jsonschema_rs import validate

from pgvector_restore import errors
from pgvector_restore.http import legacy_openapi
from pgvector_restore.http import legacy_texts as texts
from pgvector_restore.http.job_values import JobConflictError
from pgvector_restore.http.legacy_answers import locations_of
from pgvector_restore.http.legacy_failures import LegacyError, failure_of
from pgvector_restore.http.legacy_listing import Listings
from pgvector_restore.http.legacy_paths import find_location, shown_path
from pgvector_restore.http.legacy_requests import (
    BackupRequest,
    ListRequest,
    RestoreRequest,
    read_body,
)
from pgvector_restore.model import Catalog, Location, ObjectInfo
from pgvector_restore.storage.discover import build_catalog
from pgvector_restore.storage.layout import DEFAULT_LAYOUT

GLOBAL = Location("global", "vector_bak", "vector_bak")
TASK = Location("task", "task_1", "task_1/vector_bak", task_id="task_1")
ROOT = Location("global", "", "")
ALL = ListRequest(task_id=None, global_only=False)


def catalog_of(*keys: str) -> Catalog:
    return build_catalog([ObjectInfo(key, 209) for key in keys], DEFAULT_LAYOUT)


def pair(folder: str, stamp: str) -> tuple[str, str]:
    return (
        f"{folder}langchain_pg_collection_{stamp}.csv",
        f"{folder}langchain_pg_embedding_{stamp}.csv",
    )


CATALOG = catalog_of(
    *pair("vector_bak/", "20250722_010318"),
    *pair("global_vector_bak/", "20250722_173950"),
    *pair("task_1/vector_bak/", "20250721_215758"),
    *pair("task_1/global_vector_bak/", "20250721_215758"),
    *pair("", "20250101_000000"),
    pair("manual_1/vector_bak/", "20250721_215758")[0],
)


@pytest.mark.parametrize(
    ("store", "location", "shown"),
    [
        ("./data_pipeline/training_data", GLOBAL, "./data_pipeline/training_data/vector_bak"),
        ("./data_pipeline/training_data", TASK, "./data_pipeline/training_data/task_1/vector_bak"),
        ("./data", ROOT, "./data"),
        (".", GLOBAL, "./vector_bak"),
        (".", ROOT, "."),
        ("../data", GLOBAL, "../data/vector_bak"),
        ("/srv/backups", GLOBAL, "./vector_bak"),
        ("/srv/backups", ROOT, "."),
        ("C:/backups", TASK, "./task_1/vector_bak"),
        ("//host/share", TASK, "./task_1/vector_bak"),
        ("s3://bucket/x", TASK, "./task_1/vector_bak"),
        ("simplecache::s3://bucket/x", ROOT, "."),
    ],
)
def test_paths_as_shown(store: str, location: Location, shown: str) -> None:
    assert shown_path(store, location) == shown


@pytest.mark.parametrize("store", ["./data/x", ".", "../data", "/srv/x", "s3://bucket/x"])
def test_every_path_that_is_shown_comes_back(store: str) -> None:
    for location in CATALOG.locations:
        path = shown_path(store, location)
        windows = path.replace("/", "\\")
        for spelling in (path, path + "/", windows, windows + "\\", path.removeprefix("./")):
            assert find_location(CATALOG, store, spelling) == location, spelling


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            "/",
            "//",
            "\\",
            "~",
            "..",
            "../..",
            "./..",
            "./data/x/..",
            "./data/x/../x/vector_bak",
        ),
        *("vector_bak", "./vector_bak", "/vector_bak", "/data/x/vector_bak", "data//x/vector_bak"),
        *("./data/x/vector_bak/..", "./data/x/vector_bak/../vector_bak", "./data/x/vector_bak//"),
        *("C:\\data\\x\\vector_bak", "\\\\host\\data\\x\\vector_bak", "file:///data/x/vector_bak"),
        *("./data/x/vector_bak\0", " ./data/x/vector_bak", "./data/x/VECTOR_BAK", "./data%2Fx"),
        *("./data/x/task_1", "./data/x/task_2/vector_bak", "./data/x/vector_bak::x", "a" * 100_000),
    ],
)
def test_other_paths_lead_nowhere(path: str) -> None:
    assert find_location(CATALOG, "./data/x", path) is None


def test_a_list_has_complete_sets_only() -> None:
    found = locations_of(CATALOG, "./data/x", ALL)
    assert [(one["type"], one.get("task_id"), one["relative_path"]) for one in found] == [
        ("global", None, "./data/x/global_vector_bak"),
        ("global", None, "./data/x/vector_bak"),
        ("global", None, "./data/x"),
        ("task", "task_1", "./data/x/task_1/global_vector_bak"),
        ("task", "task_1", "./data/x/task_1/vector_bak"),
    ]


def test_a_list_is_made_once_for_a_catalog_and_filter() -> None:
    listings = Listings("./data")
    first = orjson.loads(listings.answer(CATALOG, ALL, "zh").body)
    again = orjson.loads(listings.answer(CATALOG, ALL, "en").body)
    assert first["data"]["backup_locations"] == again["data"]["backup_locations"]
    assert listings._made.keys() == {ALL}
    one = ListRequest(task_id="task_1", global_only=True)
    assert (
        len(orjson.loads(listings.answer(CATALOG, one, "zh").body)["data"]["backup_locations"]) == 2
    )
    for number in range(100):
        nobody = ListRequest(task_id=f"task_{number}", global_only=False)
        listings.answer(CATALOG, nobody, "zh")
    assert len(listings._made) <= 16
    other = catalog_of(*pair("vector_bak/", "20250722_010318"))
    assert (
        orjson.loads(listings.answer(other, ALL, "zh").body)["data"]["summary"]["total_locations"]
        == 1
    )


@pytest.mark.parametrize(
    ("given", "conninfo"),
    [
        (None, None),
        ("", None),
        ({}, None),
        ({"host": None}, None),
        ("postgresql://a@b/c", "postgresql://a@b/c"),
        ({"port": 5432, "host": "h"}, "host='h' port='5432'"),
        (
            {"host": "h", "port": "5432", "dbname": "d", "user": "u", "password": "p'\\ x"},
            "host='h' port='5432' dbname='d' user='u' password='p\\'\\\\ x'",
        ),
    ],
)
def test_connections(given: Any, conninfo: str | None) -> None:
    for name in ("pg_conn", "db_connection"):
        assert BackupRequest.of({name: given}).connection == conninfo
        both = {"pg_conn": given, "db_connection": given}
        assert BackupRequest.of(both).connection == conninfo


def test_a_connection_is_in_no_repr() -> None:
    body = {"pg_conn": "password=canary", "backup_path": "x", "timestamp": "20250101_000000"}
    assert "canary" not in repr(RestoreRequest.of(body)) + repr(BackupRequest.of(body))


@pytest.mark.parametrize(
    "given",
    [
        *(1, True, ["host=x"], "a\0b", {"host": "a\0"}, {"sslmode": "disable"}, {"host": ["x"]}),
        *({"port": True}, {"port": 0}, {"port": 65536}, {"port": 1.5}, {"host": {"host": "x"}}),
        *({"port": text} for text in ("", "x", "0", "65536", "5432,5433", "-1", "٥٤٣٢", "5432 ")),
    ],
)
def test_bad_connections(given: Any) -> None:
    with pytest.raises(LegacyError) as refused:
        BackupRequest.of({"pg_conn": given})
    assert (refused.value.status, refused.value.error_type) == (400, "INVALID_PARAMS")


def test_emptying_without_a_backup_makes_one() -> None:
    asked = BackupRequest.of({"backup_vector_tables": False, "truncate_vector_tables": True})
    assert (asked.backup, asked.truncate) == (True, True)


@pytest.mark.parametrize("body", [b"", b"  \r\n", b"{}"])
def test_no_body_is_an_empty_one(body: bytes) -> None:
    assert read_body(body) == {}


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b"1", b'"x"', b"{", b"{}{}", b"\xff", b'{"a":NaN}', b"[" * 5000]
)
def test_no_object(body: bytes) -> None:
    with pytest.raises(LegacyError):
        read_body(body)


def test_every_error_has_an_answer_that_existing_callers_know() -> None:
    types = {
        400: "INVALID_PARAMS",
        404: "RESOURCE_NOT_FOUND",
        500: "DATABASE_ERROR",
    }
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.PgvectorRestoreError):
            failure = failure_of(kind("secret of the server"))
            assert failure.error_type == types[failure.status]
            assert ("can_retry" in failure.details) == (failure.status == 500)
            assert "secret" not in failure.say.zh + failure.say.en
    assert failure_of(JobConflictError("abc")).details == {"job_id": "abc"}
    inside = failure_of(ZeroDivisionError("secret"))
    assert (inside.status, inside.details) == (500, {"can_retry": False})


def test_texts_are_there_in_both_languages() -> None:
    says = [one for one in vars(texts).values() if isinstance(one, texts.Say)]
    assert len(says) > 30
    for say in says:
        assert re.search(r"[\u4e00-\u9fff]", say.zh), say
        assert say.en.isascii(), say
        fields = [{name for _, name, *_ in string.Formatter().parse(text) if name}
                  for text in (say.zh, say.en)]  # fmt: skip
        assert fields[0] == fields[1], say


@pytest.mark.parametrize(
    "route", [legacy_openapi.LIST, legacy_openapi.RESTORE, legacy_openapi.BACKUP]
)
def test_examples_of_the_description_fit_their_schemas(route: dict[str, Any]) -> None:
    described = dict(route["responses"])
    assert {200, 400, 401, 403, 500} <= described.keys()
    if "requestBody" in route["openapi_extra"]:
        described["request"] = route["openapi_extra"]["requestBody"]
    for one in described.values():
        content = one["content"]["application/json"]
        validate(content["schema"], content["example"])
