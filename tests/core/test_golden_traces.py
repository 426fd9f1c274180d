"""Intermediates of single network calls, and the units that rollouts are made of, against the reference."""

import numpy as np
import pytest
import torch

from core.memory import world_memory
from core.memory.prune import kept_by_key
from core.models.wan.layers import RmsNorm
from core.models.wan.rope import RotaryTable, Rotation
from tests.golden_lingbot import MANIFEST, cameras, features, frozen, golden, network, run_engine
from tests.naive_cameras import frame_to_frame, naive_cameras, resampled
from trajectories.formats.letters import reference_c2w

ATOL = MANIFEST["tolerance"]["unit"]
LAYERS = MANIFEST["config"]["num_layers"]
PASSES = MANIFEST["sampling"]["passes_per_chunk"]
TRAJECTORIES = MANIFEST["trajectories"]


def assert_close(ours, expected):
    torch.testing.assert_close(ours.float().reshape(expected.shape), expected.float(), atol=ATOL, rtol=0)


class Recorder:
    """What goes through the network in one call of a rollout; calls are counted over the rollout."""

    def __init__(self, call: int) -> None:
        self.call, self.calls = call, 0
        self.seen: dict[str, torch.Tensor] = {}
        self.attended: list[tuple[torch.Tensor, ...]] = []  # by layer: queries, keys, values
        self.handles = []

    def watch(self, module, name, *, inputs=False):
        def note(_, args, output):
            if self.calls == self.call:
                self.seen[name] = (args[0] if inputs else output).detach().clone()

        self.handles.append(module.register_forward_hook(note))

    def __enter__(self):
        net = network()
        self.watch(net, "flow")
        self.watch(net.head, "head")
        self.watch(net.text_embedding, "context")
        for i, block in enumerate(net.blocks):
            self.watch(block, f"block{i}.in", inputs=True)
            self.watch(block, f"block{i}.out")
            self.watch(block.self_attn.q, f"block{i}.self_attn_input", inputs=True)
            self.watch(block.self_attn.norm_q, f"block{i}.q_before_rope")
            self.watch(block.self_attn.o, f"block{i}.self_attn")
            self.watch(block.cross_attn.o, f"block{i}.cross_attn")
            self.watch(block.ffn, f"block{i}.ffn")
        self.handles.append(net.register_forward_hook(self._count))
        return self

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()

    def _count(self, *_):
        self.calls += 1

    def attention(self, plain):
        """The engine's attention, overheard."""

        def attend(q, k, v):
            if self.calls == self.call:
                self.attended.append((q[0].clone(), k[0].clone(), v[0].clone()))
            return plain(q, k, v)

        return attend


