"""The tiny model as a user gets it, session and engine, against a plain recompute of the same rollout."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from core.models.wan.network import WanNetwork
from core.models.wan.pictures import resize
from core.models.wan.text import TextFiles, encode_prompt
from core.models.wan.vae import load_vae
from core.models.wan.weights_placement import WeightPlacement
from core.placement import Turns
from core.video.reader import read_image
from tests import tiny_text
from tests.core.models.lingbot.sessions import CPU, SIZE, Run, open_run, write_inputs
from tests.core.models.lingbot.slow_rollout import AllKeys, camera_features, condition, slow_rollout
from tests.tiny_lingbot import TINY, VAE, random_tensors, write_checkpoint

ATOL = 2e-5  # latents have a standard deviation of about 1

MODES = {
    "full": {"memory": "full"},
    "sliding": {"memory": "sliding", "recent": 4},
    "pose": {"retrieve": 2, "recent": 2},
    "rays": {"strategy": "rays", "retrieve_tokens": 40, "sink": 2, "recent": 2},
    "v2": {"model": "lingbot-v2", "sink": 4, "recent": 2, "retrieve": 1, "strategy": "coverage"},
}

PLACED = {
    "camera in every pass": Turns(camera_ready=False),
    "streamed": Turns(weights=WeightPlacement(resident_blocks=0)),
    "one slot": Turns(weights=WeightPlacement(resident_blocks=1, slots=1), camera_ready=False),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("lingbot")
    write_inputs(folder)
    write_checkpoint(folder / "raw")
    write_checkpoint(folder / "v2", "v2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def engine(files: Path) -> dict[str, list[torch.Tensor]]:
    """Clean latents in every mode."""
    return {mode: opened(files, **settings).latents() for mode, settings in MODES.items()}


def opened(files: Path, **settings: object) -> Run:
    return open_run(files / ("v2" if settings.get("model") else "raw"), files, **settings)


@pytest.fixture(scope="module")
def whole_condition(files: Path) -> torch.Tensor:
    """Mask and latents of as many frames as any of these rollouts has."""
    picture = resize(read_image(files / "first.png")[None], SIZE)
    return condition(load_vae(files / "raw" / VAE, device=CPU), picture, num_frames=18)


def slowly(run: Run, files: Path, condition: torch.Tensor) -> tuple[list[torch.Tensor], AllKeys]:
    """The same rollout, recomputed."""
    network = WanNetwork(TINY).eval()
    network.load_state_dict(random_tensors(TINY))
    text = TextFiles(files / tiny_text.WEIGHTS, files / tiny_text.TOKENIZER)
    keys = AllKeys(run.plan, run.session.viewpoints.grid)
    latents = slow_rollout(
        network,
        run.plan,
        keys,
        camera=camera_features(run.session.trajectory, SIZE),
        condition=condition,
        context=encode_prompt("a quiet town", text, device=CPU, dtype=torch.float32),
        noise=run.noise,
        commit=run.job.config.commit,
    )
    return latents, keys


def largest_difference(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    assert len(ours) == len(theirs)
    return max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_equals_a_plain_recompute(
    files: Path, engine: dict[str, list[torch.Tensor]], whole_condition: torch.Tensor, mode: str
) -> None:
    run = opened(files, **MODES[mode])
    latents, keys = slowly(run, files / "raw", whole_condition)
    assert keys.seen == [run.plan.visible_tokens(step) for step in run.plan.steps]
    assert largest_difference(engine[mode], latents) < ATOL
    assert 0.5 < torch.cat(latents, 2).std() < 2
    assert (run.plan.retrieved_tokens > 0) is (mode not in ("full", "sliding"))


@pytest.mark.slow
def test_the_last_pass_may_commit(
    files: Path, engine: dict[str, list[torch.Tensor]], whole_condition: torch.Tensor
) -> None:
    run = opened(files, **MODES["pose"], commit="last")
    ours, (expected, keys) = run.latents(), slowly(run, files / "raw", whole_condition)
    assert keys.seen == [run.plan.visible_tokens(step) for step in run.plan.steps]
    assert largest_difference(ours, expected) < ATOL
    assert largest_difference(ours, engine["pose"]) > 100 * ATOL


def test_the_modes_differ(engine: dict[str, list[torch.Tensor]]) -> None:
    """So that the test above tells one from the other."""
    last = {mode: latents[-1] for mode, latents in engine.items() if mode != "v2"}
    for mode, ours in last.items():
        for other, theirs in last.items():
            assert mode == other or (ours - theirs).abs().max() > 100 * ATOL, (mode, other)


@pytest.mark.slow
@pytest.mark.parametrize("turns", PLACED.values(), ids=PLACED)
def test_placement_changes_nothing(files: Path, engine: dict[str, list[torch.Tensor]], turns: Turns) -> None:
    assert largest_difference(opened(files, **MODES["pose"]).latents(turns), engine["pose"]) == 0
