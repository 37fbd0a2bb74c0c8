"""FastAPI's description of the interface, with our real error responses."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from api.errors import MEDIA_TYPE, Problem

_REFERENCE = "#/components/schemas/{model}"
_PROBLEM = {
    "description": "An error: `code` says what went wrong, and `errors` name each wrong field",
    "content": {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model="Problem")}}},
}


def describe(app: FastAPI, root: str = "") -> dict[str, Any]:
    """
    Return the OpenAPI description of *app*; every error in it is a problem.

    Args:
        root: the path below which a proxy shows it.
    """
    if app.openapi_schema is None:
        description = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            servers=[{"url": root}] if root else None,
        )
        for methods in description["paths"].values():
            for operation in methods.values():
                operation["responses"].pop("422", None)
                operation["responses"]["default"] = _PROBLEM
        schemas = description["components"]["schemas"]
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        _, problem = models_json_schema([(Problem, "serialization")], ref_template=_REFERENCE)
        schemas.update(problem["$defs"])
        app.openapi_schema = description
    return app.openapi_schema
