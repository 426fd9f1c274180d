"""The page of two to four runs side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any, Final

import numpy as np
from jaxtyping import Float64

from core.report.looks import run_dashes
from core.report.memory_figure import unit_of
from core.report.parts import card, human_bytes, line_legend, plot, table
from core.report.path_figure import path_figure
from core.report.revisit_figure import Curve, drift_figure
from core.report.revisits import Revisits
from core.report.run_data import run_data
from core.report.run_page import controls, missing_part
from core.report.series import Columns, by_chunk
from core.report.settings import command_of, differences
from core.report.source import RunSource
from core.report.speed_figure import chunk_ms
from core.report.svg import Chart
from core.report.video_part import VideoPart

NAMES: Final = "ABCD"
NONE: Final = "-"
Found = Sequence[Revisits | None]


def compare_page(
    runs: Sequence[RunSource], videos: Sequence[VideoPart], revisits: Found
) -> tuple[str, dict[str, Any]]:
    """Body and data of the page."""
    names = [f"{letter} {run.mode}" for letter, run in zip(NAMES, runs, strict=False)]
    data = [run_data(run) for run in runs]
    path = _path(runs, data)
    missing = [f"{name}: {said}" for name, run in zip(names, runs, strict=True) for said in run.missing]
    body = [
        _header(runs, names),
        "<main>",
        missing_part(missing),
        _stage(runs, names, videos),
        _drift(runs, names, revisits),
        card("figures", "Figures", _figures(runs, names, revisits)),
        card("differences", "Settings that differ, and the path", _differences(runs, names, path)),
        card("curves", "By chunk", *_curves(runs, names)),
        card("commands", "The same runs again", *_commands(runs, names)),
        "</main>",
    ]
    frames = max(run.num_frames for run in runs)
    return "".join(body), {"fps": clock_fps(runs), "frames": frames, "runs": data}


def clock_fps(runs: Sequence[RunSource]) -> float | None:
    """Frames a second of the page: those of the longest video, else of the longest run that tells them."""
    known = [run for run in runs if run.fps is not None]
    if not known:
        return None
    return max(known, key=lambda run: (run.video is not None, _playable_frames(run))).fps


def _playable_frames(run: RunSource) -> int:
    return run.video.num_frames if run.video is not None else run.num_frames


def colour(index: int) -> str:
    """Of a run of the page."""
    return f"var(--run-{index})"


def _header(runs: Sequence[RunSource], names: Sequence[str]) -> str:
    same = {run.log.name for run in runs}
    title = f"{names_of(same)}: {len(runs)} runs"
    folders = " · ".join(f"{name}: {run.folder}" for name, run in zip(names, runs, strict=True))
    return (
        f'<header class="top"><div class="title"><h1>{escape(title)}</h1></div>'
        f'<p class="sub">{escape(folders)}</p><br></header>'
    )


def names_of(names: set[str]) -> str:
    """Names of trajectories."""
    return " and ".join(sorted(names))


def _path(runs: Sequence[RunSource], data: list[dict[str, Any]]) -> str:
    """One map if somebody knows the way; runs along the same way lie over each other."""
    known = [i for i, run in enumerate(runs) if run.track is not None]
    if not known:
        return ""
    tracks = [(track, colour(i)) for i in known if (track := runs[i].track) is not None]
    figure, data[known[0]]["path"] = path_figure(tracks, index=known[0])
    return figure


def _stage(runs: Sequence[RunSource], names: Sequence[str], videos: Sequence[VideoPart]) -> str:
    screens = "".join(
        f'<div class="run"><h3><i style="background:{colour(i)}"></i>{escape(name)} '
        f'<span class="caption">{escape(run.log.status)}</span></h3>'
        f"{video.element(f'Video of {name}', run=i)}</div>"
        for i, (name, run, video) in enumerate(zip(names, runs, videos, strict=True))
    )
    note = " ".join(video.note for video in videos if video.note)
    return card(
        "videos",
        "Side by side",
        f'<div class="runs n{len(runs)}">{screens}</div>',
        controls(masks=False),
        note=note,
    )


def _figures(runs: Sequence[RunSource], names: Sequence[str], revisits: Found) -> str:
    def row(name: str, value: Callable[[RunSource], str | None]) -> tuple[str, ...]:
        return (name, *(value(run) or NONE for run in runs))

    def fidelity(key: str, form: str) -> Callable[[RunSource], str | None]:
        def told(run: RunSource) -> str | None:
            value = getattr(run.log.fidelity, key, None)
            return format(value, form) if value is not None else None

        return told

    on_video = [
        f"{r.mean_psnr_db:.2f}" if r is not None and r.mean_psnr_db is not None else NONE for r in revisits
    ]
    rows = [
        row("status", lambda run: run.log.status),
        row("video frames", lambda run: f"{run.log.totals.frames:,}"),
        row("frames a second, end to end", lambda run: _or_none(run.log.totals.fps, ".3g")),
        row("frames a second, denoising", lambda run: _or_none(run.log.totals.denoise_fps, ".3g")),
        row("revisit PSNR, dB (raw frames)", fidelity("psnr_db", ".2f")),
        ("revisit PSNR, dB (this video)", *on_video),
        row("control PSNR, dB", fidelity("control_psnr_db", ".2f")),
        row("gain over the control, dB", _gain),
        row("revisit SSIM", fidelity("ssim", ".3f")),
        row("sharpness of the revisit", fidelity("sharpness", ".2f")),
        row("motion, grey levels", fidelity("motion", ".2f")),
        row("recall of overlapping chunks", lambda run: _or_none(run.log.totals.recall, ".0%")),
        row("precision of recalls", lambda run: _or_none(run.log.totals.precision, ".0%")),
        row("window tokens at most", lambda run: f"{run.log.totals.max_window_tokens:,}"),
        row("stored share of tokens", lambda run: _or_none(run.log.totals.kept_share, ".0%")),
        row("bank at most", lambda run: human_bytes(run.log.totals.peak_bank_bytes)),
        row("device at most", lambda run: human_bytes(run.log.totals.peak_device_bytes)),
        row("host at most", lambda run: human_bytes(run.log.totals.peak_host_bytes)),
    ]
    shown = [each for each in rows if set(each[1:]) != {NONE}]
    return table(["", *names], shown, numbers=True)


def _or_none(value: int | float | None, form: str) -> str | None:
    return format(value, form) if value is not None else None


def _gain(run: RunSource) -> str | None:
    found = run.log.fidelity
    if found is None or found.control_psnr_db is None:
        return None
    return f"{found.psnr_db - found.control_psnr_db:+.2f}"


def _differences(runs: Sequence[RunSource], names: Sequence[str], path: str) -> str:
    rows = [(key, *values) for key, values in differences([run.log for run in runs])]
    told = table(["", *names], rows) if rows else "<p>None: the runs have the same settings.</p>"
    return f'<div class="stage"><div>{told}</div><figure>{path}</figure></div>' if path else told


def _drift(runs: Sequence[RunSource], names: Sequence[str], revisits: Found) -> str:
    known = [(i, found) for i, found in enumerate(revisits) if found is not None]
    if not known:
        return ""
    dashes = run_dashes([run.mode for run in runs])
    curves = [Curve(names[i], found, colour(i), dashes[i]) for i, found in known]
    frames = max(run.num_frames for run in runs)
    legend = line_legend(
        [(each.name, each.colour, each.dashes) for each in curves] + [("control", "var(--muted)", "2 4")]
    )
    figure, caption = drift_figure(curves, frames)
    return card("drift", "Does a place look the same again?", plot(figure, caption, legend))


def _curves(runs: Sequence[RunSource], names: Sequence[str]) -> list[str]:
    """Curves of all runs over each other."""
    dashes = run_dashes([run.mode for run in runs])
    legend = line_legend([(name, colour(i), dashes[i]) for i, name in enumerate(names)])
    unit, unit_bytes = unit_of(max(run.log.totals.peak_bank_bytes for run in runs))
    held = [by_chunk(run.chunks, lambda r: r.bank_bytes.total) / unit_bytes for run in runs]
    window = [by_chunk(run.chunks, lambda r: r.window_tokens) for run in runs]
    time = [chunk_ms(run.chunks) for run in runs]
    return [
        _overlay("Time of a chunk", "ms a chunk", time, legend, dashes, most_share=0.98),
        _overlay("Window", "tokens", window, legend, dashes),
        _overlay("Bank", unit, held, legend, dashes),
    ]


def _overlay(
    title: str,
    y_label: str,
    values: list[Float64[np.ndarray, " _"]],
    legend: str,
    dashes: Sequence[str],
    *,
    most_share: float = 1.0,
) -> str:
    if not any(each.any() for each in values):
        return ""
    count = max(len(each) for each in values)
    drawn = [(Columns.of(len(each)), each) for each in values]
    top = max(float(np.quantile(each, most_share)) for each in values if len(each)) * 1.12
    means = ", ".join(f"{NAMES[i]} {each.mean():.4g}" for i, each in enumerate(values) if len(each))
    chart = Chart(
        title,
        f"Means: {means} {y_label}.",
        (0, count),
        (0, top or 1.0),
        x_label="chunk",
        y_label=y_label,
        height=200,
        unit="chunk",
    )
    for index, (columns, each) in enumerate(drawn):
        if len(each):
            heights = np.minimum(columns.mean(each), top).tolist()
            line = list(zip(columns.middles, heights, strict=True))
            chart.line(line, colour(index), width=2.2, dashes=dashes[index])
    note = max(drawn, key=lambda pair: pair[0].width)[0].note
    return f"<h3>{escape(title)}</h3>" + plot(
        chart.svg(), escape(f"Means: {means} {y_label}. {note}"), legend
    )


def _commands(runs: Sequence[RunSource], names: Sequence[str]) -> list[str]:
    return [
        f"<h3>{escape(name)}</h3><pre><code>{escape(command_of(run.log))}</code></pre>"
        for name, run in zip(names, runs, strict=True)
        if run.log.config
    ]
