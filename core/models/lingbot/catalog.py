"""What LingBot-World-Fast consists of, and where to get it.

The models use only what is named here: the repositories also hold the two bidirectional experts of the base
model (`high_noise_model/`, `low_noise_model/`), which are larger than the rest together.

In a folder of its own (`--to DIR`) the raw layout of the first version is what its authors' scripts expect:

    DIR/Wan2.1_VAE.pth
    DIR/models_t5_umt5-xxl-enc-bf16.pth
    DIR/google/umt5-xxl/...
    DIR/lingbot_world_fast/model-000NN-of-00016.safetensors and an index

and of the second version the same with `DIR/transformers/...` for the last line. In a folder of several
checkpoints (`WORLDKV_CHECKPOINTS`) every part lies in its `home`, so that both versions share VAE and text.
"""

from __future__ import annotations

from typing import Final

from core.models.downloads import Download, Part

_BASE: Final = "robbyant/lingbot-world-base-cam"
_FAST: Final = "robbyant/lingbot-world-fast"
_DIFFUSERS: Final = "robbyant/lingbot-world-fast-diffusers"
_V2: Final = "robbyant/lingbot-world-v2-14b-causal-fast"

_BASE_HOME: Final = "lingbot-world-base-cam"
_DIFFUSERS_HOME: Final = "lingbot-world-fast-diffusers"

_V1_LICENCE: Final = "Apache-2.0"
_FAST_LICENCE: Final = "Apache-2.0 for the project; this repository's card could not be read, check it"
_V2_LICENCE: Final = "CC BY-NC-SA 4.0: no commercial use"

_TRANSFORMER_BYTES: Final = 74_200_000_000  # 18.5 G parameters in float32
_VAE_BYTES: Final = 507_600_000
_TEXT_ENCODER_BYTES: Final = 11_360_000_000
_TOKENIZER_BYTES: Final = 21_000_000

_VAE: Final = Part(
    name="vae",
    repo=_BASE,
    patterns=("Wan2.1_VAE.pth",),
    approx_bytes=_VAE_BYTES,
    licence=_V1_LICENCE,
    home=_BASE_HOME,
)
_TEXT_ENCODER: Final = Part(
    name="text_encoder",
    repo=_BASE,
    patterns=("models_t5_umt5-xxl-enc-bf16.pth",),
    approx_bytes=_TEXT_ENCODER_BYTES,
    licence=_V1_LICENCE,
    home=_BASE_HOME,
)
_TOKENIZER: Final = Part(
    name="tokenizer",
    repo=_BASE,
    patterns=("google/umt5-xxl/*",),
    approx_bytes=_TOKENIZER_BYTES,
    licence=_V1_LICENCE,
    home=_BASE_HOME,
)

LINGBOT: Final = Download(
    model="lingbot",
    layout="raw",
    parts=(
        Part(
            name="transformer",
            repo=_FAST,
            # The shards do not carry the index's name, hence both patterns. config.json may be missing.
            patterns=("*.safetensors", "*.safetensors.index.json", "config.json"),
            approx_bytes=_TRANSFORMER_BYTES,
            licence=_FAST_LICENCE,
            home=_BASE_HOME,
            target="lingbot_world_fast",
        ),
        _VAE,
        _TEXT_ENCODER,
        _TOKENIZER,
    ),
)

LINGBOT_V2: Final = Download(
    model="lingbot-v2",
    layout="raw",
    parts=(
        Part(
            name="transformer",
            repo=_V2,
            patterns=(
                "transformers/*.safetensors",
                "transformers/*.safetensors.index.json",
                "transformers/config.json",
            ),
            approx_bytes=_TRANSFORMER_BYTES,
            licence=_V2_LICENCE,
            home="lingbot-world-v2-14b-causal-fast",
        ),
        _VAE,
        _TEXT_ENCODER,
        _TOKENIZER,
    ),
)


def _folder_part(name: str, approx_bytes: int) -> Part:
    return Part(
        name=name,
        repo=_DIFFUSERS,
        patterns=(f"{name}/*",),
        approx_bytes=approx_bytes,
        licence=_FAST_LICENCE,
        home=_DIFFUSERS_HOME,
    )


LINGBOT_DIFFUSERS: Final = Download(
    model="lingbot",
    layout="diffusers",
    parts=(
        _folder_part("transformer", _TRANSFORMER_BYTES),
        _folder_part("vae", _VAE_BYTES),
        _folder_part("text_encoder", _TEXT_ENCODER_BYTES),
        _folder_part("tokenizer", _TOKENIZER_BYTES),
    ),
)

DOWNLOADS: Final = (LINGBOT, LINGBOT_DIFFUSERS, LINGBOT_V2)
