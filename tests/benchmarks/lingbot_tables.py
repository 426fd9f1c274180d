"""Tables of the LingBot benchmark."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.lingbot_timing import STAGES, Measured

GIB = 1 << 30
FRAMES_PER_CHUNK = 12  # video frames of every chunk but the first


def print_alone(runs: list[dict[str, Any]]) -> None:
    print("\nalone, in real memory (medians in ms; fps: 12 video frames over all four stages)")
    print(
        f"{'mode':14}" + "".join(f"{stage:>10}" for stage in STAGES) + f"{'fps':>8}   memory, chunks that ran"
    )
    for run in runs:
        if "refused" in run:
            print(f"{run['mode']:14} does not fit: {run['refused']}")
        if "measured" not in run:
            continue
        measured: Measured = run["measured"]
        ran = run["chunks_run"]
        settled = [c for c in ran[1:] if c >= 4] or ran[1:] or ran  # the first decode gives fewer frames
        medians = [measured.median_ms(stage, settled) for stage in STAGES]
        if None in medians:
            print(f"{run['mode']:14} no chunk ran")
            continue
        fps = FRAMES_PER_CHUNK * 1e3 / sum(medians)
        print(
            f"{run['mode']:14}"
            + "".join(f"{value:10.1f}" for value in medians)
            + f"{fps:8.2f}   {memory_words(run)}; chunks {spans(ran)} of {run['chunks_of_the_rollout']}"
            + "".join(f"; {words}" for words in run["turns"])
        )


def memory_words(run: dict[str, Any]) -> str:
    predicted, peak = run["predicted"]["device"], run["peak"]
    if peak is None:
        return f"predicted {predicted / GIB:.3f} GiB, peak not measured on the CPU"
    allocated, reserved = peak["allocated"], peak["reserved"]
    return (
        f"predicted {predicted / GIB:.2f} GiB, peak {allocated / GIB:.2f} "
        f"({allocated / predicted:.3f} of it), reserved {reserved / GIB:.2f}"
    )


def print_in_turns(measured: dict[str, Measured], groups: list[list[int]], decode_ms: float | None) -> None:
    print("\nin turns, one layer's memory for all layers (ms a chunk without decoding; fps with and without)")
    ran = list(next(iter(measured.values())).chunks) if measured else []
    if not ran:
        print("no chunk ran")
        return
    groups = [group for group in ([c for c in probe if c in ran] for probe in groups) if group]
    head = "".join(f"{'chunks ' + spans(group):>16}" for group in groups)
    print(
        f"{'mode':14}"
        + "".join(f"{stage:>10}" for stage in STAGES[:3])
        + f"{head}{'last/first':>12}{'fps':>8}{'no dec.':>9}"
    )
    for mode, times in measured.items():
        by_group = [times.chunk_ms(group) for group in groups]
        last = by_group[-1]
        stages = "".join(f"{times.median_ms(stage, groups[-1]):10.1f}" for stage in STAGES[:3])
        print(
            f"{mode:14}{stages}"
            + "".join(f"{ms:16.1f}" for ms in by_group)
            + f"{last / by_group[0]:12.3f}"
            + (f"{'-':>8}" if decode_ms is None else f"{FRAMES_PER_CHUNK * 1e3 / (last + decode_ms):8.2f}")
            + f"{FRAMES_PER_CHUNK * 1e3 / last:9.2f}"
        )
    for ours in (mode for mode in measured if mode.startswith("worldkv")):
        for other in (mode for mode in measured if not mode.startswith("worldkv")):
            ratios = [measured[other].chunk_ms(group) / measured[ours].chunk_ms(group) for group in groups]
            told = ", ".join(
                f"{ratio:.3f} at {spans(group)}" for ratio, group in zip(ratios, groups, strict=True)
            )
            print(f"fps of {ours} over {other}: {told}")


def spans(chunks: list[int]) -> str:
    """Runs of chunks, such as 9-11, 19-21."""
    runs: list[list[int]] = []
    for chunk in chunks:
        if runs and chunk == runs[-1][-1] + 1:
            runs[-1].append(chunk)
        else:
            runs.append([chunk])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
