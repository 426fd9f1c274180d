"""Names and folders of jobs from templates."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from pathlib import Path

from core.batch.axes import Axis
from core.errors import InputError
from trajectories.errors import nearest

STATE = ".batch"
LOGS = "logs"
MAX_NAME = 180
"""Characters of a name; file systems take 255 bytes, and state files add some."""

_NAME = re.compile(r"\w[\w.+=-]*")
_UNFIT = re.compile(r"[^\w.+=-]+")


def default_template(axes: tuple[Axis, ...]) -> str:
    """All axes, in the order of the manifest."""
    return "-".join("s{seed}" if axis.name == "seed" else f"{{{axis.name}}}" for axis in axes)


def fill(template: str, fields: Mapping[str, object], where: str) -> str:
    """A template such as `{image}-s{seed:03}` with its fields.

    Args:
        template: The template.
        fields: Labels of axes and other words by name; what file names cannot hold becomes a dash.
        where: The template's place, for errors.

    Raises:
        InputError: It has a field that does not exist, or cannot be read.
    """
    text = ""
    try:
        for literal, field, spec, conversion in string.Formatter().parse(template):
            text += literal
            if field is None:
                continue
            if field not in fields or conversion:
                raise _unknown(field, fields, where)
            text += _UNFIT.sub("-", format(fields[field], spec or "")).strip("-.")
    except ValueError as error:
        raise InputError(f"the template {template!r} cannot be read: {error}", where=where) from None
    return text


def checked_name(name: str, where: str) -> str:
    """A name that can be part of file names everywhere.

    Raises:
        InputError: It cannot.
    """
    if _NAME.fullmatch(name) is None or len(name) > MAX_NAME:
        shown = name if len(name) <= 60 else f"{name[:60]}..."
        raise InputError(
            f"{shown!r} cannot name a job",
            where=where,
            hint=f"letters, digits and _ . + = -, a letter or digit first, at most {MAX_NAME} characters",
        )
    return name


def checked_folder(layout: str, where: str) -> Path:
    """A run folder inside of `out`.

    Raises:
        InputError: It leaves `out`, or is one that the batch itself uses.
    """
    parts = layout.split("/")
    for part in parts:
        checked_name(part, where)
    if parts[0] == LOGS:
        raise InputError(
            f"{LOGS} is where the batch keeps its logs", where=where, hint="choose another layout"
        )
    return Path(*parts)


def _unknown(field: str, fields: Mapping[str, object], where: str) -> InputError:
    near = nearest(field, fields)
    hint = f"did you mean {{{near}}}?" if near else f"known: {', '.join(fields)}"
    return InputError(f"the template has an unknown field {{{field}}}", where=where, hint=hint)
