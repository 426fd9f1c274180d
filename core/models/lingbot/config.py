"""LingBot's sizes, read off the shapes of its tensors: `config.json` may be missing, empty or lack keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from core.errors import ModelFilesError
from core.models.checkpoint import sizes
from core.models.checkpoint.sizes import Recorded
from core.models.checkpoint.stored import Shape
from core.models.wan.config import WanConfig

TEXT_TOKENS = 512
MASK_CHANNELS = 4
CELL_FEATURES = 64 * 4  # pixels of a latent cell times the cells of a token
RAY_COMPONENTS = 6  # origin and direction of a pixel's ray
ACTION_COMPONENTS = 7  # direction and four keys, in checkpoints that are steered by actions

_MAP_HINT = "check --model and --checkpoint"
_FETCH_HINT = "fetch the checkpoint again"
_CAMERA = "patch_embedding_wancamctrl.weight"
_TELLING = (
    "patch_embedding.weight",
    "time_embedding.0.weight",
    "text_embedding.0.weight",
    "blocks.0.ffn.0.weight",
    "head.head.weight",
    _CAMERA,
)
_STRANGERS = (
    ("action_model.", "a network steered by keys and mouse, such as Matrix-Game's"),
    ("img_emb.", "an image-to-video network with CLIP features, not LingBot"),
    (
        "condition_embedder.",
        "a Wan network under the names of diffusers, which LingBot's releases do not use",
    ),
    ("transformer_blocks.", "some other diffusion transformer"),
)


def read_recorded(folder: Path) -> Recorded:
    """What `config.json` says; nothing if it is missing or empty.

    Raises:
        ModelFilesError: It cannot be read, or a value in it cannot be right.
    """
    return sizes.read_recorded(folder, owner="LingBot")


def infer_config(
    shapes: Mapping[str, Shape], recorded: Recorded | None = None, *, where: str = "transformer"
) -> WanConfig:
    """The network that tensors of these shapes belong to.

    Whether all tensors are there is not looked at: compare with the network's own afterwards.

    Args:
        shapes: Shape of every tensor by name.
        recorded: What `config.json` says.
        where: The file, for errors.

    Raises:
        ModelFilesError: They belong to something else, or do not tell.
    """
    recorded = recorded or Recorded()
    _refuse_strangers(shapes, where)
    patch, time, text, ffn, head, camera = (shapes[name] for name in _TELLING)
    if len(patch) != 5 or patch[2:] != (1, 2, 2) or any(len(s) != 2 for s in (time, text, ffn, head, camera)):
        raise _not_lingbot(f"patch_embedding.weight is {list(patch)}, head.head.weight {list(head)}", where)
    _check_camera(camera[1], where)
    dim, in_channels, out_channels = patch[0], patch[1], head[0] // 4
    if in_channels != 2 * out_channels + MASK_CHANNELS:
        reason = (
            f"its input has {in_channels} channels, not the {2 * out_channels + MASK_CHANNELS} of "
            f"{out_channels} latent channels, a mask and a picture"
        )
        raise _not_lingbot(reason, where)
    return WanConfig(
        dim=dim,
        ffn_dim=ffn[0],
        num_heads=sizes.num_heads(dim, recorded, where=where),
        num_layers=sizes.num_layers(shapes, where=where),
        in_channels=in_channels,
        out_channels=out_channels,
        freq_dim=time[1],
        text_dim=text[1],
        text_tokens=recorded.text_tokens or TEXT_TOKENS,
        camera_features=RAY_COMPONENTS * CELL_FEATURES,
        camera_injection="after_attention",
    )


def _refuse_strangers(shapes: Mapping[str, Shape], where: str) -> None:
    for word, what in _STRANGERS:
        if any(name.startswith(word) or f".{word}" in name for name in shapes):
            raise _not_lingbot(what, where)
    missing = [name for name in _TELLING if name not in shapes]
    if len(missing) == len(_TELLING):
        raise _not_lingbot("none of LingBot's tensors is there", where)
    if missing == [_CAMERA]:
        reason = (
            "it has no camera layers (patch_embedding_wancamctrl): a base network such as the experts "
            "high_noise_model and low_noise_model, which take many steps and see both ways in time"
        )
        raise _not_lingbot(reason, where)
    if missing:
        problem = f"tensors that tell the network's size are missing: {', '.join(missing)}"
        raise ModelFilesError(problem, where=where, hint=_FETCH_HINT)


def _check_camera(features: int, where: str) -> None:
    components = features / CELL_FEATURES
    if components == ACTION_COMPONENTS:
        reason = (
            f"it is steered by actions ({ACTION_COMPONENTS} components a pixel); "
            "only camera-steered checkpoints can be run"
        )
        raise _not_lingbot(reason, where)
    if components != RAY_COMPONENTS:
        raise _not_lingbot(f"its camera layer takes {features} features, not a ray for every pixel", where)


def _not_lingbot(reason: str, where: str) -> ModelFilesError:
    problem = f"these are no weights of LingBot-World-Fast: {reason}"
    return ModelFilesError(problem, where=where, hint=_MAP_HINT)
