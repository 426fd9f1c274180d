"""What Matrix-Game-2.0 consists of, and where to get it.

Everything lies in one repository, and is laid out in a folder as it is there:

    DIR/base_distilled_model/base_distill.safetensors                           variant universal
    DIR/gta_distilled_model/gta_keyboard2dim.safetensors                        variant gta_drive
    DIR/templerun_distilled_model/templerun_7dim_onlykey.safetensors            variant templerun
    DIR/Wan2.1_VAE.pth
    DIR/models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth

Not used: `base_model/`, which is not distilled, and the tokenizer `xlm-roberta-large/`.
Source: golden/matrix_game README, section 13.
"""

from __future__ import annotations

from typing import Final

from core.models.downloads import Download, Part
from core.models.matrix_game.config import MODEL, VARIANTS, Variant

REPO: Final = "Skywork/Matrix-Game-2.0"
HOME: Final = "Matrix-Game-2.0"
VAE_FILE: Final = "Wan2.1_VAE.pth"
CLIP_FILE: Final = "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"

_LICENCE: Final = "MIT"
_TAKEN_OVER: Final = "MIT in this repository; Wan 2.1, from which it is taken over: Apache-2.0"

# 1.5 to 1.6 G parameters in float32
_NETWORK_BYTES: Final = {"universal": 6_480_000_000, "gta_drive": 6_480_000_000, "templerun": 6_030_000_000}
_VAE_BYTES: Final = 507_600_000
_CLIP_BYTES: Final = 4_770_000_000  # with the text tower, which is not used


def _network(variant: Variant) -> Part:
    folder = variant.file.rpartition("/")[0]
    return Part(
        name=variant.name,
        repo=REPO,
        patterns=(variant.file, f"{folder}/config.json"),  # config.json may be missing
        approx_bytes=_NETWORK_BYTES[variant.name],
        licence=_LICENCE,
        home=HOME,
        variant=variant.name,
    )


def _shared(name: str, file: str, approx_bytes: int) -> Part:
    return Part(
        name=name, repo=REPO, patterns=(file,), approx_bytes=approx_bytes, licence=_TAKEN_OVER, home=HOME
    )


MATRIX_GAME: Final = Download(
    model=MODEL,
    layout="raw",
    parts=(
        *map(_network, VARIANTS),
        _shared("vae", VAE_FILE, _VAE_BYTES),
        _shared("clip", CLIP_FILE, _CLIP_BYTES),
    ),
)

DOWNLOADS: Final = (MATRIX_GAME,)