def traced(monkeypatch, run: str, call: int) -> Recorder:
    with Recorder(call) as recorder:
        monkeypatch.setattr(world_memory, "attention", recorder.attention(world_memory.attention))
        run_engine(MANIFEST["runs"][run], num_chunks=call // PASSES + 1)
    return recorder


@pytest.mark.parametrize("call", [0, 5])
def test_one_call_of_the_network(monkeypatch, call):
    expected = {
        name.removeprefix(f"full_kv.call{call}."): t
        for name, t in golden("trace").items()
        if name.startswith(f"full_kv.call{call}.")
    }
    recorder, net = traced(monkeypatch, "full_kv", call), network()
    ours = recorder.seen
    if call:
        expected.pop("context")  # embedded once a rollout, before its first call
    time = net.embed_time(torch.full((1, 1), float(MANIFEST["runs"]["full_kv"]["timesteps"][0])))
    camera = camera_tokens(call // PASSES)
    modulation = net.blocks[0].camera_modulation(camera)
    gate = (net.blocks[0].modulation + time.modulation[0])[0, 5]
    ours |= {
        "time_embedding": time.base,
        "time_projection": time.modulation,
        "camera": camera,
        "patch_embedding": ours["block0.in"],
        "block0.camera_scale": modulation.gain - 1,
        "block0.camera_shift": modulation.shift,
    }
    # What the residual stream was on its way through the block, from its end backwards.
    flat = {name: t.reshape(-1, t.shape[-1]) for name, t in ours.items() if name.startswith("block0.")}
    ours["block0.stream_after_cross_attn"] = flat["block0.out"] - flat["block0.ffn"] * gate
    ours["block0.stream_after_camera"] = ours["block0.stream_after_cross_attn"] - flat["block0.cross_attn"]
    gain, shift = flat["block0.camera_scale"] + 1, flat["block0.camera_shift"]
    before = (
        flat["block0.in"] + flat["block0.self_attn"] * (net.blocks[0].modulation + time.modulation[0])[0, 2]
    )
    ours["block0.stream_after_self_attn"] = before
    assert_close(before * gain + shift, ours["block0.stream_after_camera"])
    first = 45 * (call // PASSES)
    for layer, (_, keys, values) in enumerate(recorder.attended):
        for letter, window in (("k", keys), ("v", values)):
            ours[f"cache.{letter}.layer{layer}"] = window[first:]
            ours[f"cache_before.{letter}.layer{layer}"] = window[:first]
    assert len(expected) > 20
    for name, theirs in expected.items():
        assert_close(ours[name], theirs)


def camera_tokens(chunk: int) -> torch.Tensor:
    relative = golden("units")["camera.A.relative"][3 * chunk : 3 * chunk + 3]
    return network().embed_camera(features(relative))


def test_the_window_holds_the_keys_of_the_reference(monkeypatch):
    """Sink, retrieved (pruned and turned) and recent: the same keys with the same values, in any order."""
    name, call = "retrieval6_store_rope", 30
    trace = golden("trace")
    recorder = traced(monkeypatch, name, call)
    query, keys, values = recorder.attended[0]
    assert_close(query, trace[f"{name}.call{call}.window.q.layer0"])
    assert_close(recorder.seen["flow"], trace[f"{name}.call{call}.flow"])
    theirs = trace[f"{name}.call{call}.window.k.layer0"]
    partner = torch.cdist(theirs.flatten(1), keys.flatten(1)).argmin(1)
    assert sorted(partner.tolist()) == list(range(len(keys)))
    assert_close(keys[partner], theirs)
    assert_close(values[partner], trace[f"{name}.call{call}.window.v.layer0"])


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_letters(name):
    entry, units = TRAJECTORIES[name], golden("units")
    holds = [int(n) for n in entry["hold_frames"].split(",")] if entry["hold_frames"] else None
    ours = reference_c2w(entry["letters"], entry["frames"], holds)
    np.testing.assert_allclose(ours, units[f"traj.{name}.c2w"], atol=ATOL)
    np.testing.assert_allclose(ours[:, :3, 3], units[f"traj.{name}.xyz"], atol=ATOL)
    yaw_deg = np.rad2deg(np.arctan2(ours[:, 0, 2].astype(np.float64), ours[:, 0, 0]))
    around = (yaw_deg - units[f"traj.{name}.yaw_deg"].numpy() + 180) % 360 - 180
    np.testing.assert_allclose(around, 0, atol=1e-4)


@pytest.mark.parametrize("name", ["A", "B", "C"])
def test_the_simulations_cameras(name):
    """Other rollouts run along D, E and F as well: their cameras are made as those of A, B and C."""
    absolute, relative = naive_cameras(TRAJECTORIES[name], MANIFEST["config"]["frame_num"])
    assert_close(absolute, golden("units")[f"camera.{name}.absolute"])
    assert_close(relative, golden("units")[f"camera.{name}.relative"])


def test_the_simulations_cameras_in_general():
    units = golden("units")
    ours = resampled(units["camera.general.c2w"].numpy(), 6)
    assert_close(torch.from_numpy(ours), units["camera.general.interpolated"])
    assert_close(torch.from_numpy(frame_to_frame(ours)), units["camera.general.relative"])
    plain = torch.from_numpy(frame_to_frame(ours, normalised=False))
    assert_close(plain, units["camera.general.relative_unnormalised"])


def test_shorter_trajectories_have_fewer_latent_frames():
    assert [len(cameras(name)[0]) for name in TRAJECTORIES] == [36, 36, 36, 36, 36, 30]


def turned_by(x: torch.Tensor, first_frame: int) -> torch.Tensor:
    return RotaryTable(x.shape[-1]).grid_rotation(range(first_frame, first_frame + 3), (2, 3)).apply(x)


@pytest.mark.parametrize("delta", [-21, -1, 0, 1, 6, 30])
def test_rope_correction(delta):
    """The bank keeps keys before RoPE: they are turned anew to the frame that they move to."""
    ours = turned_by(frozen("unit.rope.x32"), 3 + delta)
    torch.testing.assert_close(ours, golden("units")[f"rope_delta.{delta}"], atol=5e-6, rtol=0)


@pytest.mark.parametrize("size", [32, 128])
def test_rope_angles(size):
    at = torch.tensor([0, 1, 2, 7, 100, 1023])
    turns = Rotation.from_angles(RotaryTable(size).angles(at, at, at)).turns
    table = golden("units")[f"rope.table{size}"].float()
    torch.testing.assert_close(torch.view_as_real(turns), table, atol=1e-6, rtol=0)


def test_rope_in_half_precision():
    ours = turned_by(frozen("unit.rope.x32").bfloat16(), 33)
    expected = golden("units")["rope.out32.bf16.start33"]
    assert ours.dtype == expected.dtype == torch.bfloat16
    assert (
        ours != expected
    ).float().mean() < 0.01  # ours turns in float32: now and then the last bit differs
    torch.testing.assert_close(ours, expected, atol=0, rtol=2**-7)


def test_rms_norm_in_half_precision():
    norm = RmsNorm(16).bfloat16()
    norm.load_state_dict({"weight": frozen("unit.rms.weight").bfloat16()})
    expected = golden("units")["rms.out_bf16"]
    assert torch.equal(norm(frozen("unit.rms.x").bfloat16()), expected)


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 0.99, 1.0])
@pytest.mark.parametrize("budget", ["frame", "pooled"])
@pytest.mark.parametrize("rotate", [False, True])
def test_pruning_of_several_chunks(ratio, budget, rotate):
    chunks = frozen("unit.compress.b.k").unflatten(0, (4, 3, -1))
    keep = max(1, int(np.ceil(ratio * chunks.shape[2])))
    kept = [
        kept_by_key(chunk[None], keep=keep, pooled=budget == "pooled", anchor=i % 3 if rotate else 0)[0]
        + i * 36
        for i, chunk in enumerate(chunks)
    ]
    expected = golden("units")[f"compress.b.r{ratio}.{budget}{'.rotate' if rotate else ''}"].long()
    assert torch.equal(torch.cat(kept), expected.sort().values)


@pytest.mark.parametrize("budget", ["frame", "pooled"])
def test_pruning_by_half_precision_keys(budget):
    keys = frozen("unit.compress.a.k")[None].unflatten(1, (3, -1)).bfloat16()
    keep = int(np.ceil(0.5 * keys.shape[2]))
    ours = kept_by_key(keys, keep=keep, pooled=budget == "pooled")[0]
    assert torch.equal(ours, golden("units")[f"compress.a.r0.5.{budget}.bf16"].long().sort().values)


@pytest.mark.parametrize(
    ("timestep", "sigma"), [(e["timestep"], e["add_noise_sigma"]) for e in MANIFEST["schedule"]["10"]]
)
def test_adding_noise(timestep, sigma):
    x0, noise = frozen("unit.schedule.x0"), frozen("unit.schedule.noise")
    expected = golden("units")[f"schedule.shift10.add_noise.{timestep}"]
    torch.testing.assert_close((1 - sigma) * x0 + sigma * noise, expected, atol=5e-6, rtol=0)
