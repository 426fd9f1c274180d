"""Matrix-Game-2.0's variants, and its sizes, read off the shapes of its tensors.

Source: golden/matrix_game README, section 13.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from core.errors import InputError, ModelFilesError
from core.models.checkpoint import sizes
from core.models.checkpoint.sizes import Recorded
from core.models.checkpoint.stored import Shape
from core.models.wan.config import ActionConfig, WanConfig

MODEL: Final = "matrix-game"
NUM_LAYERS: Final = 30  # of every released network
ACTION_HEAD_DIM: Final = 64
ACTION_WINDOW_FRAMES: Final = 12
MASK_CHANNELS: Final = 4


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One of the released networks: each knows one kind of world and its own keys.

    Attributes:
        name: The word for it on the command line.
        file: Path of its weights in the repository.
        keyboard_dim: Keys.
        mouse: Whether there is a mouse.
        window_frames: Latent frames that it attends to natively, the current chunk included.
        denoising_steps: Steps that it was distilled for, of 1000.
        action_layers: Blocks with an action module; in a network of fewer blocks any first few have one.
    """

    name: str
    file: str
    keyboard_dim: int
    mouse: bool
    window_frames: int
    denoising_steps: tuple[int, ...]
    action_layers: tuple[int, ...] = tuple(range(15))

    @property
    def controls(self) -> str:
        """What steers it, in words."""
        return controls_text(self.keyboard_dim, mouse=self.mouse)


VARIANTS: Final = (
    Variant(
        name="universal",
        file="base_distilled_model/base_distill.safetensors",
        keyboard_dim=4,
        mouse=True,
        window_frames=6,
        denoising_steps=(1000, 666, 333),
    ),
    Variant(
        name="gta_drive",
        file="gta_distilled_model/gta_keyboard2dim.safetensors",
        keyboard_dim=2,
        mouse=True,
        window_frames=4,
        denoising_steps=(1000, 666, 333),
    ),
    Variant(
        name="templerun",
        file="templerun_distilled_model/templerun_7dim_onlykey.safetensors",
        keyboard_dim=7,
        mouse=False,
        window_frames=6,
        denoising_steps=(1000, 750, 500, 250),
    ),
)
"""The usual one first."""

DEFAULT_VARIANT: Final = VARIANTS[0].name

_MAP_HINT: Final = "check --model and --checkpoint"
_FETCH_HINT: Final = "fetch the checkpoint again"
_ACTION: Final = "blocks.0.action_model"
_TELLING: Final = (
    "patch_embedding.weight",
    "time_embedding.0.weight",
    "img_emb.proj.1.weight",
    "blocks.0.ffn.0.weight",
    "head.head.weight",
    f"{_ACTION}.keyboard_embed.0.weight",
    f"{_ACTION}.keyboard_attn_kv.weight",
    f"{_ACTION}.mouse_attn_q.weight",
)
_STRANGERS: Final = (
    ("patch_embedding_wancamctrl.", "a network steered by cameras, such as LingBot's", "try --model lingbot"),
    ("condition_embedder.", "a Wan network under the names of diffusers", _MAP_HINT),
    ("transformer_blocks.", "some other diffusion transformer", _MAP_HINT),
    ("text_embedding.", "a network steered by text, such as Wan's own", _MAP_HINT),
)


def find_variant(name: str) -> Variant:
    """The variant of a name.

    Raises:
        InputError: There is none.
    """
    known = {variant.name: variant for variant in VARIANTS}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    hint = f"{meant}known: {', '.join(known)}"
    raise InputError(f"{MODEL} has no variant {name!r}", where="--variant", hint=hint)


def infer_variant(shapes: Mapping[str, Shape], *, where: str = "transformer") -> Variant:
    """The variant that tensors of these shapes belong to.

    Args:
        shapes: Shape of every tensor by the network's name.
        where: The file, for errors.

    Raises:
        ModelFilesError: They belong to something else.
    """
    _refuse_strangers(shapes, where)
    keys, mouse = _size(shapes, f"{_ACTION}.keyboard_embed.0.weight", 1, where), _has_mouse(shapes)
    for variant in VARIANTS:
        if (variant.keyboard_dim, variant.mouse) == (keys, mouse):
            return variant
    known = "; ".join(f"{variant.name}: {variant.controls}" for variant in VARIANTS)
    raise _not_matrix_game(
        f"steered by {controls_text(keys, mouse=mouse)}, as no variant is ({known})", where
    )


