"""`worldkv generate`: a scripted trajectory in, a video and its log out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worldkv_cli.console import human_bytes, print_json, print_warning
from worldkv_cli.progress import progress

if TYPE_CHECKING:
    from core.schemas.run import RunSummary

Flag = typer.Option
_WHAT, _MEMORY, _WHERE = "What is made", "What is remembered", "Where it runs and what comes out"
_BUDGET = "What it may take"


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("generate")(generate)


def generate(
    traj: Annotated[
        str | None,
        Flag(
            metavar="NAME|FILE",
            help="Trajectory: a library name (worldkv traj list) or a YAML file.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    model: Annotated[
        str | None,
        Flag(metavar="NAME", help="Model, see worldkv models list (default mini).", rich_help_panel=_WHAT),
    ] = None,
    image: Annotated[
        Path | None,
        Flag(
            metavar="FILE",
            help="First frame; mini can do without and shows a world of its own.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    prompt: Annotated[
        str | None, Flag(metavar="TEXT", help="Text, for models that take it.", rich_help_panel=_WHAT)
    ] = None,
    checkpoint: Annotated[
        Path | None,
        Flag(
            metavar="DIR",
            help="Folder of the model's files (default: WORLDKV_CHECKPOINTS, then the Hugging Face cache).",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    prefix: Annotated[
        str | None,
        Flag(
            metavar="CHUNKS|FILE",
            help="Start from a given clip: chunks of a true walk (mini), or a video.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    prefix_traj: Annotated[
        str | None, Flag(metavar="NAME|FILE", help="Camera path of the prefix video.", rich_help_panel=_WHAT)
    ] = None,
    fit: Annotated[
        str | None,
        Flag(
            metavar="HOW",
            help="cut or pad: how frames come to fill whole chunks (default cut).",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    size: Annotated[
        str | None,
        Flag(
            metavar="WxH",
            help="Size of the video, such as 832x480 (default: the model's; lingbot: of the image's shape).",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    translation_scale: Annotated[
        float | None,
        Flag(
            metavar="UNITS",
            help="Trajectory units that the model takes as 1 (default: the trajectory's longest step).",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    conditioning: Annotated[
        str | None,
        Flag(
            metavar="HOW",
            help="exact, or release: cameras and size as the reference implementation makes them.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    variant: Annotated[
        str | None,
        Flag(
            metavar="NAME",
            help="universal, gta_drive or templerun (matrix-game; default universal).",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    mouse_deg: Annotated[
        float | None,
        Flag(
            metavar="DEGREES",
            help="What a mouse unit turns the model, if it is steered by actions (default: 15).",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    key_units: Annotated[
        float | None,
        Flag(
            metavar="UNITS",
            help="What a key moves it in a video frame (default: as the trajectory's gains say).",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    fov_deg: Annotated[
        float | None,
        Flag(
            metavar="DEGREES",
            help="Field of view that its memory assumes, likewise (default: 90).",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    chunk_frames: Annotated[
        int | None,
        Flag(help="Latent frames denoised together (lingbot-v2: 4 or 3).", rich_help_panel=_WHAT),
    ] = None,
    seed: Annotated[int | None, Flag(help="Seed of the noise (default 0).", rich_help_panel=_WHAT)] = None,
    world_seed: Annotated[
        int | None, Flag(help="Which of mini's worlds (default 0).", rich_help_panel=_WHAT)
    ] = None,
    memory: Annotated[
        str | None,
        Flag(
            metavar="MODE", help="full, sliding, sink or worldkv (default worldkv).", rich_help_panel=_MEMORY
        ),
    ] = None,
    memory_preset: Annotated[
        str | None,
        Flag(
            metavar="NAME",
            help="worldkv, worldkv-release or worldkv-paper: settings that go together; flags win over it.",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    sink: Annotated[
        int | None,
        Flag(help="First latent frames that always stay (default: the model's).", rich_help_panel=_MEMORY),
    ] = None,
    recent: Annotated[
        int | None,
        Flag(help="Newest latent frames that stay (default: the model's).", rich_help_panel=_MEMORY),
    ] = None,
    retrieve: Annotated[
        float | None,
        Flag(help="Retrieved tokens, in chunks' worth (default: the model's).", rich_help_panel=_MEMORY),
    ] = None,
    retrieve_tokens: Annotated[int | None, Flag(help="The same in tokens.", rich_help_panel=_MEMORY)] = None,
    strategy: Annotated[
        str | None,
        Flag(metavar="NAME", help="rays, coverage or pose (default: the model's).", rich_help_panel=_MEMORY),
    ] = None,
    gate: Annotated[
        float | None,
        Flag(
            help="Leave out what corresponds worse: least gain (coverage), largest distance (rays).",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    order: Annotated[
        str | None,
        Flag(
            metavar="NAME",
            help="older or newer: which visit wins where several correspond alike (rays, default older).",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    near_depth: Annotated[
        float | None,
        Flag(
            metavar="UNITS",
            help="Nearest depth of what is seen (rays; default: directions alone are compared).",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    copies: Annotated[
        int | None,
        Flag(
            help="Most retrieved tokens for one place of the view (rays; default: no limit).",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    chunk_copies: Annotated[
        int | None,
        Flag(help="The same from one past chunk (rays; default: no limit).", rich_help_panel=_MEMORY),
    ] = None,
    positions: Annotated[
        str | None,
        Flag(
            metavar="MODE",
            help="absolute, contiguous, listed or slot (default: as the model needs it).",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    prune: Annotated[
        str | None,
        Flag(
            metavar="RULE",
            help="key, view, random, stride or none: which tokens stay (default: view for mini, else key).",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    keep_ratio: Annotated[
        float | None,
        Flag(
            help="Share of the non-anchor tokens kept, for pose and coverage (default 1).",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    pooled: Annotated[
        bool | None,
        Flag(
            "--pooled/--per-frame",
            help="One keep budget a chunk, or one a frame (default per-frame).",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    bank: Annotated[
        str | None,
        Flag(
            metavar="TIER",
            help="device, host or disk: where all stored tokens are kept (default: as the budgets allow).",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    bank_precision: Annotated[
        str | None,
        Flag(
            metavar="NAME",
            help="native, int8 or int4: how they are kept (default: native, if there is room).",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    commit: Annotated[
        str | None,
        Flag(
            metavar="PASS",
            help="clean or last: which pass writes what is remembered; last saves one (default clean).",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    keep_all: Annotated[
        bool | None,
        Flag("--keep-all", help="Store every chunk, also what no later one needs.", rich_help_panel=_MEMORY),
    ] = None,
    vram_budget: Annotated[
        str | None,
        Flag(
            metavar="SIZE",
            help="Memory of the device, such as 40GiB (default on a GPU: what is free).",
            rich_help_panel=_BUDGET,
        ),
    ] = None,
    ram_budget: Annotated[
        str | None,
        Flag(metavar="SIZE", help="Memory of the host, such as 64GiB.", rich_help_panel=_BUDGET),
    ] = None,
    disk_budget: Annotated[
        str | None,
        Flag(
            metavar="SIZE",
            help="Disk space for what of the bank fits into no memory, such as 500GiB (default: none).",
            rich_help_panel=_BUDGET,
        ),
    ] = None,
    allow: Annotated[
        str | None,
        Flag(
            metavar="LIST",
            help="What may cost fidelity where room is short: int8, int4 (the bank), prune (some chunks).",
            rich_help_panel=_BUDGET,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        Flag(
            metavar="HOW",
            help="resident, streamed, int8 or fp8 (default: resident if they fit, else streamed).",
            rich_help_panel=_BUDGET,
        ),
    ] = None,
    decode_dtype: Annotated[
        str | None,
        Flag(
            metavar="NAME",
            help="float32, bfloat16 or float16: precision of the codec (default float32).",
            rich_help_panel=_BUDGET,
        ),
    ] = None,
    device: Annotated[
        str | None,
        Flag(metavar="NAME", help="auto, cpu, cuda, cuda:1, mps (default auto).", rich_help_panel=_WHERE),
    ] = None,
    dtype: Annotated[
        str | None,
        Flag(
            metavar="NAME", help="auto, float32, bfloat16 or float16 (default auto).", rich_help_panel=_WHERE
        ),
    ] = None,
    out: Annotated[
        Path | None,
        Flag(metavar="DIR", help="Run folder (default runs/<name>-<time>).", rich_help_panel=_WHERE),
    ] = None,
    overwrite: Annotated[
        bool | None, Flag("--overwrite", help="Replace an earlier run in --out.", rich_help_panel=_WHERE)
    ] = None,
    scale: Annotated[
        int | None,
        Flag(help="Enlargement of the frames in the MP4 (default: the model's).", rich_help_panel=_WHERE),
    ] = None,
    config: Annotated[
        Path | None, Flag(metavar="FILE", help="Settings file; flags win over it.", rich_help_panel=_WHERE)
    ] = None,
    as_json: Annotated[
        bool | None, Flag("--json", help="Print the result as one JSON object.", rich_help_panel=_WHERE)
    ] = None,
    quiet: Annotated[bool | None, Flag("--quiet", "-q", help="No progress.", rich_help_panel=_WHERE)] = None,
) -> None:
    """Generate a video along a scripted trajectory.

    It writes video.mp4, run.json and chunks.jsonl into a run folder.

    Every setting can also come from a file (--config) or the environment (WORLDKV_SEED=3).
    """
    flags: dict[str, Any] = {k: v for k, v in locals().items() if k != "config"}
    from core.config import resolve

    resolved = resolve(flags, os.environ, config)
    from core.generate import prepare

    job = prepare(resolved)
    for note in job.notes:
        print_warning(note)
    with progress(job.num_chunks, quiet=job.config.quiet or job.config.as_json) as display:
        summary, folder = job.run(lambda record: display.update(record.model_dump()), display.loading)
    if job.config.as_json:
        print_json({"folder": str(folder), **summary.model_dump(mode="json")})
    else:
        typer.echo(_report(summary, folder))
    if summary.status == "interrupted":
        done, video = summary.totals.chunks, folder / "video.mp4"
        told = f"{done} of {job.num_chunks} chunks are in {video}" if done else "no chunk was finished"
        raise KeyboardInterrupt(told)


def _report(summary: RunSummary, folder: Path) -> str:
    """The run in a few lines."""
    totals, video, fidelity = summary.totals, summary.video, summary.fidelity
    lines = [str(folder if video is None else folder / video.path)]
    if video is not None:
        speed = f", {totals.fps:.1f} fps" if totals.fps else ""
        lines.append(
            f"  {video.num_frames} frames, {video.width}x{video.height}, {totals.wall_s:.1f} s{speed}"
        )
    if totals.hits + totals.misses:
        recall = f"{totals.recall:.0%}" if totals.recall is not None else "-"
        bank = human_bytes(totals.peak_bank_bytes)
        lines.append(f"  memory: {totals.hits} hits, {totals.misses} misses ({recall}), bank at most {bank}")
    if fidelity is not None:
        control = fidelity.control_psnr_db
        against = f", other places {control:.1f} dB" if control is not None else ""
        lines.append(f"  revisits: {fidelity.psnr_db:.1f} dB over {fidelity.pairs} pairs{against}")
    return "\n".join(lines)
