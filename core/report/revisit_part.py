"""Pairs side by side: first visit, revisit, difference."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
from jaxtyping import UInt8

from core.report.pictures import data_uri
from core.report.revisits import Revisits, Scored

Frames = dict[int, UInt8[np.ndarray, "height width 3"]]


def pairs_part(revisits: Revisits, frames: Frames) -> str:
    """The best, the median and the worst pair, and any other on demand."""
    shown = "".join(_pair(name, revisits.pairs[index], frames) for name, index in revisits.picks.items())
    blank = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
    images = f'<img src="{blank}" alt="First visit">', f'<img src="{blank}" alt="Revisit">'
    chosen = (
        '<div class="pair chosen js-only"><h3><label>Any pair: <select aria-label="Pair"></select></label> '
        '<button type="button" class="go-first">go to first visit</button> '
        '<button type="button" class="go-again">go to revisit</button></h3>'
        f'{_three(images[0], images[1])}<p class="caption about"></p></div>'
    )
    return f'<div class="pairs">{shown}{chosen}</div>'


def pair_data(revisits: Revisits, frames: Frames) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Pairs and pictures for the scripts; a frame that several pairs share is there once."""
    pairs: list[dict[str, Any]] = [
        {"earlier": each.pair.earlier, "later": each.pair.later, "psnr": round(each.psnr_db, 3)}
        for each in revisits.pairs
    ]
    numbers = {number for each in revisits.pairs for number in (each.pair.earlier, each.pair.later)}
    return pairs, {number: data_uri(frames[number]) for number in sorted(numbers)}


def _pair(name: str, each: Scored, frames: Frames) -> str:
    earlier, later = each.pair.earlier, each.pair.later
    first = f'<img src="{data_uri(frames[earlier])}" alt="First visit, frame {earlier}">'
    again = f'<img src="{data_uri(frames[later])}" alt="Revisit, frame {later}">'
    head = f"{name.capitalize()}: {each.psnr_db:.1f} dB"
    words = f"frame {later} against {earlier}, {each.pair.gap_frames} frames apart"
    title = f'<h3>{escape(head)} <span class="caption">{words}</span></h3>'
    return f'<div class="pair">{title}{_three(first, again)}</div>'


def _three(first: str, again: str) -> str:
    """The difference is made by the browser, from the two pictures on top of each other."""
    return (
        f'<div class="three"><figure>{first}<figcaption>first visit</figcaption></figure>'
        f"<figure>{again}<figcaption>revisit</figcaption></figure>"
        f'<figure><div class="difference">{first}{again}</div>'
        "<figcaption>difference, brightened 2.2 times</figcaption></figure></div>"
    )
