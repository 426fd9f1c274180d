"""Matrix-Game-2.0 against numbers of the reference implementation: whole rollouts and parts, in float32."""

import numpy as np
import pytest
import torch

from core.models.matrix_game.cache import ActionCache
from core.models.wan.action import ActionModule, ActionWindows, LayerActions, action_rotation, head_norm
from core.models.wan.layers import RmsNorm, sinusoid
from core.models.wan.rope import RotaryTable
from core.sampler import NoiseLevels, clean_latents
from tests.golden_matrix_game import (
    CONFIG,
    MANIFEST,
    frozen,
    golden,
    network,
    network_config,
    run_golden,
    weight,
)

ATOL = 2e-5
UNIT_ATOL = 5e-6
UNITS = golden("units")


@pytest.mark.parametrize("name", list(MANIFEST["runs"]))
def test_rollout_matches_the_reference(name):
    latents, plan = run_golden(name)
    expected = golden("runs")[f"{name}.x0"]
    for block, (ours, theirs) in enumerate(zip(latents, expected, strict=True)):
        torch.testing.assert_close(ours, theirs, atol=ATOL, rtol=0, msg=lambda m, b=block: f"block {b}: {m}")
    tokens = plan.footprint.tokens_per_frame
    frames = [plan.visible_tokens(step) // tokens for step in plan.steps]
    run = MANIFEST["runs"][name]
    assert frames[run["prefill_blocks"] :] == run["visible_latent_frames"]


def test_runs_differ():
    """A tolerance means something only where the runs lie further apart than it."""
    runs = golden("runs")
    for other in ("universal_full", "universal_las4", "universal_las6_sink1"):
        assert (runs["universal_las6.x0"] - runs[f"{other}.x0"]).square().mean().sqrt() > 1e-2


@pytest.mark.parametrize("name", ["universal_las6", "templerun"])
def test_noise_levels(name):
    run = MANIFEST["runs"][name]
    levels = NoiseLevels.from_steps(run["denoising_steps"], CONFIG["shift"])
    np.testing.assert_allclose(levels.timesteps, run["timesteps"], atol=1e-3)
    np.testing.assert_allclose(levels.x0_sigmas, run["sigmas"], atol=1e-6)
    assert levels.renoise_sigmas == levels.x0_sigmas[1:]


def test_clean_latents():
    for row, sigma in enumerate(UNITS["schedule.sigma_at_t"]):
        ours = clean_latents(
            frozen("unit.schedule.x0")[row], frozen("unit.schedule.noise")[row], float(sigma)
        )
        torch.testing.assert_close(ours, UNITS["schedule.to_x0"][row], atol=UNIT_ATOL, rtol=0)


def test_time_sinusoid():
    ours = sinusoid(UNITS["time.t"].double(), 256)
    torch.testing.assert_close(ours, UNITS["time.sinusoid256"], atol=UNIT_ATOL, rtol=0)


@pytest.mark.parametrize("start", [0, 7, 33])
def test_rope(start):
    rotation = RotaryTable(32).grid_rotation(range(start, start + 3), tuple(CONFIG["token_grid"]))
    ours = rotation.apply(frozen("unit.rope.x"))
    torch.testing.assert_close(ours, UNITS[f"rope.out.start{start}"], atol=UNIT_ATOL, rtol=0)


@pytest.mark.parametrize("start", [0, 9])
@pytest.mark.parametrize("which", ["q", "k"])
def test_action_rope(which, start):
    rotation = action_rotation(start, 3, 64, torch.device("cpu"))
    ours = rotation.apply(frozen(f"unit.action_rope.{which}"))
    torch.testing.assert_close(ours, UNITS[f"action_rope.{which}.start{start}"], atol=UNIT_ATOL, rtol=0)


def test_head_norm_has_no_gain():
    torch.testing.assert_close(
        head_norm(frozen("unit.action_rms.x")), UNITS["action_rms.out"], atol=UNIT_ATOL, rtol=0
    )


def test_rms_norm():
    norm = RmsNorm(CONFIG["dim"])
    norm.load_state_dict({"weight": frozen("model.blocks.0.self_attn.norm_q.weight")})
    torch.testing.assert_close(norm(frozen("unit.rms.x")), UNITS["rms.out"], atol=UNIT_ATOL, rtol=0)


class Steered:
    """The action module of layer 0 with its cache, block by block."""

    def __init__(self, frames):
        config = network_config("universal").actions
        self.module = ActionModule(config, CONFIG["dim"])
        names = self.module.state_dict()
        prefix = "blocks.0.action_model."
        self.module.load_state_dict({n: weight(prefix + n, "universal") for n in names})
        self.cache = ActionCache(config, 20, frames, device=torch.device("cpu"), dtype=torch.float32)
        self.tracks = frozen("unit.action.keyboard"), frozen("unit.action.mouse")

    @torch.inference_mode()
    def __call__(self, x, block, *, mouse=True):
        frames = range(3 * block, 3 * block + 3)
        rows = torch.tensor([[max(0, 4 * f - 12 + i) for i in range(12)] for f in frames])
        keyboard, moved = (track[rows][None] for track in self.tracks)
        inputs = self.module.prepare(ActionWindows(keyboard, moved if mouse else None), frames.start)
        steered = LayerActions(inputs, self.cache.chunk(frames.start, 3)[0])
        return self.module(x.view(1, 3, 20, -1), steered).view(60, -1)


@pytest.mark.parametrize(("frames", "passes"), [(6, (0, 1)), (4, (1,))])
def test_action_module(frames, passes):
    """Blocks one after the other, each in two passes, the second overwriting what the first has cached."""
    steered = Steered(frames)
    x, expected = frozen("unit.action.x"), UNITS[f"action.las{frames}.out"]
    for block in range(4):
        for number in (0, 1):
            ours = steered(x[block, number], block)
            if number in passes:
                theirs = expected[block, number] if len(passes) == 2 else expected[block]
                torch.testing.assert_close(ours, theirs, atol=UNIT_ATOL, rtol=0)
    if frames == 6:
        for ours, theirs in ((steered.cache.mouse_kv, "mouse"), (steered.cache.keyboard_kv, "keyboard")):
            torch.testing.assert_close(
                ours[:, 0, 0], UNITS[f"action.las6.cache_{theirs}"], atol=UNIT_ATOL, rtol=0
            )


def test_action_module_without_mouse():
    ours = Steered(6)(frozen("unit.action.x")[0, 0], 0, mouse=False)
    torch.testing.assert_close(ours, UNITS["action.keyboard_only"], atol=UNIT_ATOL, rtol=0)


def test_action_module_without_keyboard():
    """Each part adds to the stream what it does alone, so that the mouse's share can be told."""
    steered, x = Steered(6), frozen("unit.action.x")[0, 0]
    steered.module.proj_keyboard.weight.data.zero_()
    torch.testing.assert_close(steered(x, 0), UNITS["action.mouse_only"], atol=UNIT_ATOL, rtol=0)


class Watcher:
    """What flows through the network at every call of a rollout."""

    def __init__(self, net):
        self.calls = []
        self.hooks = [net.register_forward_pre_hook(lambda *_: self.calls.append({}))]
        block = net.blocks[0]
        watched = {
            "layer0.self_attn": block.self_attn.o,
            "layer0.cross_attn": block.cross_attn.o,
            "layer0.ffn": block.ffn,
            "layer0.action_output": block.action_model,
            "layer0.mouse_mlp": block.action_model.mouse_mlp[3],
            "layer0.out": net.blocks[0],
            "layer1.out": net.blocks[1],
            "layer2.out": net.blocks[2],
            "head": net.head,
        }
        for name, module in watched.items():
            self.hooks.append(module.register_forward_hook(self.keep(name)))
        self.hooks.append(
            block.action_model.register_forward_pre_hook(self.keep_input("layer0.action_input"))
        )
        self.hooks.append(net.register_forward_hook(self.keep("flow")))

    def keep(self, name):
        return lambda module, given, made: self.calls[-1].__setitem__(name, made)

    def keep_input(self, name):
        return lambda module, given: self.calls[-1].__setitem__(name, given[0])

    def close(self):
        for hook in self.hooks:
            hook.remove()


@pytest.fixture(scope="module")
def calls():
    watcher = Watcher(network("universal"))
    try:
        run_golden("universal_las6")
    finally:
        watcher.close()
    return watcher.calls


@pytest.mark.parametrize("call", [0, 4])
@pytest.mark.parametrize(
    "name",
    [
        "layer0.self_attn",
        "layer0.cross_attn",
        "layer0.action_input",
        "layer0.action_output",
        "layer0.ffn",
        "layer0.out",
        "layer1.out",
        "layer2.out",
        "head",
        "flow",
    ],
)
def test_trace(calls, call, name):
    expected = golden("trace")[f"universal_las6.call{call}.{name}"]
    ours = calls[call][name].reshape(expected.shape)
    torch.testing.assert_close(ours, expected, atol=ATOL, rtol=0)


def test_context():
    ours = network("universal").img_emb(frozen("visual_context")[None])[0]
    torch.testing.assert_close(ours, golden("trace")["universal_las6.call4.context"], atol=UNIT_ATOL, rtol=0)


def test_a_restored_action_cache_goes_on_with_the_same_bits():
    steered, again = Steered(4), Steered(4)
    x = frozen("unit.action.x")
    for block in range(2):
        steered(x[block, 0], block)
    again.cache.restore({name: tensor.clone() for name, tensor in steered.cache.state().items()})
    assert torch.equal(steered(x[2, 0], 2), again(x[2, 0], 2))
    assert steered.cache.nbytes == sum(tensor.nbytes for tensor in steered.cache.state().values())


def test_the_action_before_a_frame_is_what_moves_it():
    """The row at video frame 4t is not seen by latent frame t; the one before it is."""
    steered = Steered(6)
    x = frozen("unit.action.x")[0, 0]
    before = steered(x, 0)
    steered.tracks[1][8] += 1.0  # the last video frame of latent frame 2
    assert torch.equal(steered(x, 0), before)
    steered.tracks[1][7] += 1.0
    assert not torch.equal(steered(x, 0)[40:], before[40:])
