"""views.jsonl: where the camera was and which tokens were kept, one line a chunk, for pictures of a run."""

from __future__ import annotations

import base64
import json
import logging
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import numpy as np
from jaxtyping import Float64, Integer, UInt8
from pydantic import ValidationError

from core.errors import InputError, OutputError
from core.memory.viewpoints import Viewpoints
from core.outputs import write_atomic
from core.schemas.view import ChunkView

logger = logging.getLogger(__name__)

SCHEMA_PATH: Final = Path(__file__).parent / "schemas" / "view.schema.json"
WHOLE: Final = 255
"""Of a token that every layer stores."""


@dataclass(frozen=True, eq=False)
class View:
    """A line of the log, unpacked.

    Attributes:
        chunk: The chunk.
        fov_deg: Horizontal field of view.
        cameras: Camera-to-world of its video frames, as the trajectory has it.
        viewpoints: The same of its latent frames, as the memory takes it.
        kept: Share of layers that store each token, in 255ths.
    """

    chunk: int
    fov_deg: float
    cameras: Float64[np.ndarray, "frames 4 4"]
    viewpoints: Float64[np.ndarray, "latent_frames 4 4"]
    kept: UInt8[np.ndarray, "latent_frames rows cols"]


def chunk_view(
    viewpoints: Viewpoints,
    chunk: int,
    cameras: Float64[np.ndarray, "frames 4 4"],
    kept_counts: Integer[np.ndarray, " tokens"],
    num_layers: int,
    *,
    batch: int = 1,
) -> ChunkView:
    """The line of a chunk.

    Args:
        viewpoints: Cameras of all latent frames.
        chunk: The chunk.
        cameras: Camera-to-world of its video frames.
        kept_counts: In how many layers each of its tokens is stored.
        num_layers: Layers there are.
        batch: Over how many worlds the counts are summed.

    Raises:
        InputError: A token is counted more often than there are layers and worlds.
    """
    places, most = num_layers * batch, int(kept_counts.max(initial=0))
    if most > places:
        raise InputError(f"a token is stored {most} times in {num_layers} layers of {batch} worlds")
    latent = viewpoints.frames_of(chunk)
    fx_px = float(viewpoints.intrinsics[latent.start, 0])
    fov_deg = 2 * float(np.degrees(np.arctan(viewpoints.image_size[0] / 2 / fx_px)))
    shares = -(-kept_counts.astype(np.int64) * WHOLE // places)  # rounded up: one layer of many is not none
    return ChunkView(
        chunk=chunk,
        grid=viewpoints.grid,
        fov_deg=round(fov_deg, 3),
        cameras=_pack(cameras[:, :3]),
        viewpoints=_pack(viewpoints.c2w[latent.start : latent.stop, :3]),
        kept=pack_bytes(shares.astype(np.uint8).tobytes()),
    )


class ViewLog:
    """views.jsonl, as it grows. The file appears with the first chunk.

    Args:
        path: The file; what it held is lost.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def append(self, view: ChunkView) -> None:
        """Write one more chunk; a crash loses at most one line.

        Raises:
            OutputError: The disk is full, for example.
        """
        try:
            if self._file is None:
                self._file = self.path.open("wb", buffering=0)
            self._file.write(view.model_dump_json().encode() + b"\n")
        except OSError as error:
            hint = "free some space, or choose another --out"
            problem = f"the log of views cannot be written: {error.strerror}"
            raise OutputError(problem, where=str(self.path), hint=hint) from error

    def __enter__(self) -> ViewLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def read_views(path: Path) -> Iterator[View]:
    """The lines of a views.jsonl, one at a time. A last line that a crash tore is left out.

    Raises:
        InputError: The file cannot be read, or a line is damaged.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        problem = f"the log of views cannot be read: {error.strerror}"
        raise InputError(problem, where=str(path)) from error
    with file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                logger.warning("%s:%d is torn and left out", path, number)
                return
            try:
                yield _unpacked(ChunkView.model_validate_json(line))
            except (ValidationError, ValueError, zlib.error) as error:
                said = str(error).splitlines()[0]
                raise InputError(f"the log of views is damaged: {said}", where=f"{path}:{number}") from error


def view_json_schema() -> dict[str, Any]:
    """The JSON Schema of a line, as committed in `core/schemas/view.schema.json`."""
    schema = ChunkView.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def write_view_json_schema() -> None:
    """Bring the committed schema up to date after a change to `core/schemas/view.py`."""
    write_atomic(SCHEMA_PATH, json.dumps(view_json_schema(), indent=2) + "\n")


def pack_bytes(data: bytes) -> str:
    """Base64 of zlib, as the arrays of a line are."""
    return base64.b64encode(zlib.compress(data, 9)).decode()


def _pack(matrices: Float64[np.ndarray, "frames 3 4"]) -> str:
    return pack_bytes(matrices.astype("<f8").tobytes())


def _unpacked(view: ChunkView) -> View:
    viewpoints = _matrices(view.viewpoints)
    kept = np.frombuffer(zlib.decompress(base64.b64decode(view.kept)), np.uint8)
    return View(
        chunk=view.chunk,
        fov_deg=view.fov_deg,
        cameras=_matrices(view.cameras),
        viewpoints=viewpoints,
        kept=kept.reshape(len(viewpoints), *view.grid),
    )


def _matrices(packed: str) -> Float64[np.ndarray, "frames 4 4"]:
    rows = np.frombuffer(zlib.decompress(base64.b64decode(packed)), "<f8").reshape(-1, 3, 4)
    c2w = np.tile(np.eye(4), (len(rows), 1, 1))
    c2w[:, :3] = rows
    return c2w
