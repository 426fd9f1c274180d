"""A suite's file to data; what is wrong is told with line and column."""

from __future__ import annotations

import typing
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from core.bench.suite_file import SuiteFile
from core.errors import InputError
from trajectories.document import Document, KeyPath, parse_document, path_text
from trajectories.errors import YamlError, nearest

MAX_SUITE_BYTES = 1_000_000


def read_suite(path: Path) -> tuple[SuiteFile, Document]:
    """Read and check a suite's file; the document knows where each of its keys stands.

    Raises:
        InputError: It cannot be read, or something in it is unknown, missing or of the wrong kind.
    """
    try:
        document = parse_document(_read_text(path), label=str(path))
    except YamlError as error:
        raise InputError(error.problem, where=error.where, hint=error.hint) from error
    if not isinstance(document.data, dict):
        raise InputError("a suite is a mapping of keys", where=str(path), hint="begin with `version: 1`")
    try:
        return SuiteFile.model_validate(document.data), document
    except ValidationError as error:
        details = error.errors(include_url=False)
    raise _problem(document, min(details, key=lambda each: _rank(document, each)))


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SUITE_BYTES + 1)
        text = data.decode()
    except OSError as error:
        problem = f"the suite cannot be read: {error.strerror}"
        raise InputError(problem, where=str(path), hint="check --suite") from error
    except UnicodeDecodeError as error:
        raise InputError("the suite is no UTF-8 text", where=str(path), hint="check --suite") from error
    if len(data) > MAX_SUITE_BYTES:
        raise InputError(f"a suite has at most {MAX_SUITE_BYTES:,} bytes", where=str(path))
    return text


def _rank(document: Document, detail: ErrorDetails) -> tuple[bool, int]:
    """Unknown keys first: one that is misspelt is then missing as well."""
    return detail["type"] != "extra_forbidden", -len(_known_path(document, detail["loc"]))


def _problem(document: Document, detail: ErrorDetails) -> InputError:
    path = _known_path(document, detail["loc"])
    at_key = detail["type"] == "extra_forbidden"
    where = document.where(path, at_key=at_key).partition(" (")[0]
    if at_key:
        known = _known_keys(path[:-1])
        near = nearest(str(path[-1]), known)
        hint = f"did you mean {near}?" if near else f"expected one of: {', '.join(known)}"
        return InputError(f"unknown key {str(path[-1])!r}", where=where, hint=hint)
    if detail["type"] == "missing":
        missing = str(detail["loc"][-1])
        return InputError(f"missing key {missing!r}", where=where, hint=f"add `{missing}: ...`")
    said = detail["msg"][:1].lower() + detail["msg"][1:]
    return InputError(f"{path_text(path)}: {said}, got {_shown(detail['input'])}", where=where)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    return f"a list of {len(value)}" if isinstance(value, list) else repr(value)


def _known_path(document: Document, path: KeyPath) -> KeyPath:
    """The part of pydantic's path that is in the file: a union adds the kinds that it has tried."""
    while path and path not in document.values:
        path = path[:-1]
    return path


def _known_keys(path: KeyPath) -> list[str]:
    """Keys of the model that stands at `path`."""
    model: type[BaseModel] | None = SuiteFile
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
