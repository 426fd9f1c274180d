"""The embedded model as a whole: weight files, and what a rollout gets from it."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import ModelFilesError
from core.memory.positions import PositionMode
from core.memory.strategies import strategy
from core.models.base import Controls, Decoder, WorldModel
from core.models.mini.codec import PatchCodec
from core.models.mini.config import LATENT_CHANNELS, MiniConfig
from core.models.mini.model import WEIGHTS, MiniModel, mini_footprint, mini_viewpoints
from core.models.mini.trips import MAX_TIME_FRAMES
from core.models.tensors import check_tensors
from core.models.wan.network import WanNetwork
from core.noise import seeded_noise
from core.rollout import rollout
from tests.core.memory.tiny import CPU, LEVELS, make_plan, new_memory, randomise
from tests.core.models.mini.sizes import TINY
from tests.trajectories.make import make

PATH = make("turn: {yaw_deg: 60, frames: 9}", "turn: {yaw_deg: -60, frames: 9}").fit_chunks(
    first_frames=3, later_frames=3, how="cut"
)[0]


@pytest.fixture(scope="module")
def model() -> MiniModel:
    trajectory_pictures = torch.rand(8, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    codec = PatchCodec.fit(trajectory_pictures, LATENT_CHANNELS)
    return MiniModel(TINY, randomise(WanNetwork(TINY.network)), codec)


@pytest.fixture
def weights(model, tmp_path):
    path = tmp_path / "weights.safetensors"
    model.save(path)
    return path


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 48, 64, generator=torch.Generator().manual_seed(1))


def generate(model: MiniModel, count: int = 1, **memory) -> list[torch.Tensor]:
    controls = model.controls(PATH, images(count))
    plan = make_plan(controls.viewpoints, strategy=strategy("rays")(), tokens=20, sink=3, recent=3)
    shape = (count, model.latent_shape[0], 3, *model.latent_shape[1:])
    return [
        r.latents
        for r in rollout(
            controls,
            plan,
            new_memory(plan, batch=count, **memory),
            levels=LEVELS,
            noise=seeded_noise(0, shape, CPU),
        )
    ]


def test_it_keeps_the_contracts(model):
    assert isinstance(model, WorldModel)
    assert isinstance(model.controls(PATH, images(1)), Controls)
    assert isinstance(model.decoder(), Decoder)
    assert model.trained_frames == MAX_TIME_FRAMES
    assert model.latent_shape == (LATENT_CHANNELS, 6, 8)


def test_footprint_needs_no_weights(model):
    views = mini_viewpoints(TINY, PATH)
    plan = make_plan(views, mode="full")
    footprint = mini_footprint(TINY, torch.float32)
    assert footprint == model.footprint
    assert footprint.parameter_bytes == sum(p.nbytes for p in model.network.parameters())
    assert footprint.grid == views.grid == (3, 4)
    assert plan.window_tokens == views.num_frames * footprint.tokens_per_frame


def test_save_and_load(model, weights):
    again = MiniModel.load(path=weights)
    assert again.config == TINY
    for name, value in again.network.state_dict().items():
        assert torch.equal(value, model.network.state_dict()[name].half().float()), name
    for name, value in again.codec.state_dict().items():
        assert torch.equal(value, model.codec.state_dict()[name]), name
    assert not any(p.requires_grad for p in again.network.parameters())
    second = weights.with_name("second.safetensors")
    again.save(second)
    assert all(torch.equal(v, load_file(second)[k]) for k, v in load_file(weights).items())
    assert MiniModel.load(path=weights, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_a_loaded_model_generates(weights):
    latents = generate(MiniModel.load(path=weights))
    assert len(latents) == PATH.num_frames // 3
    assert all(x.isfinite().all() for x in latents)


def test_rollouts_side_by_side_equal_single_ones(model):
    """Each world of a batch has its own first picture; nothing leaks from one to the other."""
    together = generate(model, count=2)
    controls = model.controls(PATH, images(2)[1:])
    plan = make_plan(controls.viewpoints, strategy=strategy("rays")(), tokens=20, sink=3, recent=3)
    draw = seeded_noise(0, (2, LATENT_CHANNELS, 3, 6, 8), CPU)
    alone = rollout(controls, plan, new_memory(plan), levels=LEVELS, noise=lambda c, i: draw(c, i)[1:])
    for chunk, result in zip(together, alone, strict=True):
        torch.testing.assert_close(chunk[1:], result.latents, atol=2e-5, rtol=0)


def test_only_the_first_chunk_gets_the_picture(model):
    class Nothing:
        """Attends to itself alone."""

        def attend(self, layer, q, k, v):
            return v

    latents = torch.randn(1, LATENT_CHANNELS, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    flows = [
        [controls.chunk(i).flow(latents, 500.0, Nothing()) for i in (0, 1)]
        for controls in (model.controls(PATH, images(1)), model.controls(PATH, 1 - images(1)))
    ]
    assert not torch.equal(flows[0][0], flows[1][0])
    assert torch.equal(flows[0][1], flows[1][1])


def test_decoder_is_streaming_and_exact_on_bytes(model):
    pictures = torch.rand(6, 3, 48, 64, generator=torch.Generator().manual_seed(3))
    latents = model.encode(pictures).transpose(0, 1)[None]
    decoder = model.decoder()
    parts = [decoder.push(latents[:, :, i : i + 3]) for i in (0, 3)]
    frames = np.concatenate(parts, axis=1)
    assert frames.shape == (1, 6, 48, 64, 3)
    expected = (model.codec.decode(model.encode(pictures)).clamp(0, 1) * 255).round()
    assert np.abs(frames[0].astype(int) - expected.permute(0, 2, 3, 1).numpy()).max() <= 1


def test_slot_positions_run(model):
    controls = model.controls(PATH, images(1))
    plan = make_plan(
        controls.viewpoints,
        strategy=strategy("pose")(num_chunks=1),
        chunks=1,
        sink=3,
        recent=0,
        positions=PositionMode.SLOT,
    )
    memory = new_memory(plan, positions=PositionMode.SLOT)
    noise = seeded_noise(0, (1, LATENT_CHANNELS, 3, 6, 8), CPU)
    results = list(rollout(controls, plan, memory, levels=LEVELS, noise=noise))
    assert all(r.latents.isfinite().all() for r in results)


def broken(weights, change, config=TINY):
    tensors = load_file(weights)
    change(tensors)
    metadata = {} if config is None else {"config": json.dumps(asdict(config))}
    save_file(tensors, weights, metadata=metadata)
    return weights


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.pop("network.blocks.1.ffn.0.weight"), "missing network.blocks.1.ffn.0.weight"),
        (lambda t: t.pop("codec.mean"), "missing codec.mean"),
        (
            lambda t: t.update({"network.head.head.bias": torch.zeros(3)}),
            "of wrong shape network.head.head.bias is [3], not [128]",
        ),
        (lambda t: t.update({"network.extra": torch.zeros(3)}), "unknown network.extra"),
        (lambda t: t.update({"stray": torch.zeros(3)}), "unknown stray"),
    ],
)
def test_wrong_tensors_are_named(weights, change, named):
    with pytest.raises(ModelFilesError) as caught:
        MiniModel.load(path=broken(weights, change))
    assert named in caught.value.problem
    assert "\n" not in caught.value.problem
    assert caught.value.where == str(weights)
    assert "python -m core.models.mini.train" in caught.value.hint


def test_many_wrong_tensors_are_counted():
    with pytest.raises(ModelFilesError) as caught:
        check_tensors(torch.nn.Linear(2, 2), {f"t{i}": torch.zeros(1) for i in range(5)}, where="f", hint="h")
    assert caught.value.problem == (
        "tensors do not fit the model: missing weight, bias; unknown t0, t1, t2 and 2 more"
    )


def test_missing_file(tmp_path):
    with pytest.raises(ModelFilesError, match="weights are missing") as caught:
        MiniModel.load(path=tmp_path / "none.safetensors")
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x10\x00\x00\x00\x00\x00\x00\x00{" + b"x" * 40])
def test_damaged_file(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFilesError, match="cannot be read"):
        MiniModel.load(path=path)


def test_cut_file(weights):
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelFilesError, match="cannot be read"):
        MiniModel.load(path=weights)


def test_a_folder_is_no_weights_file(tmp_path):
    with pytest.raises(ModelFilesError, match="cannot be read"):
        MiniModel.load(path=tmp_path)


def test_file_of_something_else(weights):
    with pytest.raises(ModelFilesError):
        MiniModel.load(path=broken(weights, lambda t: None, config=None))


def test_packaged_weights_load():
    model = MiniModel.load()
    assert WEIGHTS.stat().st_size < 12e6
    assert model.config.grid == MiniConfig().grid
