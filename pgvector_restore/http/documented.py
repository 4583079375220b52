"""What the description of the interface says of answers: a schema and an example for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgvector_restore.http.answers import ANSWERS, Answer
from pgvector_restore.http.bodies import ErrorBody
from pgvector_restore.http.examples import EXAMPLES
from pgvector_restore.http.places import FULL

__all__ = [
    "ALWAYS",
    "BODY",
    "JOB_BEGINS",
    "Responses",
    "add_examples",
    "error_answers",
    "good_answer",
]

#: ``responses`` of a route.
Responses = dict[int | str, dict[str, Any]]

#: Codes that any request may be answered with.
ALWAYS = (
    *("UNAUTHORIZED", "FORBIDDEN", "ORIGIN_NOT_ALLOWED", "HOST_NOT_ALLOWED"),
    *("INVALID_REQUEST", "INTERNAL"),
)
#: Codes that a request with a body may be answered with.
BODY = ("BAD_JSON", "TOO_SLOW", "BODY_TOO_LARGE", "NOT_JSON")
#: Codes that a request for a job may be answered with.
JOB_BEGINS = ("JOB_RUNNING", "IDEMPOTENCY_MISMATCH", "SHUTTING_DOWN", "INVALID_OPTION")

_JOB_ID = "9f86d081884c7d659a2feaa0c55ad015"
_REQUEST_ID = "5e884898da28047151d0e56f8dc62927"

#: What stands in ``details``, by code.
_DETAILS: Mapping[str, dict[str, Any]] = {
    "JOB_RUNNING": {"job_id": _JOB_ID},
    "INVALID_REQUEST": {"fields": [{"field": "query.limit", "problem": "less_than_equal"}]},
}


def error_answers(*codes: str) -> Responses:
    """Errors of a route, by status, each code with an example."""
    found: dict[int, list[Answer]] = {}
    for code in dict.fromkeys((*codes, *ALWAYS)):
        answer = FULL[code] if code in FULL else ANSWERS[code]
        found.setdefault(answer.status, []).append(answer)
    return {
        status: {
            "model": ErrorBody,
            "description": "; ".join(answer.text["en"] for answer in answers),
            "content": {
                "application/json": {
                    "examples": {answer.code: {"value": _example(answer)} for answer in answers}
                }
            },
        }
        for status, answers in sorted(found.items())
    }


def good_answer(description: str, *examples: str) -> dict[str, Any]:
    """A successful answer with its examples, by their names in ``examples.py``.

    They stand among the document's components: FastAPI drops what is null from those beside an
    answer, and an example would lack fields that every answer has.
    """
    named = {name: {"$ref": f"#/components/examples/{name}"} for name in examples}
    return {
        "description": description,
        "content": {"application/json": {"examples": named}},
    }


def add_examples(document: dict[str, Any]) -> None:
    """Put the examples into a description of the interface."""
    known = {name: {"value": value} for name, value in EXAMPLES.items()}
    document.setdefault("components", {})["examples"] = known


def _example(answer: Answer) -> dict[str, Any]:
    error: dict[str, Any] = {"code": answer.code, "message": answer.text["en"]}
    if answer.code in _DETAILS:
        error["details"] = _DETAILS[answer.code]
    return {"error": error, "request_id": _REQUEST_ID}
