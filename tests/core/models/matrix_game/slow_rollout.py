"""A Matrix-Game rollout from its specification: no window, no bank, no rings, nothing computed only once.

Actions, sampler, positions and attention are worked out here again (golden/matrix_game README, sections 4 to
8); of the engine only the network's other layers and the schedule's selections are used.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import nn

from core.models.wan.action import ActionModule, LayerActions
from core.models.wan.network import WanNetwork
from core.noise import NoiseSource
from tests.core.memory.slow_memory import SlowMemory
from tests.golden_matrix_game import MANIFEST, FrozenActions, frozen

CHUNK = 3


def rows_of(track: torch.Tensor, frames: range) -> torch.Tensor:
    """What latent frames see of a track of video frames, flattened: [frames, 12 * channels]."""
    windows = [[track[max(0, row)] for row in range(4 * t - 12, 4 * t)] for t in frames]
    return torch.stack([torch.cat(rows) for rows in windows]).double()


def turn(x: torch.Tensor, frames: range) -> torch.Tensor:
    """Action RoPE: the first four pairs of a head turn with the latent frame; x is [frame, ..., head_dim]."""
    out = x.clone()
    for i in range(4):
        angle = torch.tensor([t * 256.0 ** (-2 * i / 8) for t in frames], dtype=torch.float64)
        cos, sin = (f(angle).view(-1, *[1] * (x.ndim - 2)) for f in (torch.cos, torch.sin))
        a, b = x[..., 2 * i], x[..., 2 * i + 1]
        out[..., 2 * i], out[..., 2 * i + 1] = a * cos - b * sin, a * sin + b * cos
    return out


def unit(x: torch.Tensor) -> torch.Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()


class SlowActions(nn.Module):
    """An action module that keeps the residual stream of every clean pass, and nothing else.

    Each pass computes the keys and values of the last `reach` frames anew, in float64.
    """

    def __init__(self, module: ActionModule, tracks: FrozenActions, reach: int) -> None:
        super().__init__()
        self.weights = {name: tensor.double() for name, tensor in module.state_dict().items()}
        self.config, self.tracks, self.reach = module.config, tracks, reach
        self.clean: list[torch.Tensor] = []  # [3 frames, tokens, dim] of every finished chunk
        self.commits = False

    def forward(self, x_BFND: torch.Tensor, actions: LayerActions) -> torch.Tensor:
        x = x_BFND[0].double()
        first = CHUNK * len(self.clean)
        frames = range(max(0, first + CHUNK - self.reach), first + CHUNK)
        own = range(first, first + CHUNK)
        stream = torch.cat([*self.clean, x])[frames.start :]
        if self.commits:
            self.clean.append(x)
        if self.config.mouse:
            q, _, _ = self._mouse(x, own)
            _, k, v = self._mouse(stream, frames)
            scores = torch.einsum("qnhd,knhd->nhqk", q, k) / q.shape[-1] ** 0.5
            mixed = torch.einsum("nhqk,knhd->qnhd", scores.softmax(-1), v)
            x = x + self._linear("proj_mouse", mixed.flatten(2))
        k, v = self._keyboard(frames)
        q = turn(unit(self._linear("mouse_attn_q", x).unflatten(-1, (self.config.num_heads, -1))), own)
        scores = torch.einsum("qnhd,khd->nhqk", q, k) / q.shape[-1] ** 0.5
        mixed = torch.einsum("nhqk,khd->qnhd", scores.softmax(-1), v)
        return (x + self._linear("proj_keyboard", mixed.flatten(2)))[None].float()

    def _mouse(self, x: torch.Tensor, frames: range) -> tuple[torch.Tensor, ...]:
        """Queries, keys and values of frames: [frame, token, head, head_dim] each."""
        rows = rows_of(self.tracks.tracks[1], frames)[:, None].expand(-1, x.shape[1], -1)
        h = self._linear("mouse_mlp.0", torch.cat((x, rows), -1))
        h = self._linear("mouse_mlp.2", F.gelu(h, approximate="tanh"))
        gain, bias = (self.weights[f"mouse_mlp.3.{name}"] for name in ("weight", "bias"))
        h = F.layer_norm(h, (h.shape[-1],), gain, bias, 1e-5)
        q, k, v = self._linear("t_qkv", h).unflatten(-1, (3, self.config.num_heads, -1)).unbind(2)
        return turn(unit(q), frames), turn(unit(k), frames), v

    def _keyboard(self, frames: range) -> tuple[torch.Tensor, torch.Tensor]:
        """One key and value of each frame: [frame, head, head_dim]."""
        embedded = self._linear("keyboard_embed.0", self.tracks.tracks[0].double())
        embedded = self._linear("keyboard_embed.2", F.silu(embedded))
        kv = self._linear("keyboard_attn_kv", rows_of(embedded, frames))
        k, v = kv.unflatten(-1, (2, self.config.num_heads, -1)).unbind(1)
        return turn(unit(k), frames), v

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))


def slow_copy(network: WanNetwork, tracks: FrozenActions, reach: int) -> tuple[WanNetwork, list[SlowActions]]:
    """The same network with slow action modules, and these."""
    slow, modules = copy.deepcopy(network), []
    for layer in network.config.actions.layers:
        modules.append(SlowActions(network.blocks[layer].action_model, tracks, reach))
        slow.blocks[layer].action_model = modules[-1]
    return slow, modules


@torch.inference_mode()
def slow_rollout(
    network: WanNetwork,
    variant: str,
    memory: SlowMemory,
    noise: NoiseSource,
    *,
    reach: int,
    commit: str = "clean",
) -> list[torch.Tensor]:
    """Clean latents of every chunk; actions, picture and tokens are the golden ones.

    Args:
        network: The network.
        variant: Whose actions and timesteps.
        memory: Keys and values.
        noise: Draws by chunk.
        reach: Latent frames of actions, the current chunk's included.
        commit: Which pass is remembered, actions included.
    """
    slow, modules = slow_copy(network, FrozenActions(variant), reach)
    run = next(each for each in MANIFEST["runs"].values() if each["variant"] == variant)
    visual, latents = frozen("visual_context")[None], frozen("image_latent")[None]
    mask = torch.zeros_like(latents[:, :4])
    mask[:, :, 0] = 1.0
    condition = torch.cat((mask, latents), dim=1)
    empty = [LayerActions(None, None)] * len(modules)
    out = []
    for step in memory.plan.steps:
        frames = slice(CHUNK * step.chunk, CHUNK * step.chunk + CHUNK)

        def flow(x, timestep, *, commits, step=step, frames=frames):
            for module in modules:
                module.commits = commits
            return slow(
                torch.cat((x, condition[:, :, frames]), dim=1),
                torch.tensor([[timestep]]),
                cache=memory.start(step, commits=commits),
                context=slow.embed_image(visual),
                actions=empty,
            )

        x = noise(step.chunk, 0)
        sigmas = run["sigmas"]
        for i, (timestep, sigma) in enumerate(zip(run["timesteps"], sigmas, strict=True)):
            commits = commit == "last" and i + 1 == len(sigmas)
            x0 = (x.double() - sigma * flow(x, timestep, commits=commits).double()).float()
            if i + 1 < len(sigmas):
                x = (1 - sigmas[i + 1]) * x0 + sigmas[i + 1] * noise(step.chunk, i + 1)
        if commit == "clean":
            flow(x0, 0.0, commits=True)
        out.append(x0)
    return out
