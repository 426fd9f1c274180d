"""Pieces of a page: cards, tiles, tables, legends. Words are escaped where they enter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from core.palette import RECALLS, STAGES, Look
from core.report.svg import PATTERN_NAMES


def card(name: str, title: str, *body: str, note: str = "", cls: str = "") -> str:
    """A section of the page; empty if there is nothing in it."""
    inside = "".join(body)
    if not inside:
        return ""
    told = f'<p class="note">{escape(note)}</p>' if note else ""
    return (
        f'<section class="card {cls}" id="{name}" aria-labelledby="{name}-title">'
        f'<h2 id="{name}-title">{escape(title)}</h2>{told}{inside}</section>'
    )


def tiles(figures: Iterable[tuple[str, str]]) -> str:
    """The most important figures: value and what it is."""
    each = "".join(f'<div class="tile"><b>{escape(v)}</b><span>{escape(w)}</span></div>' for v, w in figures)
    return f'<div class="tiles">{each}</div>'


def plot(svg: str, caption: str, legend: str = "") -> str:
    """A figure; `caption` is HTML."""
    return (
        f'<figure class="plot"><div class="scroll">{svg}</div>{legend}'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def plots(figures: Iterable[tuple[str, str]], legend: str = "") -> str:
    """Figures under each other, the legend beneath the last."""
    found = list(figures)
    return "".join(plot(s, c, legend if i == len(found) - 1 else "") for i, (s, c) in enumerate(found))


def swatches(kind: str, looks: Mapping[str, Look], names: Iterable[str]) -> str:
    """A legend of filled areas."""
    items = []
    for name in names:
        hatch = looks[name].hatch
        over = f'<rect width="22" height="13" fill="url(#{PATTERN_NAMES[hatch]})"/>' if hatch else ""
        box = f'<rect width="22" height="13" style="fill:var(--{kind}-{name})"/>{over}'
        items.append(f'<li><svg viewBox="0 0 22 13" aria-hidden="true">{box}</svg>{escape(name)}</li>')
    return f'<ul class="legend">{"".join(items)}</ul>'


def stage_legend(names: Iterable[str]) -> str:
    """Of the stages of a chunk."""
    return swatches("stage", STAGES, names)


def recall_legend() -> str:
    """Of hits, misses and idle recalls."""
    return swatches("recall", RECALLS, RECALLS)


def line_legend(items: Iterable[tuple[str, str, str]]) -> str:
    """A legend of lines: name, colour, dashes."""
    each = "".join(
        f'<li><svg viewBox="0 0 22 13" aria-hidden="true"><path d="M0 6.5H22" fill="none" '
        f'style="stroke:{colour}" stroke-width="3" stroke-dasharray="{dashes}"/></svg>{escape(name)}</li>'
        for name, colour, dashes in items
    )
    return f'<ul class="legend">{each}</ul>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = False) -> str:
    """A table; its first column names the row."""
    cls = ' class="n"' if numbers else ""
    top = "".join(f'<th scope="col"{cls if i else ""}>{escape(h)}</th>' for i, h in enumerate(head))
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td{cls}>{escape(value)}</td>" for value in row[1:])
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def bullets(lines: Iterable[str]) -> str:
    """A list; empty without lines."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def human_bytes(size: int | float) -> str:
    """A size in MiB or GiB."""
    return f"{size / (1 << 30):,.2f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):,.1f} MiB"
