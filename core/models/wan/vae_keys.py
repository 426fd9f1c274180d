"""Names of tensors: official `Wan2.1_VAE.pth` to diffusers' AutoencoderKLWan."""

from __future__ import annotations

import re

_RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^conv1\.", "quant_conv."),
        (r"^conv2\.", "post_quant_conv."),
        (r"^(encoder|decoder)\.conv1\.", r"\1.conv_in."),
        (r"\.head\.0\.", ".norm_out."),
        (r"\.head\.2\.", ".conv_out."),
        (r"\.middle\.0\.", ".mid_block.resnets.0."),
        (r"\.middle\.1\.", ".mid_block.attentions.0."),
        (r"\.middle\.2\.", ".mid_block.resnets.1."),
        (r"\.residual\.0\.", ".norm1."),
        (r"\.residual\.2\.", ".conv1."),
        (r"\.residual\.3\.", ".norm2."),
        (r"\.residual\.6\.", ".conv2."),
        (r"\.shortcut\.", ".conv_shortcut."),
        (r"\.downsamples\.", ".down_blocks."),
    )
)
_UPSAMPLE = re.compile(r"\.upsamples\.(\d+)\.")


def diffusers_key(official: str, *, num_res_blocks: int) -> str:
    """The name that diffusers gives to a tensor of the official checkpoint.

    The encoder's list stays flat; the decoder's (a stage's residual blocks, then its upsampler) is folded.

    Args:
        official: A name of the official checkpoint.
        num_res_blocks: Residual blocks of an encoder stage; the decoder's have one more.
    """

    def stage(found: re.Match[str]) -> str:
        block, index = divmod(int(found[1]), num_res_blocks + 2)
        part = f"resnets.{index}" if index <= num_res_blocks else "upsamplers.0"
        return f".up_blocks.{block}.{part}."

    name = _UPSAMPLE.sub(stage, official)
    for pattern, replacement in _RULES:
        name = pattern.sub(replacement, name)
    return name
