"""What steers a LingBot rollout: the camera, the first picture, the text."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from core.memory.viewpoints import Viewpoints
from core.models.lingbot.camera import path_features
from core.models.lingbot.path import CameraPath
from core.models.wan.denoiser import TimeTable, WanDenoiser
from core.models.wan.first_picture import FirstPicture
from core.models.wan.network import WanNetwork


class LingBotControls:
    """See `core.models.base.Controls`.

    Args:
        network: The network.
        path: Cameras.
        picture: Condition channels.
        context: The encoded prompt.
        camera_ready: Whether what the camera does in every layer is computed once a chunk, or in every pass.
    """

    def __init__(
        self,
        network: WanNetwork,
        path: CameraPath,
        picture: FirstPicture,
        context: Float[Tensor, "1 valid text_dim"],
        *,
        camera_ready: bool = True,
    ) -> None:
        self._network, self._path, self._picture = network, path, picture
        self._camera_ready = camera_ready
        self._times = TimeTable(network)
        with torch.inference_mode():
            self._text = network.embed_text(context.to(network.patch_embedding.weight))

    @property
    def viewpoints(self) -> Viewpoints:
        """Where the latent frames look from."""
        return self._path.viewpoints

    def chunk(self, index: int) -> WanDenoiser:
        """The network with the conditioning of a chunk."""
        frames, weight = self.viewpoints.frames_of(index), self._network.patch_embedding.weight
        features = path_features(self._path, frames, weight.device).to(weight.dtype)
        network = self._network
        return WanDenoiser(
            network,
            self._times,
            condition=network.embed_condition(self._picture.channels(frames).to(weight)),
            camera=network.camera_modulations(features)
            if self._camera_ready
            else network.embed_camera(features),
            context=self._text,
        )
