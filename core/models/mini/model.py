"""The embedded model: small enough for the package, real enough to remember.

It runs on a laptop CPU with no download and is the yardstick of every claim about memory; see MODEL_CARD.md.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from core.errors import ModelFilesError
from core.memory.footprint import Footprint
from core.models.mini.codec import PatchCodec
from core.models.mini.conditioning import image_condition, ray_features
from core.models.mini.config import CHUNK_FRAMES, LATENT_CHANNELS, MiniConfig
from core.models.mini.outline import DENOISING_LEVELS, mini_footprint, mini_viewpoints
from core.models.mini.sharpen import Sharpener
from core.models.mini.trips import MAX_TIME_FRAMES
from core.models.mini.world import World, relative_cameras
from core.models.tensors import check_tensors
from core.models.wan.denoiser import TimeTable, WanDenoiser
from core.models.wan.network import WanNetwork
from core.sampler import NoiseLevels
from trajectories import Trajectory

WEIGHTS = Path(__file__).parent / "weights.safetensors"
_WEIGHTS_HINT = "reinstall worldkv, or train with: python -m core.models.mini.train"
LEVELS = NoiseLevels.shifted(DENOISING_LEVELS, shift=5.0)


def read_config(path: Path = WEIGHTS) -> MiniConfig:
    """Sizes of the network in a weights file, from its header alone.

    Raises:
        ModelFilesError: The file is missing, damaged or of something else.
    """
    if not path.exists():
        raise ModelFilesError("the embedded model's weights are missing", where=str(path), hint=_WEIGHTS_HINT)
    try:
        with safe_open(path, framework="pt") as file:
            return MiniConfig.from_dict(json.loads((file.metadata() or {})["config"]))
    except KeyError:
        raise _unreadable(path, "they do not say which sizes the network has") from None
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, reason: object) -> ModelFilesError:
    first_line = (str(reason).strip().splitlines() or [""])[0]
    problem = f"the embedded model's weights cannot be read: {first_line}"
    return ModelFilesError(problem, where=str(path), hint=_WEIGHTS_HINT)


def bind(network: WanNetwork, times: TimeTable, rays: Tensor, condition: Tensor) -> WanDenoiser:
    """The network with one chunk's ray features and picture condition."""
    return WanDenoiser(
        network,
        times,
        condition=network.embed_condition(condition),
        camera=network.camera_modulations(rays),
    )


class MiniControls:
    """Cameras of the rollout and its first picture; see `core.models.base.Controls`.

    Args:
        model: Whose.
        trajectory: One video frame for each latent frame.
        image_latent: Latent of the first picture, one for each rollout of the batch.
    """

    def __init__(
        self, model: MiniModel, trajectory: Trajectory, image_latent: Float[Tensor, "batch channels h w"]
    ) -> None:
        self._model, self._image = model, image_latent
        self._times = TimeTable(model.network)
        self.viewpoints = mini_viewpoints(model.config, trajectory)
        self._c2w = torch.from_numpy(relative_cameras(trajectory.c2w)).float()
        self._intrinsics = torch.from_numpy(self.viewpoints.intrinsics).float()

    def chunk(self, index: int) -> WanDenoiser:
        """The model with the cameras of a chunk; only the first one gets the picture."""
        model = self._model
        frames = range(index * CHUNK_FRAMES, (index + 1) * CHUNK_FRAMES)
        span = slice(frames.start, frames.stop)
        rays = ray_features(self._c2w[None, span], self._intrinsics[None, span], self.viewpoints.image_size)
        h, w = model.config.latent_size
        condition = image_condition(self._image, frames, (len(self._image), h, w))
        rays, condition = rays.to(model.device, model.dtype), condition.to(model.dtype)
        return bind(model.network, self._times, rays, condition)


