"""The causal Wan diffusion transformer: one forward for training, for every memory mode and every model.

Shape suffixes: B batch, C channels, F latent frames, h w latent cells, N tokens of a latent frame, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from core.models.wan.action import ActionInputs, ActionWindows, LayerActions
from core.models.wan.block import CameraModulation, KeyValue, SelfAttentionCache, WanBlock
from core.models.wan.config import WanConfig
from core.models.wan.layers import modulated_norm, sinusoid, wide_linear

PATCH = 2  # latent cells a token spans, in rows and in columns


def fold_patches(
    x: Float[Tensor, "batch channels frames h w"],
) -> Float[Tensor, "batch frames tokens features"]:
    """Each 1x2x2 patch as one token with features in (channel, dy, dx) order."""
    b, c, f, h, w = x.shape
    x = x.view(b, c, f, h // PATCH, PATCH, w // PATCH, PATCH)
    return x.permute(0, 2, 3, 5, 1, 4, 6).reshape(b, f, (h // PATCH) * (w // PATCH), c * PATCH * PATCH)


class TimeHead(nn.Module):
    """Final modulated norm and projection to the pixels of a patch."""

    def __init__(self, dim: int, out_features: int) -> None:
        super().__init__()
        self.modulation = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)
        self.head = nn.Linear(dim, out_features)

    def forward(
        self, x_BFND: Float[Tensor, "batch frames tokens dim"], time_BFD: Float[Tensor, "#batch #frames dim"]
    ) -> Float[Tensor, "batch frames tokens features"]:
        """Predict the features (dy, dx, channel) of each token's patch, in float32."""
        shift, scale = (self.modulation[:, None] + time_BFD[:, :, None]).unsqueeze(3).unbind(2)
        return wide_linear(modulated_norm(x_BFND, scale, shift), self.head)


class ImageEmbedding(nn.Module):
    """From tokens of an image encoder to tokens of the network; upstream's names are those of a list."""

    def __init__(self, image_dim: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.LayerNorm(image_dim),
            nn.Linear(image_dim, image_dim),
            nn.GELU(),
            nn.Linear(image_dim, dim),
            nn.LayerNorm(dim),
        )

    def forward(self, visual: Float[Tensor, "batch visual image_dim"]) -> Float[Tensor, "batch visual dim"]:
        """Project every token."""
        return self.proj(visual)  # type: ignore[no-any-return]


class TimeEmbedding(NamedTuple):
    """What a timestep does, in float32: to the head (`base`) and, projected, to every block."""

    base: Float[Tensor, "#batch #frames dim"]
    modulation: Float[Tensor, "#batch #frames 6 dim"]


