import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def frames() -> np.ndarray:
    """40 frames of 64x48: a picture that moves and has colours that tell RGB from BGR."""
    y, x = np.mgrid[:48, :64]
    return np.stack(
        [np.stack([(3 * x + 2 * t) % 256, (5 * y) % 256, np.full_like(x, 40 + t)], -1) for t in range(40)]
    ).astype(np.uint8)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root; test_full_disk_without_root covers the same path")
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.decode()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