class MiniDecoder:
    """Latents to pictures; keeps nothing, for the codec has no memory. See `core.models.base.Decoder`."""

    def __init__(self, codec: PatchCodec, sharpener: Sharpener) -> None:
        self._codec, self._sharpener = codec, sharpener

    @torch.inference_mode()
    def push(
        self, latents: Float[Tensor, "batch channels frames h w"]
    ) -> UInt8[np.ndarray, "batch frames height width 3"]:
        """Pictures of the next chunk."""
        flat = latents.transpose(1, 2).flatten(0, 1).float()
        colours = self._codec.decode(flat) + self._sharpener(flat)
        pictures = (colours.clamp(0.0, 1.0) * 255).round().to(torch.uint8)
        pictures = pictures.permute(0, 2, 3, 1).unflatten(0, latents.shape[:1] + latents.shape[2:3])
        frames: UInt8[np.ndarray, "batch frames height width 3"] = pictures.cpu().numpy()
        return frames


class MiniModel:
    """The embedded model; see `core.models.base.WorldModel`.

    Args:
        config: Sizes.
        network: The shared Wan network.
        codec: Pictures to latents and back.
        sharpener: What the learned part of the decoder adds; nothing by default.
    """

    name = "mini"
    chunk_frames = CHUNK_FRAMES
    levels = LEVELS
    trained_frames = MAX_TIME_FRAMES

    def __init__(
        self,
        config: MiniConfig,
        network: WanNetwork,
        codec: PatchCodec,
        sharpener: Sharpener | None = None,
    ) -> None:
        self.config, self.network, self.codec = config, network, codec
        self.sharpener = sharpener or Sharpener().to(codec.basis.device)

    @classmethod
    def load(
        cls,
        *,
        path: Path = WEIGHTS,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> MiniModel:
        """Load weights that `save` wrote; the packaged ones by default.

        Raises:
            ModelFilesError: The file is missing, unreadable or holds other tensors than it should.
        """
        config = read_config(path)
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - no dict
        except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
            raise _unreadable(path, error) from None
        # Not on the meta device: that would import half of torch's compiler, which takes seconds.
        network, codec = WanNetwork(config.network), PatchCodec(LATENT_CHANNELS)
        sharpener = Sharpener()
        parts = nn.ModuleDict({"network": network, "codec": codec, "sharpener": sharpener})
        check_tensors(parts, tensors, where=str(path), hint=_WEIGHTS_HINT)
        parts.load_state_dict(tensors, assign=True)
        parts.requires_grad_(requires_grad=False)
        return cls(config, network.to(device, dtype).eval(), codec.to(device).eval(), sharpener.to(device))

    def save(self, path: Path) -> None:
        """Write weights in half precision; the codec, which is small, in full."""
        tensors = {f"network.{k}": v.half().contiguous() for k, v in self.network.state_dict().items()}
        tensors |= {f"codec.{k}": v.float().contiguous() for k, v in self.codec.state_dict().items()}
        tensors |= {f"sharpener.{k}": v.half().contiguous() for k, v in self.sharpener.state_dict().items()}
        save_file(tensors, path, metadata={"config": json.dumps(asdict(self.config)), "format": "pt"})

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.network.patch_embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of weights, keys and values."""
        return self.network.patch_embedding.weight.dtype

    @property
    def footprint(self) -> Footprint:
        """Shapes and bytes of keys and values."""
        return mini_footprint(self.config, self.dtype)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of a latent frame."""
        return (LATENT_CHANNELS, *self.config.latent_size)

    def world(self, trajectory: Trajectory, seed: int) -> World:
        """The true world of a seed, around a trajectory."""
        return World.around(trajectory, seed, self.config)

    def encode(
        self, pictures: Float[Tensor, "frames 3 height width"]
    ) -> Float[Tensor, "frames channels h w"]:
        """Latents of pictures in 0..1, one a picture."""
        return self.codec.encode(pictures.to(self.device))

    def controls(self, trajectory: Trajectory, image: Float[Tensor, "batch 3 height width"]) -> MiniControls:
        """Steer rollouts along one trajectory, each from its own first picture in 0..1."""
        return MiniControls(self, trajectory, self.encode(image))

    def decoder(self) -> MiniDecoder:
        """A decoder for one video."""
        return MiniDecoder(self.codec, self.sharpener)
