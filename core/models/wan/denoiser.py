"""A Wan network bound to the conditioning of one chunk: what every model's passes have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from core.models.wan.action import LayerActions
from core.models.wan.block import CameraModulation, KeyValue, SelfAttentionCache
from core.models.wan.network import TimeEmbedding, WanNetwork


class TimeTable:
    """Time embeddings of one network by timestep: a sampler has a handful, the same in every chunk."""

    def __init__(self, network: WanNetwork) -> None:
        self._network = network
        self._known: dict[float, TimeEmbedding] = {}

    def __getitem__(self, timestep: float) -> TimeEmbedding:
        if timestep not in self._known:
            t = torch.full((1, 1), timestep, device=self._network.patch_embedding.weight.device)
            self._known[timestep] = self._network.embed_time(t)
        return self._known[timestep]


@dataclass(frozen=True, eq=False)
class WanDenoiser:
    """See `core.models.base.Denoiser`.

    Attributes:
        network: The network.
        times: Its time embeddings.
        condition: From `WanNetwork.embed_condition`; None if the model has no condition channels.
        camera: From `WanNetwork.camera_modulations` or `embed_camera`; None without a camera.
        context: From `WanNetwork.embed_text` or `embed_image`; None without either.
        actions: For every layer with an action module, from `WanNetwork.embed_actions` and with its cache.
    """

    network: WanNetwork
    times: TimeTable
    condition: Float[Tensor, "batch frames tokens dim"] | None = None
    camera: Sequence[CameraModulation] | Float[Tensor, "batch frames tokens dim"] | None = None
    context: Sequence[KeyValue] | None = None
    actions: Sequence[LayerActions] = ()

    def flow(
        self, latents: Float[Tensor, "batch channels frames h w"], timestep: float, cache: SelfAttentionCache
    ) -> Float[Tensor, "batch channels frames h w"]:
        """Predict the flow at a timestep of 0 to 1000."""
        predicted: Tensor = self.network(
            latents,
            self.times[timestep],
            cache=cache,
            condition=self.condition,
            camera=self.camera,
            context=self.context,
            actions=self.actions,
        )
        return predicted
