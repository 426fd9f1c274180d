"""The page of one run."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
from jaxtyping import UInt8

from core.report.kept import kept_figure, mask_data, mask_strip
from core.report.memory_figure import memory_figures
from core.report.parts import (
    bullets,
    card,
    human_bytes,
    plot,
    plots,
    recall_legend,
    stage_legend,
    table,
    tiles,
)
from core.report.path_figure import height_figure, path_figure
from core.report.revisit_figure import Curve, drift_figure
from core.report.revisit_part import pair_data, pairs_part
from core.report.revisits import Revisits
from core.report.run_data import MOST_RECALLS, run_data
from core.report.settings import DEFAULT, command_of, settings_rows
from core.report.source import RunSource
from core.report.speed_figure import SHOWN, speed_figures
from core.report.timeline_figure import arcs_figure, hits_figure
from core.report.video_part import VideoPart

COLOUR = "var(--run-0)"
Frames = dict[int, UInt8[np.ndarray, "height width 3"]]


def run_page(
    run: RunSource, video: VideoPart, revisits: Revisits | None, why_none: str, frames: Frames
) -> tuple[str, dict[str, Any]]:
    """Body and data of the page.

    Args:
        run: The run.
        video: Its video.
        revisits: Pairs of first visit and revisit; None if there are none.
        why_none: Then, why.
        frames: Frames of the video that pictures are made of.
    """
    data = run_data(run)
    path = ""
    if run.track is not None:
        path, data["path"] = path_figure([(run.track, COLOUR)])
    masks, mask_note = mask_data(run)
    data["masks"] = masks
    if revisits is not None:
        data["pairs"], data["pictures"] = pair_data(revisits, frames)
    body = [
        header(run, revisits),
        "<main>",
        failure_part(run),
        missing_part([*run.missing, *([why_none] if revisits is None and run.video and run.track else [])]),
        _stage(run, video, path, masks=masks is not None and bool(video.src)),
        _timeline(run),
        card("memory", "Memory", plots(memory_figures(run))),
        card("speed", "Speed", plots(speed_figures(run.chunks, COLOUR), stage_legend(SHOWN))),
        _kept(run, frames, mask_note),
        _revisits(run, revisits, frames),
        _settings(run),
        _machine(run),
        "</main>",
    ]
    return "".join(body), {"fps": run.fps, "frames": run.num_frames, "runs": [data]}


def header(run: RunSource, revisits: Revisits | None) -> str:
    """Name, state and the figures that matter most."""
    log = run.log
    model = str(log.config.get("model", "unknown model"))
    strategy = log.plan.get("strategy")
    how = f"{model}, {run.mode}" + (f" ({strategy})" if strategy and run.mode == "worldkv" else "")
    began = f"{log.started_at:%Y-%m-%d %H:%M} UTC"
    return (
        f'<header class="top"><div class="title"><h1>{escape(log.name)}</h1>'
        f'<span class="chip {log.status}">{log.status}</span></div>'
        f'<p class="sub">{escape(how)} · seed {log.seed} · {began} · {escape(str(run.folder))}</p>'
        f"{tiles(_figures(run, revisits))}</header>"
    )


def _figures(run: RunSource, revisits: Revisits | None) -> list[tuple[str, str]]:
    totals, fidelity = run.log.totals, run.log.fidelity
    seconds = f"{totals.frames / run.fps:.1f} s, " if run.fps is not None else ""
    found = [(f"{totals.frames:,}", f"video frames, {seconds}{totals.chunks:,} chunks")]
    if totals.fps is not None:
        found.append((f"{totals.fps:.3g} fps", "end to end, without warm-up"))
    if fidelity is not None:
        found.append((f"{fidelity.psnr_db:.1f} dB", f"revisit against first visit, {fidelity.pairs} pairs"))
        if fidelity.control_psnr_db is not None:
            gain = fidelity.psnr_db - fidelity.control_psnr_db
            found.append((f"{gain:+.1f} dB", f"over the control ({fidelity.control_psnr_db:.1f} dB)"))
    elif revisits is not None and revisits.mean_psnr_db is not None:
        found.append((f"{revisits.mean_psnr_db:.1f} dB", "revisit against first visit, on the video"))
    if totals.recall is not None:
        found.append((f"{totals.recall:.0%}", f"recall: {totals.hits:,} hits, {totals.misses:,} misses"))
    found.append((f"{totals.max_window_tokens:,}", "window tokens at most"))
    found.append((human_bytes(totals.peak_bank_bytes), "bank at most"))
    found.append((human_bytes(totals.peak_device_bytes), "on the device at most"))
    return found


def failure_part(run: RunSource) -> str:
    """Why the run failed, if it did."""
    failure = run.log.failure
    if failure is None:
        return ""
    lines = [("error", failure.problem), ("at", failure.where), ("hint", failure.hint)]
    said = "".join(f"{name}: {words}\n" for name, words in lines if words)
    return card("failure", "The run failed", f"<pre>{escape(said)}</pre>", cls="callout bad")


def missing_part(missing: list[str]) -> str:
    """What this report cannot show."""
    return card("missing", "What is missing here", bullets(missing), cls="callout")


def controls(*, masks: bool) -> str:
    """Play, step, scrub."""
    overlay = (
        '<label class="switch"><input type="checkbox" class="mask-switch"> kept tokens</label>'
        if masks
        else ""
    )
    speeds = "".join(
        f'<option value="{s}"{" selected" if s == 1 else ""}>{s}x</option>' for s in (0.25, 0.5, 1, 2, 4)
    )
    return (
        '<div class="bar js-only"><button type="button" class="play">Play</button>'
        '<button type="button" data-step="-1" aria-label="Previous chunk">◀ chunk</button>'
        '<button type="button" data-step="1" aria-label="Next chunk">chunk ▶</button>'
        '<input type="range" min="0" value="0" aria-label="Video frame">'
        f'<output></output>{overlay}<select class="speed" aria-label="Speed">{speeds}</select></div>'
        '<p class="keys js-only"><kbd>space</kbd> play, <kbd>←</kbd> <kbd>→</kbd> frame (with shift: ten), '
        "<kbd>↑</kbd> <kbd>↓</kbd> chunk" + (", <kbd>m</kbd> kept tokens" if masks else "") + "</p>"
    )


def _stage(run: RunSource, video: VideoPart, path: str, *, masks: bool) -> str:
    """The video beside the path."""
    if not run.chunks:
        return ""
    height = height_figure(run.track, COLOUR) if run.track is not None else ""
    figure = (
        f'<figure>{path}<figcaption class="under">{_path_words(run)}</figcaption></figure>' if path else ""
    )
    label = f"Video of {run.log.name}"
    lower = plot(height, "Height over time.") if height else ""
    return card(
        "video",
        "Video and camera",
        f'<div class="stage"><div>{video.element(label, mask=masks)}</div>{figure}</div>',
        controls(masks=masks),
        '<p class="now js-only" aria-live="off"></p>',
        lower,
        note=video.note,
    )


def _path_words(run: RunSource) -> str:
    words = "The camera from above; strokes show where it looked."
    if run.track is not None and run.track.reckoned:
        words += " By dead reckoning of keys and mouse, as the memory takes it; dashed: as scripted."
    if run.log.totals.retrieved:
        more = any(len(record.retrieved) > MOST_RECALLS for record in run.chunks)
        which = f", the {MOST_RECALLS} with the most tokens" if more else ""
        words += f'<span class="js-only"> Violet: the views that the current chunk recalls{which}.</span>'
    return words


def _timeline(run: RunSource) -> str:
    totals = run.log.totals
    parts = []
    if totals.retrieved:
        parts.append(plot(*arcs_figure(run.chunks, COLOUR)))
    elif run.chunks:
        parts.append("<p>This memory mode retrieves nothing.</p>" if run.mode != "worldkv" else "")
        parts.append("<p>Nothing was recalled.</p>" if run.mode == "worldkv" else "")
    if totals.hits + totals.misses + totals.idle:
        parts.append(plot(*hits_figure(run.chunks), recall_legend()))
    return card("timeline", "Who recalls whom", *parts)


def _kept(run: RunSource, frames: Frames, note: str) -> str:
    figure = kept_figure(run)
    if figure is None:
        return ""
    strip = mask_strip(run, frames)
    rule = run.log.plan.get("prune")
    by_keys = rule == "key" and float(run.log.plan.get("keep_ratio") or 1.0) < 1
    words = "Dark tokens were not stored. " if strip else ""
    words += (
        "The brighter, the more layers stored the token: each layer keeps its own."
        if by_keys and strip
        else ""
    )
    told = f'<p class="caption">{escape(" ".join(filter(None, (words, note))))}</p>' if words or note else ""
    return card("kept", "What was kept", plot(*figure), strip, told)


def _revisits(run: RunSource, revisits: Revisits | None, frames: Frames) -> str:
    if revisits is None or not revisits.pairs:
        return ""
    drift = plot(*drift_figure([Curve(run.log.name, revisits, COLOUR)], run.num_frames))
    note = "Measured on the compressed video"
    if run.log.fidelity is not None and revisits.mean_psnr_db is not None:
        note += f" ({revisits.mean_psnr_db:.1f} dB here, {run.log.fidelity.psnr_db:.1f} dB on the raw frames)"
    return card(
        "revisits", "Does a place look the same again?", drift, pairs_part(revisits, frames), note=f"{note}."
    )


def _settings(run: RunSource) -> str:
    if not run.log.config:
        return ""
    rows = settings_rows(run.log)
    chosen = [row for row in rows if row[2] != DEFAULT]
    rest = [row for row in rows if row[2] == DEFAULT]
    head = ("setting", "value", "from")
    others = f"<details><summary>{len(rest)} defaults</summary>{table(head, rest)}</details>"
    command = f"<h3>The same run again</h3><pre><code>{escape(command_of(run.log))}</code></pre>"
    inputs = [(name, each.path, each.sha256) for name, each in run.log.inputs.items()]
    files = f"<h3>Input files</h3>{table(('input', 'file', 'sha256'), inputs)}" if inputs else ""
    plan = [(key, _plan_word(value)) for key, value in run.log.plan.items() if not isinstance(value, Mapping)]
    planned = (
        f"<details><summary>The plan in {len(plan)} numbers</summary>{table(('', 'value'), plan)}</details>"
    )
    return card(
        "settings", "Settings", table(head, chosen) if chosen else "", command, files, others, planned
    )


def _machine(run: RunSource) -> str:
    log, rows = run.log, []
    if log.device is not None:
        rows.append(("device", f"{log.device.name} ({log.device.model or 'unnamed'})"))
        if log.device.total_bytes:
            rows.append(("its memory", human_bytes(log.device.total_bytes)))
        if log.device.threads:
            rows.append(("threads", str(log.device.threads)))
    rows.append(("precision", log.dtype or "unknown"))
    rows += list(log.versions.items())
    if log.trajectory_sha256:
        rows.append(("trajectory, sha256", log.trajectory_sha256))
    return card("machine", "Machine and versions", table(("", ""), rows))


def _plan_word(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
