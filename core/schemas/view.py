"""The contents of views.jsonl, version 1: what pictures of a run need; `view.schema.json` is made from it.

One line a chunk, written before its line in chunks.jsonl. Arrays are base64 of zlib of plain numbers, since a
long rollout has millions of them: a chunk of 15 frames and 4,680 tokens takes 2 to 4 kB.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class ChunkView(BaseModel):
    """Cameras and kept tokens of one chunk."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    chunk: Annotated[int, Field(ge=0)]
    grid: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = Field(
        description="Rows and columns of tokens of a latent frame."
    )
    fov_deg: Annotated[float, Field(gt=0, lt=180)] = Field(description="Horizontal field of view.")
    cameras: str = Field(
        description="Camera-to-world of every video frame as the trajectory has it: base64 of zlib of "
        "little-endian float64, the upper three rows of each matrix."
    )
    viewpoints: str = Field(
        description="The same of every latent frame as the memory takes it: by dead reckoning if a model is "
        "steered by actions."
    )
    kept: str = Field(
        description="Of every token, in (frame, row, column) order, the share of layers that store it, in "
        "255ths: base64 of zlib of bytes. All 0: nobody will ask for the chunk."
    )
