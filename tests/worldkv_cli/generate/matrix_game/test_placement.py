"""Where memory lies: the same video bit for bit, within the budget, or exit code 3 before it starts."""

from pathlib import Path

import numpy as np
import pytest

from core.choose_placement import with_window
from core.memory.positions import sink_follows
from core.models.matrix_game import needs
from core.video.reader import read_video
from tests.worldkv_cli.generate.matrix_game.runs import generate, prepared, warnings
from tests.worldkv_cli.generate.runs import log_of

QUICK = {"traj": "short.yaml", "sink": 0, "recent": 0, "size": "64x64"}
"""Three chunks, the third of which retrieves the first two."""

HOST = "the bank lies in host memory"
TILES = "frames are decoded in tiles of 8x8 cells"
WAYS = "--decode-dtype float16; --retrieve with less; a smaller --size"


@pytest.fixture(autouse=True)
def _short(tmp_path: Path) -> None:
    (tmp_path / "short.yaml").write_text("version: 1\nsteps: [{turn: {yaw_deg: 32, frames: 32}}]\n")


def mib(num_bytes: int, *, up: bool = False) -> str:
    tenths = -(-num_bytes * 10 // 2**20) if up else round(num_bytes * 10 / 2**20)
    return f"{tenths / 10:.1f} MiB"


@pytest.mark.slow
def test_a_bank_on_the_host_gives_the_same_bits(models: Path) -> None:
    plain = prepared(models, **QUICK)
    forced = plain.placement.parts.device_bytes - plain.placement.plan.tier_bytes["device"]
    flags = {"plain": {}, "forced": {"vram_budget": forced}}
    for out, each in flags.items():
        told = generate(models, out=out, **QUICK, **each)
        assert told.exit_code == 0, told.stderr
        assert (HOST in told.stderr) is bool(each)
        log = log_of(Path(out))
        assert {r.tier for chunk in log.chunks for r in chunk.retrieved} == {"host" if each else "device"}
        assert log.plan["device_budget_bytes"] == each.get("vram_budget")
        frames = read_video(Path(out) / "video.mp4")
        np.testing.assert_array_equal(frames, read_video(Path("plain/video.mp4")))
    assert log.plan["predicted_device_bytes"] <= forced


@pytest.mark.slow
def test_a_small_budget_decodes_in_tiles(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last turn that there is; tiles change pictures a little, where they meet."""
    monkeypatch.setattr(needs, "TILE", (8, 8))
    wide = {**QUICK, "size": "96x64"}
    job = prepared(models, **wide)
    *_, (_, parts) = job.session.options(job.plan, job.dtype)
    follows = sink_follows(job.positions, job.plan.layout, trained_frames=job.session.trained_frames)
    least = with_window(parts, job.plan, sink_follows=follows)
    told = generate(models, **wide, vram_budget=least.device_bytes)
    assert told.exit_code == 0, told.stderr
    assert told.stderr == warnings(HOST, TILES)
    plan = log_of(Path("run")).plan
    assert (plan["decode_tile"], plan["predicted_device_bytes"]) == ([8, 8], least.device_bytes)
    assert read_video(Path("run/video.mp4")).shape == (33, 64, 96, 3)


def test_too_small(models: Path, files_stay_closed: None) -> None:
    least = prepared(models, **QUICK, bank="host").placement.parts
    told = generate(models, vram_budget="1MiB", **QUICK)
    needed = least.device_bytes
    pieces = sorted({**least.device, **least.transient}.items(), key=lambda piece: -piece[1])[:4]
    largest = ", ".join(f"{name} {mib(size)}" for name, size in pieces)
    assert (told.exit_code, told.stdout) == (3, "")
    problem, where, hint = told.stderr.splitlines()
    assert problem == (
        f"error: 3 chunks need {mib(needed)} of device memory even at the least, "
        f"{mib(needed - 2**20)} more than the budget of 1.0 MiB ({largest})"
    )
    assert where == "  at: --vram-budget"
    assert hint.startswith(f"hint: give {mib(needed, up=True)}; ")
    assert hint.endswith(f"; {WAYS}")
    assert not Path("run").exists()
    prepared(models, vram_budget=f"{hint.split()[2]}MiB", **QUICK)  # what the hint says is enough


@pytest.mark.parametrize(
    ("flags", "ways"),
    [
        ({"bank": "device"}, f"--bank host; {WAYS}"),
        ({"decode_dtype": "float16"}, "--retrieve with less; a smaller --size"),
        ({"memory": "sliding"}, "--decode-dtype float16; a smaller --size"),
    ],
    ids=str,
)
def test_only_what_was_not_done_yet_is_advised(
    models: Path, flags: dict[str, object], ways: str, files_stay_closed: None
) -> None:
    told = generate(models, vram_budget="1MiB", traj="short.yaml", **flags)
    assert told.exit_code == 3
    assert told.stderr.splitlines()[2].endswith(ways)


def test_host_memory(models: Path, files_stay_closed: None) -> None:
    told = generate(models, ram_budget="10kB", bank="host", **QUICK)
    assert told.exit_code == 3
    assert "of host memory even at the least" in told.stderr
    assert "\n  at: --ram-budget\n" in told.stderr