def infer_config(
    shapes: Mapping[str, Shape],
    variant: Variant,
    recorded: Recorded | None = None,
    *,
    where: str = "transformer",
) -> WanConfig:
    """The network that tensors of these shapes belong to.

    Whether all tensors are there is not looked at: compare with the network's own afterwards.

    Args:
        shapes: Shape of every tensor by the network's name.
        variant: The variant that it must be.
        recorded: What `config.json` says.
        where: The file, for errors.

    Raises:
        ModelFilesError: They belong to something else, or to another variant, or do not tell.
    """
    found = infer_variant(shapes, where=where)
    if found != variant:
        problem = (
            f"these are weights of {MODEL}'s variant {found.name} ({found.controls}), "
            f"not of {variant.name} ({variant.controls})"
        )
        raise ModelFilesError(problem, where=where, hint=f"--variant {found.name}")
    patch, num_layers = shapes["patch_embedding.weight"], sizes.num_layers(shapes, where=where)
    if len(patch) != 5 or patch[2:] != (1, 2, 2):
        raise _not_matrix_game(f"patch_embedding.weight is {list(patch)}", where)
    dim, in_channels = patch[:2]
    out_channels = _size(shapes, "head.head.weight", 0, where) // 4
    if in_channels != 2 * out_channels + MASK_CHANNELS:
        reason = (
            f"its input has {in_channels} channels, not the {2 * out_channels + MASK_CHANNELS} of "
            f"{out_channels} latent channels, a mask and a picture"
        )
        raise _not_matrix_game(reason, where)
    return WanConfig(
        dim=dim,
        ffn_dim=_size(shapes, "blocks.0.ffn.0.weight", 0, where),
        num_heads=sizes.num_heads(dim, recorded or Recorded(), where=where),
        num_layers=num_layers,
        in_channels=in_channels,
        out_channels=out_channels,
        freq_dim=_size(shapes, "time_embedding.0.weight", 1, where),
        image_dim=_size(shapes, "img_emb.proj.1.weight", 1, where),
        actions=_actions(shapes, variant, num_layers, where),
    )


def controls_text(keyboard_dim: int, *, mouse: bool) -> str:
    """What steers a network, in words."""
    return f"{keyboard_dim} keys and {'a' if mouse else 'no'} mouse"


def _actions(shapes: Mapping[str, Shape], variant: Variant, num_layers: int, where: str) -> ActionConfig:
    embedding = _size(shapes, f"{_ACTION}.keyboard_embed.0.weight", 0, where)
    window_features = _size(shapes, f"{_ACTION}.keyboard_attn_kv.weight", 1, where)
    hidden = _size(shapes, f"{_ACTION}.mouse_attn_q.weight", 0, where)
    if window_features != ACTION_WINDOW_FRAMES * embedding or not hidden or hidden % ACTION_HEAD_DIM:
        reason = (
            f"its action modules take {window_features} features of keys and are {hidden} wide, not "
            f"{ACTION_WINDOW_FRAMES} frames of {embedding} and heads of {ACTION_HEAD_DIM}"
        )
        raise _not_matrix_game(reason, where)
    layers = _action_layers(shapes)
    wanted = variant.action_layers if num_layers == NUM_LAYERS else tuple(range(len(layers)))
    if layers != wanted:
        lacking, extra = sorted(set(wanted) - set(layers)), sorted(set(layers) - set(wanted))
        faults = [f"blocks.{layer} has none" for layer in lacking] + [f"blocks.{n} has one" for n in extra]
        problem = f"action modules are not in the first {len(wanted)} of {num_layers} blocks: {faults[0]}"
        raise ModelFilesError(problem, where=where, hint=_FETCH_HINT)
    return ActionConfig(
        layers=layers,
        num_heads=hidden // ACTION_HEAD_DIM,
        head_dim=ACTION_HEAD_DIM,
        keyboard_dim=variant.keyboard_dim,
        keyboard_embedding=embedding,
        mouse=variant.mouse,
        window_frames=ACTION_WINDOW_FRAMES,
    )


def _refuse_strangers(shapes: Mapping[str, Shape], where: str) -> None:
    for word, what, hint in _STRANGERS:
        if any(name.startswith(word) for name in shapes):
            raise _not_matrix_game(what, where, hint)
    missing = [name for name in _TELLING if name not in shapes]
    if len(missing) == len(_TELLING):
        raise _not_matrix_game("none of its tensors is there", where)
    layers = _action_layers(shapes)
    if not layers:
        raise _not_matrix_game("it has no action modules, so that neither keys nor a mouse steer it", where)
    if len(layers) == sizes.num_layers(shapes, where=where):
        reason = (
            f"action modules are in all {len(layers)} blocks, as in base_model, which is not distilled: "
            "in the few steps of the sampler it makes noise"
        )
        raise _not_matrix_game(reason, where, f"give the folder that holds {VARIANTS[0].file}")
    if missing:
        problem = f"tensors that tell the network's size are missing: {', '.join(missing)}"
        raise ModelFilesError(problem, where=where, hint=_FETCH_HINT)


def _action_layers(shapes: Mapping[str, Shape]) -> tuple[int, ...]:
    """Blocks with an action module, ascending."""
    names = (name.split(".", 3) for name in shapes if name.startswith("blocks."))
    return tuple(sorted({int(n[1]) for n in names if n[2:3] == ["action_model"] and n[1].isdecimal()}))


def _has_mouse(shapes: Mapping[str, Shape]) -> bool:
    return any(name.startswith(f"{_ACTION}.mouse_mlp.") for name in shapes)


def _size(shapes: Mapping[str, Shape], name: str, axis: int, where: str) -> int:
    """An extent of a matrix."""
    shape = shapes[name]
    if len(shape) != 2:
        raise _not_matrix_game(f"{name} is {list(shape)}", where)
    return shape[axis]


def _not_matrix_game(reason: str, where: str, hint: str = _MAP_HINT) -> ModelFilesError:
    return ModelFilesError(f"these are no weights of Matrix-Game-2.0: {reason}", where=where, hint=hint)
