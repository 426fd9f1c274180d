"""The page around everything: one file, no network, and only scripts of our own may run."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any, Final

from core.report.looks import css_variables, run_variables
from core.report.svg import hatch_definitions

MARK: Final = '<meta name="generator" content="worldkv report">'
"""Tells our pages from other files."""

SCRIPTS: Final = ("clock", "player", "charts", "map", "masks", "pairs", "start")


def render(
    title: str, body: str, data: Mapping[str, Any], *, modes: Sequence[str], linked_video: bool
) -> str:
    """The whole file.

    Args:
        title: Of the window.
        body: HTML, escaped.
        data: For the scripts.
        modes: Memory modes of the runs, for their colours.
        linked_video: Whether a video beside the file may be read.
    """
    script = "(() => {\n'use strict';\n" + "\n".join(_asset(f"{name}.js") for name in SCRIPTS) + "})();\n"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(_asset("page.html")).substitute(
        mark=MARK,
        title=escape(title),
        css=css_variables() + run_variables(modes) + _asset("page.css"),
        media="data: blob: file: 'self'" if linked_video else "data: blob:",
        script_hash=f"sha256-{digest}",
        body=hatch_definitions() + body,
        data=json_in_html(data),
        script=script,
    )


def json_in_html(data: Mapping[str, Any]) -> str:
    """JSON that no word in it can end the script element around it."""
    plain = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _asset(name: str) -> str:
    return resources.files("core.report").joinpath("assets", name).read_text(encoding="utf-8")
