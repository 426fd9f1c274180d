"""The tiny Matrix-Game-2.0 of the golden data: regenerated weights and inputs.

`tests/golden/matrix_game` holds numbers that the reference implementation produced at a tiny size in float32.
"""

from __future__ import annotations

import json
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

FOLDER = Path(__file__).parent / "golden" / "matrix_game"
MANIFEST = json.loads((FOLDER / "manifest.json").read_text())


def frozen(name: str) -> torch.Tensor:
    """A tensor regenerated from its name; see the manifest's `rng`."""
    entry = MANIFEST["tensors"][name]
    if entry["kind"] == "sum":
        return sum(frozen(part) for part in entry["parts"])
    drawn = entry.get("name", name)
    seed = zlib.crc32(f"{MANIFEST['seed']}:{drawn}".encode()) & 0xFFFFFFFF
    source, shape = np.random.RandomState(seed), entry["shape"]
    if entry["kind"] == "normal":
        values = source.standard_normal(shape).astype(np.float32)
        values = values * np.float32(entry.get("scale", 1)) + np.float32(entry.get("offset", 0))
    else:
        u = source.random_sample(shape)
        values = {
            "uniform": lambda: np.float32(entry["low"] + (entry["high"] - entry["low"]) * u),
            "bernoulli": lambda: np.float32(u > entry["threshold"]),
            "ternary": lambda: np.float32(np.floor(3 * u) - 1) * np.float32(entry.get("scale", 1)),
        }[entry["kind"]]()
    np.testing.assert_allclose(values.ravel()[:2], entry["first"], rtol=1e-6)
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


@cache
def golden(file: str) -> dict[str, torch.Tensor]:
    """Stored tensors: `runs`, `units` or `trace`."""
    return load_file(FOLDER / f"{file}.safetensors")
