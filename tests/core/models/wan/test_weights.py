"""Weights that are streamed give the same bits as weights that stay; what is held is what was predicted."""

import dataclasses

import pytest
import torch

from core.errors import ModelFilesError, WorldKVError
from core.models.checkpoint.load import load_into
from core.models.checkpoint.shards import open_weights
from core.models.mini.config import MiniConfig
from core.models.wan.network import WanNetwork
from core.models.wan.weights import NetworkBuilder, build_network, held_bytes
from core.models.wan.weights_placement import WeightPlacement, placement_bytes
from tests import golden_lingbot
from tests.golden_lingbot import features, frozen, golden, run_golden
from tests.tiny_networks import CPU, TINY, one_pass, random_tensors

RESIDENT = WeightPlacement()
PLACEMENTS = [
    WeightPlacement(resident_blocks=0),
    WeightPlacement(resident_blocks=1),
    WeightPlacement(resident_blocks=2, slots=1),
    WeightPlacement(resident_blocks=0, slots=3),
    WeightPlacement(resident_blocks=0, slots=9),
    WeightPlacement(resident_blocks=4),
]
NAMES = [f"{p.resident_blocks} stay, {p.slots} slots" for p in PLACEMENTS]


def golden_network(placement: WeightPlacement) -> WanNetwork:
    whole = golden_lingbot.network()
    return build_network(
        whole.config, whole.state_dict().items(), placement=placement, device=CPU, dtype=torch.float32
    )


@pytest.mark.parametrize(
    ("run", "placement"),
    [
        ("retrieval6_store", WeightPlacement(resident_blocks=0, slots=1)),
        ("sink_recent", WeightPlacement(resident_blocks=1)),
    ],
    ids=["nothing stays, one slot", "one block stays"],
)
def test_a_streamed_rollout_has_the_same_bits(monkeypatch, run, placement):
    expected, _, _ = run_golden(run)
    streamed = golden_network(placement)
    monkeypatch.setattr(golden_lingbot, "network", lambda: streamed)
    got, _, _ = run_golden(run)
    assert len(got) == len(expected) > 5
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("placement", PLACEMENTS, ids=NAMES)
def test_every_placement_has_the_same_bits(placement):
    tensors = random_tensors(TINY)
    resident = build_network(TINY, tensors.items(), placement=RESIDENT, device=CPU, dtype=torch.float32)
    other = build_network(TINY, tensors.items(), placement=placement, device=CPU, dtype=torch.float32)
    expected = one_pass(resident)
    for _ in range(3):  # slots are used again and again
        assert torch.equal(one_pass(other), expected)


def test_text_and_camera_come_through_the_stream():
    whole, streamed = golden_lingbot.network(), golden_network(WeightPlacement(resident_blocks=1, slots=1))
    context = frozen("context")[None]
    camera = features(golden("units")["camera.A.relative"][:3])
    with torch.inference_mode():
        for ours, theirs in (
            (streamed.embed_text(context), whole.embed_text(context)),
            (streamed.camera_modulations(camera), whole.camera_modulations(camera)),
        ):
            assert len(ours) == len(theirs) == whole.config.num_layers
            pairs = [pair for a, b in zip(ours, theirs, strict=True) for pair in zip(a, b, strict=True)]
            assert all(torch.equal(a, b) for a, b in pairs)


def test_built_in_inference_mode_and_used_outside():
    with torch.inference_mode():
        network = build_network(
            TINY, random_tensors(TINY).items(), placement=PLACEMENTS[0], device=CPU, dtype=torch.float32
        )
        inside = one_pass(network)
    with torch.no_grad():
        assert torch.equal(one_pass(network), inside)


@pytest.mark.parametrize("placement", [RESIDENT, *PLACEMENTS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "config", [TINY, MiniConfig().network, dataclasses.replace(TINY, text_dim=0, dim=24, num_heads=2)]
)
def test_what_is_held_is_what_was_predicted(config, dtype, placement):
    network = build_network(
        config, random_tensors(config).items(), placement=placement, device=CPU, dtype=dtype
    )
    predicted = placement_bytes(config, dtype, placement)
    held = held_bytes(network)
    assert (held.device, held.host) == (predicted.device, predicted.host)
    if placement == RESIDENT:
        assert held.device == config.num_parameters * dtype.itemsize


def test_a_checkpoint_streams_into_every_placement(tmp_path):
    from safetensors.torch import save_file

    tensors = random_tensors(TINY)
    save_file(tensors, tmp_path / "model.safetensors")
    resident = build_network(TINY, tensors.items(), placement=RESIDENT, device=CPU, dtype=torch.float32)
    for placement in PLACEMENTS:
        builder = NetworkBuilder(TINY, placement=placement, device=CPU, dtype=torch.float32)
        weights = open_weights(tmp_path)
        load_into(builder.network, weights, device=CPU, dtype=torch.float32, place=builder.place)
        assert torch.equal(one_pass(builder.finish()), one_pass(resident))


@pytest.mark.parametrize("placement", [RESIDENT, PLACEMENTS[0]])
def test_wrong_tensors_are_named(placement):
    def build(tensors):
        return build_network(TINY, tensors.items(), placement=placement, device=CPU, dtype=torch.float32)

    good = random_tensors(TINY)
    with pytest.raises(ModelFilesError, match=r"missing blocks\.2\.ffn\.0\.bias"):
        build({name: tensor for name, tensor in good.items() if name != "blocks.2.ffn.0.bias"})
    with pytest.raises(ModelFilesError, match=r"blocks\.0\.extra is not known"):
        build(good | {"blocks.0.extra": torch.zeros(1)})
    with pytest.raises(ModelFilesError, match=r"blocks\.1\.modulation is \[3\], not \[1, 6, 32\]"):
        build(good | {"blocks.1.modulation": torch.zeros(3)})


@pytest.mark.parametrize(
    "attempt",
    [
        WanNetwork.state_dict,
        lambda network: network.to(torch.bfloat16),
        lambda network: network.load_state_dict(random_tensors(TINY)),
    ],
    ids=["save", "cast", "load"],
)
def test_streamed_weights_say_what_they_cannot(attempt):
    network = build_network(
        TINY, random_tensors(TINY).items(), placement=PLACEMENTS[1], device=CPU, dtype=torch.float32
    )
    with pytest.raises(WorldKVError, match="streamed weights cannot be") as caught:
        attempt(network)
    assert "--weights resident" in caught.value.hint
