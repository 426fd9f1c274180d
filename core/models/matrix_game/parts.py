"""A Matrix-Game checkpoint as a run uses it: every part found and known by its headers, nothing read yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from core.errors import ModelFilesError
from core.models.matrix_game.catalog import MATRIX_GAME
from core.models.matrix_game.files import MatrixGameFiles, find_files
from core.models.matrix_game.sizes import MatrixGameSizes
from core.models.matrix_game.transformer import TransformerFiles, open_transformer
from core.models.wan.clip_files import ClipFiles, check_clip_files
from core.models.wan.text_tokens import EXTRA_HINT
from core.models.wan.vae_files import VaeFiles, check_vae_files

_PACKAGES: Mapping[str, str] = MappingProxyType(
    {"diffusers": "the codec", "transformers": "the image encoder"}
)
"""Optional packages that a run imports once it has begun, and what for."""


@dataclass(frozen=True, eq=False)
class MatrixGameParts:
    """All that a run loads.

    Attributes:
        files: Where everything lies.
        transformer: The network's weights.
        vae_path: File or folder of the codec.
        vae: What it holds.
        clip_path: File or folder of the image encoder.
        clip: What it holds.
    """

    files: MatrixGameFiles
    transformer: TransformerFiles
    vae_path: Path
    vae: VaeFiles
    clip_path: Path
    clip: ClipFiles

    @property
    def sizes(self) -> MatrixGameSizes:
        """Sizes of what decides how much memory a run takes."""
        return MatrixGameSizes(network=self.transformer.config, vae=self.vae.config, clip=self.clip.config)

    def check(self) -> None:
        """Look for the packages that read the files.

        Raises:
            ModelFilesError: One is missing.
        """
        for name, user in _PACKAGES.items():
            if find_spec(name) is None:
                raise ModelFilesError(f"{user} needs the package {name}", where=name, hint=EXTRA_HINT)


def open_parts(variant: str, checkpoint: Path | None) -> MatrixGameParts:
    """Find a checkpoint and look at its headers.

    Raises:
        ModelFilesError: A part is missing or damaged, or they do not belong together.
    """
    files = find_files(variant, checkpoint)
    vae_path, clip_path = _required("vae", files.vae, files), _required("clip", files.clip, files)
    transformer = open_transformer(files.transformer, files.variant)
    vae, clip = check_vae_files(vae_path), check_clip_files(clip_path)
    network = transformer.config
    if vae.config.z_dim != network.out_channels:
        made, wanted = vae.config.z_dim, network.out_channels
        raise _strangers(f"the codec's latents have {made} channels, the transformer's {wanted}", vae_path)
    if clip.config.dim != network.image_dim:
        made, wanted = clip.config.dim, network.image_dim
        raise _strangers(
            f"the image encoder's tokens are {made} wide, the transformer takes {wanted}", clip_path
        )
    return MatrixGameParts(files, transformer, vae_path, vae, clip_path, clip)


def _required(part: str, path: Path | None, files: MatrixGameFiles) -> Path:
    if path is not None:
        return path
    raise ModelFilesError(
        f"the {part} of matrix-game was not found",
        where=f"beside {files.transformer}",
        hint=f"{MATRIX_GAME.command} --part {part}",
    )


def _strangers(problem: str, path: Path) -> ModelFilesError:
    return ModelFilesError(problem, where=str(path), hint="are both of one model? see: worldkv models check")
