"""What steers a Matrix-Game rollout: keyboard and mouse, and the first picture."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from core.memory.viewpoints import Viewpoints
from core.models.matrix_game.cache import ActionCache
from core.models.wan.action import ActionWindows, LayerActions
from core.models.wan.denoiser import TimeTable, WanDenoiser
from core.models.wan.first_picture import FirstPicture
from core.models.wan.network import WanNetwork


@runtime_checkable
class Actions(Protocol):
    """The actions that latent frames see."""

    def windows(self, frames: range) -> ActionWindows:
        """Keys and mouse of the video frames in each latent frame's window, batch 1."""
        ...


class MatrixGameControls:
    """See `core.models.base.Controls`.

    Args:
        network: The network.
        viewpoints: Where the latent frames look from, by dead reckoning.
        picture: Condition channels.
        actions: Keyboard and mouse.
        visual: Tokens of the first picture.
        action_frames: Latent frames of actions within reach, the current chunk's included.
    """

    def __init__(
        self,
        network: WanNetwork,
        viewpoints: Viewpoints,
        picture: FirstPicture,
        actions: Actions,
        visual: Float[Tensor, "1 visual image_dim"],
        *,
        action_frames: int,
    ) -> None:
        self._network, self._picture, self._actions = network, picture, actions
        self.viewpoints = viewpoints
        self._times = TimeTable(network)
        weight = network.patch_embedding.weight
        with torch.inference_mode():
            self._context = network.embed_image(visual.to(weight))
        self.cache: ActionCache | None = None
        if network.config.actions is not None:
            self.cache = ActionCache(
                network.config.actions,
                viewpoints.tokens_per_frame,
                action_frames,
                chunk_frames=viewpoints.chunk_frames,
                device=weight.device,
                dtype=weight.dtype,
            )

    @property
    def nbytes(self) -> int:
        """Bytes of the action caches."""
        return 0 if self.cache is None else self.cache.nbytes

    def chunk(self, index: int) -> WanDenoiser:
        """The network with the conditioning of a chunk; chunks must be asked for in order."""
        network, frames = self._network, self.viewpoints.frames_of(index)
        weight = network.patch_embedding.weight
        return WanDenoiser(
            network,
            self._times,
            condition=network.embed_condition(self._picture.channels(frames).to(weight)),
            context=self._context,
            actions=self._steered(frames, weight.device),
        )

    def _steered(self, frames: range, device: torch.device) -> list[LayerActions]:
        if self.cache is None:
            return []
        keyboard, mouse = self._actions.windows(frames)
        windows = ActionWindows(keyboard.to(device), None if mouse is None else mouse.to(device))
        inputs = self._network.embed_actions(windows, frames.start)
        caches = self.cache.chunk(frames.start, len(frames))
        return [LayerActions(*pair) for pair in zip(inputs, caches, strict=True)]
