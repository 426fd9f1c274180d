"""Every way to remember, on this model; what is shown does not matter here, so the codec is left out."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worldkv_cli.generate.lingbot.runs import generate, prepared
from tests.worldkv_cli.generate.runs import log_of

CHUNK = 48  # tokens: three frames of 4x4


class GreyCodec:
    """Grey latents of any picture, grey pictures of any latents."""

    steady_after = 1

    def __init__(self, *_: object, **__: object) -> None:
        self.started = False

    def frames(self, start: int, stop: int) -> torch.Tensor:
        return torch.zeros(1, 16, stop - start, 8, 8)

    def push(self, latents: torch.Tensor) -> np.ndarray:
        frames = 4 * latents.shape[2] - (0 if self.started else 3)
        self.started = True
        return np.full((1, frames, 64, 64, 3), 128, np.uint8)


@pytest.fixture(autouse=True)
def _no_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.models.lingbot.session.PictureCondition", GreyCodec)
    monkeypatch.setattr("core.models.lingbot.session.StreamingDecoder", GreyCodec)


# Flags, and tokens retrieved by each of the five chunks.
WAYS: dict[str, tuple[dict[str, object], list[int]]] = {
    "full": ({"memory": "full"}, [0, 0, 0, 0, 0]),
    "sliding": ({"memory": "sliding", "recent": 4}, [0, 0, 0, 0, 0]),
    "sink": ({"memory": "sink", "sink": 1}, [0, 0, 0, 0, 0]),
    "worldkv": ({}, [0, 0, 0, 48, 96]),
    "pose": ({"strategy": "pose", "retrieve": 1}, [0, 0, 0, 48, 48]),
    "coverage": ({"strategy": "coverage", "retrieve": 1, "sink": 0}, [0, 0, 48, 48, 48]),
    "rays": ({"strategy": "rays", "retrieve_tokens": 20}, [0, 0, 0, 20, 20]),
    "rays, no recent": ({"strategy": "rays", "retrieve": 1, "recent": 0, "sink": 1}, [0, 0, 48, 48, 48]),
    "view": ({"prune": "view", "keep_ratio": 0.5}, [0, 0, 0, 32, 64]),
    "view, pooled": (
        {"strategy": "coverage", "prune": "view", "keep_ratio": 0.25, "pooled": True, "sink": 0},
        [0, 0, 24, 48, 72],
    ),
    "key": ({"prune": "key", "keep_ratio": 0.25}, [0, 0, 0, 24, 48]),
    "ours": ({"memory_preset": "worldkv"}, [0, 0, 0, 32, 64]),
    "release": ({"memory_preset": "worldkv-release"}, [0, 0, 0, 0, 32]),
    "paper": ({"memory_preset": "worldkv-paper"}, [0, 0, 0, 24, 48]),
    "paper, two chunks": ({"memory_preset": "worldkv-paper", "retrieve": 1}, [0, 0, 0, 24, 24]),
    "absolute": ({"positions": "absolute"}, [0, 0, 0, 48, 96]),
    "contiguous": ({"positions": "contiguous"}, [0, 0, 0, 48, 96]),
    "listed": ({"positions": "listed"}, [0, 0, 0, 48, 96]),
    "slot": ({"positions": "slot", "strategy": "rays"}, [0, 0, 0, 48, 96]),
    "keep all": ({"keep_all": True}, [0, 0, 0, 48, 96]),
    "bank on the host": ({"bank": "host"}, [0, 0, 0, 48, 96]),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_remember(raw: Path, way: str) -> None:
    flags, retrieved = WAYS[way]
    told = generate(raw, **flags)
    said = "warning: the bank lies in host memory\n" if "bank" in flags else ""
    assert (told.exit_code, told.stderr) == (0, said)
    log = log_of(Path("run"))
    assert (log.status, log.totals.frames) == ("done", 57)
    tokens = [sum(each.tokens for each in chunk.retrieved) for chunk in log.chunks]
    if "coverage" in flags.values():  # it may leave out what adds nothing
        assert all(ours <= most for ours, most in zip(tokens, retrieved, strict=True))
        assert sum(tokens) > 0
    else:
        assert tokens == retrieved
    assert all(each.chunk < chunk.chunk for chunk in log.chunks for each in chunk.retrieved)
    assert log.totals.peak_bank_bytes == log.plan["bank_bytes"]
    assert log.totals.max_window_tokens <= log.plan["window_tokens"]
    tier = "host" if "bank" in flags else "device"
    assert {each.tier for chunk in log.chunks for each in chunk.retrieved} <= {tier, "window"}


class TestDefaults:
    def test_first_version(self, raw: Path) -> None:
        """The paper's window: sink 3, recent 3, nine frames' worth of chunks with the nearest cameras."""
        plan = prepared(raw).plan
        assert (plan.layout.sink_frames, plan.layout.recent_frames) == (3, 3)
        assert (plan.layout.retrieve_tokens, plan.schedule.strategy) == (3 * CHUNK, "pose")

    def test_second_version(self, checkpoints: Path) -> None:
        """The released window of 18 frames, of which 6 are the sink, the current 4 included."""
        plan = prepared(checkpoints / "v2", model="lingbot-v2", traj="out-and-back").plan
        assert (plan.layout.sink_frames, plan.layout.recent_frames) == (6, 8)
        assert (plan.layout.chunk_frames, plan.schedule.strategy) == (4, "pose")

    @pytest.mark.parametrize("preset", ["worldkv", "worldkv-paper"])
    def test_presets_go_with_chunks_of_four(self, checkpoints: Path, preset: str) -> None:
        told = generate(checkpoints / "v2", model="lingbot-v2", memory_preset=preset, traj="out-and-back")
        assert told.exit_code == 0, told.stderr
        assert any(chunk.retrieved for chunk in log_of(Path("run")).chunks)

    def test_the_release_needs_whole_chunks(self, checkpoints: Path) -> None:
        flags = {"model": "lingbot-v2", "memory_preset": "worldkv-release", "traj": "out-and-back"}
        told = generate(checkpoints / "v2", **flags)
        assert told.exit_code == 2
        assert told.stderr == (
            "error: worldkv-release drops whole chunks before recent, and 3 frames are no chunks of 4\n"
            "  at: --memory-preset worldkv-release\n"
            "hint: add --recent 4\n"
        )
        plan = prepared(checkpoints / "v2", **flags, recent=4).plan
        assert (plan.layout.recent_frames, plan.layout.release_gap) == (4, True)
        assert plan.retrieved_tokens > 0


def test_rays_take_no_preset_that_prunes(raw: Path) -> None:
    told = generate(raw, memory_preset="worldkv-paper", strategy="rays")
    assert told.exit_code == 2
    assert told.stderr == (
        "error: rays picks single tokens itself, so there is nothing to prune\n"
        "  at: --memory-preset worldkv-paper\n"
        "hint: leave it out, or use --strategy pose or coverage\n"
    )