class WanNetwork(nn.Module):
    """Causal Wan transformer over a cache handed in.

    Attribute names equal the tensor names of the upstream checkpoints: weights load without a rename table.
    """

    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        self.patch_embedding = nn.Conv3d(config.in_channels, dim, (1, PATCH, PATCH), (1, PATCH, PATCH))
        self.time_embedding = nn.Sequential(nn.Linear(config.freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        if config.text_dim:
            self.text_embedding = nn.Sequential(
                nn.Linear(config.text_dim, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim)
            )
        if config.image_dim:
            self.img_emb = ImageEmbedding(config.image_dim, dim)
        if config.camera_features:
            self.patch_embedding_wancamctrl = nn.Linear(config.camera_features, dim)
            self.c2ws_hidden_states_layer1 = nn.Linear(dim, dim)
            self.c2ws_hidden_states_layer2 = nn.Linear(dim, dim)
        self.blocks = nn.ModuleList(WanBlock(config, layer) for layer in range(config.num_layers))
        self.head = TimeHead(dim, config.out_channels * PATCH * PATCH)

    def embed_time(self, timestep_BF: Float[Tensor, "#batch #frames"]) -> TimeEmbedding:
        """Embed noise levels times 1000; a sampler has a handful, so each need be embedded only once."""
        first, _, second = self.time_embedding
        _, projection = self.time_projection
        sinus = sinusoid(timestep_BF, self.config.freq_dim)
        base = wide_linear(F.silu(wide_linear(sinus, cast("nn.Linear", first))), cast("nn.Linear", second))
        modulation = wide_linear(F.silu(base), cast("nn.Linear", projection))
        return TimeEmbedding(base, modulation.unflatten(-1, (6, -1)))

    def embed_condition(
        self, condition_BCFhw: Float[Tensor, "batch condition frames h w"]
    ) -> Float[Tensor, "batch frames tokens dim"]:
        """The condition channels' share of the patch embedding, bias included.

        The same in every pass of a chunk: compute it once.
        """
        weight = self._patch_weight[:, -condition_BCFhw.shape[1] * PATCH * PATCH :]
        return F.linear(fold_patches(condition_BCFhw), weight, self.patch_embedding.bias)

    def embed_text(self, context: Float[Tensor, "batch valid text_dim"]) -> list[KeyValue]:
        """Keys and values of the prompt for every layer, computed once a rollout.

        Padding rows are zero before the embedding and stay as keys: the model was trained so.
        """
        padded = F.pad(context, (0, 0, 0, self.config.text_tokens - context.shape[1]))
        text = self.text_embedding(padded)
        return [block.context_key_value(text) for block in self._blocks()]

    def embed_image(self, visual: Float[Tensor, "batch visual image_dim"]) -> list[KeyValue]:
        """Keys and values of the first picture's tokens for every layer, computed once a rollout."""
        picture = self.img_emb(visual)
        return [block.context_key_value(picture) for block in self._blocks()]

    def embed_actions(self, windows: ActionWindows, first_frame: int) -> list[ActionInputs]:
        """What the actions of a chunk do to every layer with an action module, computed once a chunk."""
        layers = self.config.actions.layers if self.config.actions is not None else ()
        return [
            block.action_model.prepare(windows, first_frame)
            for layer, block in enumerate(self._blocks())
            if layer in layers
        ]

    def embed_camera(
        self, features: Float[Tensor, "batch frames tokens features"]
    ) -> Float[Tensor, "batch frames tokens dim"]:
        """Camera tokens from the folded camera features of each patch."""
        p0 = self.patch_embedding_wancamctrl(features)
        return p0 + self.c2ws_hidden_states_layer2(F.silu(self.c2ws_hidden_states_layer1(p0)))  # type: ignore[no-any-return]

    def camera_modulations(
        self, features: Float[Tensor, "batch frames tokens features"]
    ) -> list[CameraModulation]:
        """What the camera does in every layer. It is the same in every pass of a chunk: compute it once."""
        camera = self.embed_camera(features)
        return [block.camera_modulation(camera) for block in self._blocks()]

    def forward(
        self,
        latents_BCFhw: Float[Tensor, "batch channels frames h w"],
        time: Float[Tensor, "#batch #frames"] | TimeEmbedding,
        *,
        cache: SelfAttentionCache,
        condition: Float[Tensor, "batch frames tokens dim"] | None = None,
        camera: Sequence[CameraModulation] | Float[Tensor, "batch frames tokens dim"] | None = None,
        context: Sequence[KeyValue] | None = None,
        actions: Sequence[LayerActions] = (),
    ) -> Float[Tensor, "batch out frames h w"]:
        """Predict the flow (noise minus clean latents), in float32.

        What is the same in every pass can be handed in ready made, or be left to this call.

        Args:
            latents_BCFhw: Noisy latents; with the condition channels behind them if `condition` is None.
            time: Noise level times 1000, one for all rollouts or frames or one each; or from `embed_time`.
            cache: Attends on behalf of every layer's self-attention.
            condition: From `embed_condition`.
            camera: Per layer, from `camera_modulations`; or from `embed_camera`, which takes less memory and
                more time.
            context: Per layer, from `embed_text` or `embed_image`.
            actions: For every layer with an action module, from `embed_actions` and with its cache.
        """
        embedded = self.embed_time(time) if isinstance(time, Tensor) else time
        x = self._embed_latents(latents_BCFhw, condition).float()
        steered = dict(zip(self.config.actions.layers, actions, strict=True)) if self.config.actions else {}
        for i, block in enumerate(self._blocks()):
            ready = block.camera_modulation(camera) if isinstance(camera, Tensor) else camera and camera[i]
            x = block(
                x,
                embedded.modulation,
                cache=cache,
                camera=ready,
                context=context[i] if context is not None else None,
                actions=steered.get(i),
            )
        return self._unfold(self.head(x, embedded.base), latents_BCFhw.shape[-2:])

    def _embed_latents(self, latents_BCFhw: Tensor, condition: Tensor | None) -> Tensor:
        tokens, weight = fold_patches(latents_BCFhw.to(self._patch_weight)), self._patch_weight
        if condition is None:
            return F.linear(tokens, weight, self.patch_embedding.bias)
        return F.linear(tokens, weight[:, : tokens.shape[-1]]) + condition

    @property
    def _patch_weight(self) -> Tensor:
        """The patch embedding as a linear map of folded patches."""
        return self.patch_embedding.weight.flatten(1)

    def _unfold(self, tokens: Tensor, size: torch.Size) -> Tensor:
        b, f = tokens.shape[:2]
        h, w = size[0] // PATCH, size[1] // PATCH
        x = tokens.view(b, f, h, w, PATCH, PATCH, self.config.out_channels)
        return x.permute(0, 6, 1, 2, 4, 3, 5).reshape(b, -1, f, h * PATCH, w * PATCH)

    def _blocks(self) -> Iterator[WanBlock]:
        """The blocks in turn; with streamed weights, a block is good only until the next one is asked for."""
        return cast("Iterator[WanBlock]", iter(self.blocks))
