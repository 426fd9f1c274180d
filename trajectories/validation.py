"""Plain data to a validated `TrajectoryFile`; pydantic's findings become our errors, with line and column."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from trajectories.document import Document, KeyPath, path_text
from trajectories.errors import SchemaError, nearest
from trajectories.schema import TrajectoryFile

_UNIT_NOTES = {"_deg": "angles are in degrees", "_units": "lengths are in world units", "_px": "in pixels"}
_EXPECTED = {
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "text",
    "list_type": "a list",
    "finite_number": "a finite number",
}
_UNKNOWN = "extra_forbidden"
_MAX_ERRORS = 100  # of one file
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("greater than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def validate(document: Document) -> TrajectoryFile:
    """Validate a parsed document.

    Raises:
        SchemaError: The first error in the text; the others are in its `also`.
    """
    if not isinstance(document.data, dict):
        raise SchemaError(
            f"expected a mapping of keys, got {_shown(document.data)}",
            where=document.where(()),
            hint=f"expected one of: {', '.join(TrajectoryFile.model_fields)}",
        )
    try:
        return TrajectoryFile.model_validate(document.data)
    except ValidationError as error:
        details = error.errors(include_url=False)
    unknown = {
        (detail["loc"][:-1], _meant(detail["loc"])) for detail in details if detail["type"] == _UNKNOWN
    }
    # A misspelt key is one error, not two: unknown here and missing there.
    details = [detail for detail in details if (detail["loc"][:-1], detail["loc"][-1]) not in unknown]
    details.sort(key=lambda detail: _order(document, detail))
    first, *rest = [_translate(document, detail) for detail in details[:_MAX_ERRORS]]
    raise SchemaError(first.problem, where=first.where, hint=first.hint, also=rest)


def _order(document: Document, detail: ErrorDetails) -> tuple[int, int]:
    path: KeyPath = detail["loc"]
    while path not in document.values:
        path = path[:-1]
    position = document.keys.get(path) or document.values[path]
    return position.line, position.column


def _translate(document: Document, detail: ErrorDetails) -> SchemaError:
    path: KeyPath = detail["loc"]
    kind: str = detail["type"]
    value, limits = detail["input"], detail.get("ctx", {})
    name = _name_of(path)
    hint = _description(path)
    if kind == _UNKNOWN:
        return _unknown_key(document, path)
    if kind == "missing":
        problem = f"missing key '{name}'"
        hint = "add `version: 1` at the top" if name == "version" else f"add `{name}`: {hint}"
    elif kind == "trajectory":
        problem, hint = limits["problem"], limits["hint"]
    elif kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        problem = f"{name} must be {words} {limits[key]:g}, got {_shown(value)}"
    elif kind == "literal_error":
        problem = f"{name} must be {limits['expected']}, got {_shown(value)}"
        hint = _literal_hint(limits["expected"], value) or hint
    elif kind in ("too_short", "too_long"):
        problem = _wrong_length(name, limits)
    elif kind in ("model_type", "model_attributes_type"):
        problem = f"{name} must be a mapping of keys, got {_shown(value)}"
        hint = f"expected one of: {', '.join(_known_keys(path))}"
    elif kind in _EXPECTED:
        problem = f"{name} must be {_EXPECTED[kind]}, got {_shown(value)}"
    elif kind == "string_pattern_mismatch":
        problem = f"{_shown(value)} cannot name a mark"
        hint = "start with a letter, then letters, digits, _ or -"
    else:
        problem = f"{name}: {detail['msg'][:1].lower()}{detail['msg'][1:]}"
    return SchemaError(problem, where=document.where(path), hint=hint)


def _unknown_key(document: Document, path: KeyPath) -> SchemaError:
    known, meant = _known_keys(path[:-1]), _meant(path)
    note = next((note for unit, note in _UNIT_NOTES.items() if meant and meant.endswith(unit)), "")
    suggestion = f"did you mean {meant}{f' ({note})' if note else ''}? " if meant else ""
    return SchemaError(
        f"unknown key '{path[-1]}'",
        where=document.where(path, at_key=True),
        hint=f"{suggestion}expected one of: {', '.join(known)}",
    )


def _meant(path: KeyPath) -> str | None:
    """The key that an unknown key was most likely meant to be."""
    return nearest(str(path[-1]), _known_keys(path[:-1]))


def _name_of(path: KeyPath) -> str:
    """The last part of a path that says something: `frames`, `steps[0]`."""
    start = max((index for index, part in enumerate(path) if isinstance(part, str)), default=0)
    return path_text(path[start:])


def _description(path: KeyPath) -> str:
    """What the schema says about the key at `path`."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    model = _model_at(path[:-1])
    field = model.model_fields.get(str(path[-1])) if model is not None and path else None
    return (field.description or "").rstrip(".") if field is not None else ""


def _known_keys(path: KeyPath) -> list[str]:
    model = _model_at(path)
    return list(model.model_fields) if model is not None else []


def _model_at(path: KeyPath) -> type[BaseModel] | None:
    """The model that stands at `path`."""
    model: type[BaseModel] | None = TrajectoryFile
    for part in path:
        if isinstance(part, str) and model is not None:
            field = model.model_fields.get(part)
            model = _model_in(field.annotation) if field is not None else None
    return model


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The pydantic model inside Optional, list and Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType, list, typing.Annotated):
        found = (_model_in(inner) for inner in typing.get_args(annotation))
        return next((model for model in found if model is not None), None)
    return None


def _shown(value: object) -> str:
    """A value as the reader of the file would recognise it, shortened."""
    if isinstance(value, dict):
        return f"a mapping with {', '.join(list(value)[:3])}" if value else "an empty mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"'{value[:40]}...'" if len(value) > 40 else f"'{value}'"
    return "nothing" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _literal_hint(expected: str, value: object) -> str:
    options = [word.strip(" '") for word in expected.replace(" or ", ",").split(",")]
    meant = nearest(value, options) if isinstance(value, str) else None
    return f"did you mean {meant}?" if meant else ""


def _wrong_length(name: str, limits: dict[str, Any]) -> str:
    low, high, actual = limits.get("min_length"), limits.get("max_length"), limits["actual_length"]
    wanted = f"at least {low}" if low is not None else f"at most {high}"
    noun = "entry" if (low or high) == 1 else "entries"
    return f"{name} must have {wanted} {noun}, got {actual}"
