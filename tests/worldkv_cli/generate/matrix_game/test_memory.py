"""Every way to remember, on this model; what is shown does not matter here, so the codec is left out."""

from pathlib import Path

import pytest

from core.memory.positions import PositionMode
from tests.core.models.matrix_game.sessions import write_inputs
from tests.worldkv_cli.generate.lingbot.test_memory import GreyCodec
from tests.worldkv_cli.generate.matrix_game.runs import generate, lines, prepared, warnings
from tests.worldkv_cli.generate.runs import log_of

CHUNK = 48  # tokens: three frames of 4x4
SMALL = {"size": "64x64", "traj": "turn.yaml"}


@pytest.fixture(autouse=True)
def _no_codec(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A square picture that needs no cropping, and 45 frames: 4 chunks."""
    write_inputs(tmp_path, (64, 64))
    turn = "version: 1\nsteps: [{turn: {yaw_deg: 33, frames: 22}}, {turn: {yaw_deg: -33, frames: 22}}]\n"
    (tmp_path / "turn.yaml").write_text(turn)
    monkeypatch.setattr("core.models.matrix_game.session.PictureCondition", GreyCodec)
    monkeypatch.setattr("core.models.matrix_game.session.StreamingDecoder", GreyCodec)


# Flags, and tokens retrieved by each of the four chunks.
WAYS: dict[str, tuple[dict[str, object], list[int]]] = {
    "full": ({"memory": "full"}, [0, 0, 0, 0]),
    "sliding": ({"memory": "sliding"}, [0, 0, 0, 0]),
    "sink": ({"memory": "sink", "sink": 1}, [0, 0, 0, 0]),
    "worldkv": ({}, [0, 0, 0, 48]),
    "coverage": ({"strategy": "coverage", "retrieve": 1, "sink": 0}, [0, 0, 48, 48]),
    "rays": ({"strategy": "rays", "retrieve_tokens": 20}, [0, 0, 0, 20]),
    "ours": ({"memory_preset": "worldkv"}, [0, 0, 0, 32]),
    "release": ({"memory_preset": "worldkv-release"}, [0, 0, 0, 0]),
    "paper": ({"memory_preset": "worldkv-paper"}, [0, 0, 0, 24]),
    "absolute": ({"positions": "absolute"}, [0, 0, 0, 48]),
    "contiguous": ({"positions": "contiguous"}, [0, 0, 0, 48]),
    "gta_drive": ({"variant": "gta_drive"}, [0, 0, 0, 48]),
    "templerun": ({"variant": "templerun", "strategy": "rays"}, [0, 0, 0, 48]),
    "bank on the host": ({"bank": "host"}, [0, 0, 0, 48]),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_remember(models: Path, way: str) -> None:
    flags, retrieved = WAYS[way]
    told = generate(models, **SMALL, **flags)
    assert told.exit_code == 0, told.stderr
    log = log_of(Path("run"))
    assert (log.status, log.totals.frames) == ("done", 45)
    tokens = [sum(each.tokens for each in chunk.retrieved) for chunk in log.chunks]
    if "coverage" in flags.values():  # it may leave out what adds nothing
        assert all(ours <= most for ours, most in zip(tokens, retrieved, strict=True))
        assert sum(tokens) > 0
    else:
        assert tokens == retrieved
    assert log.totals.peak_bank_bytes == log.plan["bank_bytes"]
    assert log.totals.max_window_tokens <= log.plan["window_tokens"]
    released = flags.get("memory_preset") in ("worldkv-release", "worldkv-paper")  # with their positions
    assert log.plan["positions"] == flags.get("positions", "absolute" if released else "slot")
    tier = "host" if "bank" in flags else "device"
    assert {each.tier for chunk in log.chunks for each in chunk.retrieved} <= {tier, "window"}
    assert (warnings("the bank lies in host memory") in told.stderr) is ("bank" in flags)


def test_flags_win_over_a_preset(models: Path) -> None:
    job = prepared(models, **SMALL, memory_preset="worldkv-paper", positions="slot", recent=6)
    assert (job.positions, job.plan.layout.recent_frames) == (PositionMode.SLOT, 6)


def test_release_gap_needs_whole_chunks(models: Path) -> None:
    told = generate(models, **SMALL, memory_preset="worldkv-release", recent=4)
    assert (told.exit_code, told.stderr) == (
        2,
        lines(
            "worldkv-release drops whole chunks before recent, and 4 frames are no chunks of 3",
            "--recent",
            "add --recent 6",
        ),
    )
