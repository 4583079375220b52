"""The description of the interface: valid, complete, and with examples that are what they show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import validate
from pydantic import SecretStr

from pgvector_restore.http.answers import ANSWERS
from pgvector_restore.http.app import create_app
from pgvector_restore.http.models import BackupRequest, KeepRulesBody, RestoreRequest, VerifyRequest
from pgvector_restore.http.operations import (
    BACKUP_OPTIONS,
    PRUNE_RULES,
    RESTORE_OPTIONS,
    VERIFY_OPTIONS,
)
from pgvector_restore.http.places import FULL
from pgvector_restore.http.settings import ServiceSettings
from tests.sets import write_set


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = write_set(tmp_path_factory.mktemp("store"))
    settings = ServiceSettings(store=str(root), token=SecretStr("a-token-that-may-write"))
    return create_app(settings).openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def ours(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = {name: one for name, one in operations(document) if " /api/v1/" in name}
    assert len(found) == 12
    return found


def resolved(document: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    found = example
    if "$ref" in example:
        named: dict[str, Any] = document["components"]["examples"]
        found = named[example["$ref"].removeprefix("#/components/examples/")]
    return found


def check(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    """A value against a schema of the document."""
    whole = {**schema, "components": document["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


def test_it_is_valid(document: dict[str, Any]) -> None:
    validate(document)
    assert document["openapi"].startswith("3.1")
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)


def test_every_answer_has_examples_that_fit(document: dict[str, Any]) -> None:
    seen: set[str] = set()
    for name, operation in ours(document).items():
        assert operation["summary"], name
        for status, answer in operation["responses"].items():
            assert answer["description"], (name, status)
            if status == "204":
                assert "content" not in answer
                continue
            ((kind, content),) = answer["content"].items()
            assert ("schema" in content) == (kind == "application/json"), (name, status)
            assert content["examples"], (name, status)
            for title, told in content["examples"].items():
                example = resolved(document, told)
                check(document, content.get("schema", {}), example["value"])
                if int(status) >= 400:
                    error = example["value"]["error"]
                    known = {**ANSWERS, **FULL}[title]
                    assert (error["code"], str(known.status)) == (title, status)
                    assert error["message"] == known.text["en"]
                    seen.add(title)
        assert {"401", "403", "421", "422", "500"} <= operation["responses"].keys(), name
    assert len(seen) > 20


def test_every_body_has_an_example_that_fits(document: dict[str, Any]) -> None:
    bodies = 0
    for name, operation in ours(document).items():
        if "requestBody" in operation:
            assert operation["requestBody"]["required"], name
            ((kind, content),) = operation["requestBody"]["content"].items()
            assert kind == "application/json"
            for example in content["examples"].values():
                check(document, content["schema"], example["value"])
                bodies += 1
            assert {"400", "408", "413", "415"} <= operation["responses"].keys(), name
    assert bodies == 5


def test_parameters_are_told_with_their_bounds(document: dict[str, Any]) -> None:
    for name, operation in ours(document).items():
        for parameter in operation.get("parameters", ()):
            schema = parameter["schema"]
            bounded = {"maxLength", "pattern", "enum", "maximum"} & schema.keys()
            assert bounded or schema["type"] == "boolean", (name, parameter)
            assert parameter["description"], (name, parameter)


def test_jobs_are_accepted_with_their_place(document: dict[str, Any]) -> None:
    for kind in ("restores", "backups", "verifications", "prunes"):
        answers = document["paths"][f"/api/v1/{kind}"]["post"]["responses"]
        assert "Location" in answers["202"]["headers"]
        assert "200" not in answers


def test_bodies_offer_what_the_service_takes() -> None:
    for body, options in (
        (RestoreRequest, RESTORE_OPTIONS),
        (BackupRequest, BACKUP_OPTIONS),
        (VerifyRequest, VERIFY_OPTIONS),
        (KeepRulesBody, PRUNE_RULES),
    ):
        fields = body.model_fields.items()
        names = {field.alias or name for name, field in fields} - {"label", "target"}
        assert names == set(options), body
        assert body.model_config["extra"] == "forbid"
        assert body.model_config["strict"] is True
