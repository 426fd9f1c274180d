"""Plain data to a validated `TrajectoryFile`; pydantic's findings become our errors, with line and column."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from trajectories.document import Document, KeyPath
from trajectories.errors import SchemaError, nearest
from trajectories.schema import TrajectoryFile

_UNIT_NOTES = {"_deg": "angles are in degrees", "_units": "lengths are in world units", "_px": "in pixels"}
_EXPECTED = {
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "text",
    "list_type": "a list",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "finite_number": "a finite number",
}
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
        details = [(_order(document, detail), detail) for detail in error.errors(include_url=False)]
        found = [_translate(document, detail) for _, detail in sorted(details, key=lambda pair: pair[0])]
        first, rest = found[0], found[1:]
        raise SchemaError(first.problem, where=first.where, hint=first.hint, also=rest) from None


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
    name = next((part for part in reversed(path) if isinstance(part, str)), "the file")
    hint = ""
    if kind == "extra_forbidden":
        return _unknown_key(document, path)
    if kind == "missing":
        problem, hint = f"missing key '{name}'", _missing_hint(name)
    elif kind == "trajectory":
        problem, hint = limits["problem"], limits["hint"]
    elif kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        problem = f"{name} must be {words} {limits[key]:g}, got {_shown(value)}"
    elif kind == "literal_error":
        problem = f"{name} must be {limits['expected']}, got {_shown(value)}"
        hint = _literal_hint(limits["expected"], value)
    elif kind in ("too_short", "too_long"):
        problem = _wrong_length(name, limits)
    elif kind in _EXPECTED:
        problem = f"{name} must be {_EXPECTED[kind]}, got {_shown(value)}"
    elif kind == "string_pattern_mismatch":
        problem = f"{name} {_shown(value)} is not a name"
        hint = "start with a letter, then letters, digits, _ or -"
    else:
        problem = f"{name}: {detail['msg'][:1].lower()}{detail['msg'][1:]}"
    return SchemaError(problem, where=document.where(path), hint=hint)


def _unknown_key(document: Document, path: KeyPath) -> SchemaError:
    key = str(path[-1])
    known = _known_keys(path[:-1])
    meant = nearest(key, known)
    note = next((note for unit, note in _UNIT_NOTES.items() if meant and meant.endswith(unit)), "")
    suggestion = f"did you mean {meant}?{f' ({note})' if note else ''} " if meant else ""
    return SchemaError(
        f"unknown key '{key}'",
        where=document.where(path, at_key=True),
        hint=f"{suggestion}expected one of: {', '.join(known)}",
    )


def _known_keys(path: KeyPath) -> list[str]:
    """Keys of the model that stands at `path`."""
    model: type[BaseModel] | None = TrajectoryFile
    for part in path:
        if isinstance(part, str) and model is not None:
            model = _model_in(model.model_fields[part].annotation)
    return list(model.model_fields) if model is not None else []


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


def _missing_hint(name: str) -> str:
    return "add `version: 1` at the top" if name == "version" else f"add `{name}`"


def _literal_hint(expected: str, value: object) -> str:
    options = [word.strip(" '") for word in expected.replace(" or ", ",").split(",")]
    meant = nearest(value, options) if isinstance(value, str) else None
    return f"did you mean {meant}?" if meant else ""


def _wrong_length(name: str, limits: dict[str, Any]) -> str:
    low, high, actual = limits.get("min_length"), limits.get("max_length"), limits["actual_length"]
    wanted = f"at least {low}" if low is not None else f"at most {high}"
    noun = "entry" if (low or high) == 1 else "entries"
    return f"{name} must have {wanted} {noun}, got {actual}"
