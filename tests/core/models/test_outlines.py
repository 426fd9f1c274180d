"""Outlines say of a rollout what its session says, and know the released sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.config import resolve
from core.elements import FLOAT32
from core.fitting import remember
from core.models.lingbot.config import infer_config as infer_lingbot
from core.models.lingbot.sizes import RELEASED
from core.models.matrix_game.config import VARIANTS, infer_config
from core.models.matrix_game.sizes import released_sizes
from core.models.outline import Outline
from core.models.registry import list_models, model_entry
from core.models.session import Session
from core.models.wan.block_bytes import Shape
from core.models.wan.network import WanNetwork
from core.script import load_script
from tests.core.models.lingbot import sessions as lingbot
from tests.core.models.matrix_game import sessions as matrix_game
from tests.tiny_lingbot import write_checkpoint
from tests.tiny_matrix_game import PREFIX, released_shapes


def outline_of(settings: dict[str, object]) -> Outline:
    config = resolve(settings, {}).config
    entry = model_entry(config.model)
    return entry.outliner()(config, load_script(config, entry))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_released_sizes_of_matrix_game(variant) -> None:
    shapes = {name.removeprefix(PREFIX): shape for name, shape in released_shapes(variant.name).items()}
    assert released_sizes(variant).network == infer_config(shapes, variant)


def test_released_sizes_of_lingbot() -> None:
    with torch.device("meta"):
        network = WanNetwork(RELEASED.network)
    shapes: dict[str, Shape] = {name: tuple(each.shape) for name, each in network.state_dict().items()}
    assert infer_lingbot(shapes) == RELEASED.network
    assert RELEASED.network.num_parameters == 18_544_332_864


@pytest.mark.parametrize("model", [entry.name for entry in list_models()])
def test_an_outline_needs_no_files(model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("WORLDKV_CHECKPOINTS", raising=False)
    outline = outline_of({"model": model, "traj": "loop"})
    assert isinstance(outline, Outline)
    assert not isinstance(outline, Session)
    assert outline.footprint(FLOAT32).parameter_bytes > 1e7


def assert_same(session: Session, outline: Outline, settings: dict[str, object]) -> None:
    assert outline.frame_size == session.frame_size
    assert outline.footprint(FLOAT32) == session.footprint(torch.float32)
    assert (outline.defaults, outline.passes) == (session.defaults, session.passes)
    resolved = resolve(settings, {})
    plan = remember(resolved, outline, FLOAT32).plan
    assert list(outline.options(plan, FLOAT32)) == list(session.options(plan, torch.float32))


def test_lingbot_by_the_headers_of_a_checkpoint(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "model", num_shards=2)
    lingbot.write_inputs(tmp_path)
    session = lingbot.open_run(checkpoint, tmp_path).session
    config = lingbot.open_run(checkpoint, tmp_path).job.config
    settings = {
        "model": "lingbot",
        "checkpoint": checkpoint,
        "traj": config.traj,
        "size": config.size,
    }
    assert_same(session, outline_of(settings), settings)


def test_matrix_game_by_the_headers_of_a_checkpoint(tmp_path: Path) -> None:
    matrix_game.write_inputs(tmp_path)
    folder = matrix_game.write_models(tmp_path)
    job = matrix_game.prepared(folder, tmp_path)
    kept = ("model", "checkpoint", "traj", "size", "variant")
    settings = {key: getattr(job.config, key) for key in kept if getattr(job.config, key) is not None}
    assert_same(job.session, outline_of(settings), settings)
