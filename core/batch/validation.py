"""Plain data to a `BatchFile`; pydantic's findings become problems with line and column."""

from __future__ import annotations

import typing
from collections.abc import Iterator

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from core.batch.problems import ManifestError, Problem
from core.batch.schema import BatchFile
from trajectories.document import Document, KeyPath, path_text
from trajectories.errors import nearest

_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "byte_size": "a size such as 32GiB",
    "byte_size_unit": "a size such as 32GiB",
}
_BOUNDS = {"greater_than_equal": ("at least", "ge"), "greater_than": ("above", "gt")}


def validate_batch(document: Document) -> BatchFile:
    """The manifest's own keys; settings of jobs are looked at later.

    Raises:
        ManifestError: Some are unknown, missing or hold the wrong kind of value.
    """
    if not isinstance(document.data, dict):
        hint = "the least it needs: `version: 1` and `jobs: [{name: first, traj: loop}]`"
        raise ManifestError([Problem("a batch is a mapping of keys", document.where(()), hint)])
    try:
        return BatchFile.model_validate(document.data)
    except ValidationError as error:
        details = error.errors(include_url=False)
    raise ManifestError(_translated(document, details)) from None


def position(document: Document, path: KeyPath, *, at_key: bool = False) -> str:
    """`file:line:column` of what stands at `path`."""
    return document.where(path, at_key=at_key).partition(" (")[0]


def _translated(document: Document, details: list[ErrorDetails]) -> Iterator[Problem]:
    meant = {
        (detail["loc"][:-1], nearest(str(detail["loc"][-1]), _known_keys(detail["loc"][:-1])))
        for detail in details
        if detail["type"] == "extra_forbidden"
    }
    for detail in sorted(details, key=lambda each: _order(document, each["loc"])):
        if (detail["loc"][:-1], detail["loc"][-1]) not in meant:  # a misspelt key is not missing as well
            yield _problem(document, detail)


def _order(document: Document, path: KeyPath) -> tuple[int, int]:
    path = _text_path(document, path)
    place = document.keys.get(path) or document.values[path]
    return place.line, place.column


def _problem(document: Document, detail: ErrorDetails) -> Problem:
    path = _text_path(document, detail["loc"])
    kind, value, limits = detail["type"], detail["input"], detail.get("ctx", {})
    name, where = path_text(path), position(document, path)
    if kind == "extra_forbidden":
        known = _known_keys(path[:-1])
        near = nearest(str(path[-1]), known)
        hint = f"did you mean {near}?" if near else f"expected one of: {', '.join(known)}"
        return Problem(f"unknown key {str(path[-1])!r}", position(document, path, at_key=True), hint)
    if kind == "missing":
        missing = str(detail["loc"][-1])
        hint = "add `version: 1` at the top" if missing == "version" else f"add `{missing}: ...`"
        return Problem(f"missing key {missing!r}", where, hint)
    if kind == "time":
        return Problem(f"{name} {detail['msg']}, got {value!r}", where)
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return Problem(f"{name} must be {words} {limits[key]:g}, got {value!r}", where)
    if kind in _EXPECTED:
        return Problem(f"{name} must be {_EXPECTED[kind]}, got {_shown(value)}", where)
    return Problem(f"{name}: {detail['msg'][:1].lower()}{detail['msg'][1:]}, got {_shown(value)}", where)


def _text_path(document: Document, path: KeyPath) -> KeyPath:
    """The part of pydantic's path that is in the file: a union adds the kinds that it has tried."""
    while path and path not in document.values:
        path = path[:-1]
    return path


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return repr(value)


def _known_keys(path: KeyPath) -> list[str]:
    """Keys of the model that stands at `path`."""
    model: type[BaseModel] | None = BatchFile
    for part in path:
        if isinstance(part, str) and model is not None:
            field = model.model_fields.get(part)
            model = None if field is None else _model_in(field.annotation)
    return [] if model is None else list(model.model_fields)


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(inner) for inner in typing.get_args(annotation))
    return next((model for model in found if model is not None), None)
