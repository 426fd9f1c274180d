"""Loading never needs much more memory than what is loaded, wherever the weights go."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.models.wan.config import WanConfig
from tests.tiny_lingbot import random_tensors, write_checkpoint

CONFIG = WanConfig(
    dim=512,
    ffn_dim=1536,
    num_heads=4,
    num_layers=8,
    in_channels=36,
    out_channels=16,
    freq_dim=256,
    text_dim=64,
    camera_features=1536,
    camera_injection="after_attention",
)
"""42 M parameters: 166 MB on disk in float32, 83 MB in bfloat16."""

SLACK_BYTES = 24_000_000
"""The largest tensor on disk, in float32 and cast, and what the allocator does not give back."""

MEASURE = """
import gc, sys, torch
from pathlib import Path
from core.models.lingbot.transformer import load_transformer, open_transformer
from core.models.wan.weights import held_bytes
from core.models.wan.weights_placement import WeightPlacement, placement_bytes
from core.models.wan.weights_quantised import quantise

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

torch.set_num_threads(1)
files, cpu = open_transformer(Path(sys.argv[1])), torch.device("cpu")
quantise(torch.randn(64, 64, dtype=torch.bfloat16), "int8")  # imports a hundred megabytes
for placement in (
    WeightPlacement(),
    WeightPlacement(resident_blocks=0),
    WeightPlacement(quantisation="int8"),
):
    takes = placement_bytes(files.config, torch.bfloat16, placement)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = status("VmRSS")
    network = load_transformer(files, device=cpu, dtype=torch.bfloat16, placement=placement)
    held = held_bytes(network)
    after = status("VmRSS") - before
    print(status("VmHWM") - before, after, takes.device + takes.host, held.device + held.host)
    del network
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel tells of no peak")
def test_peak(tmp_path: Path) -> None:
    tensors = random_tensors(CONFIG)
    write_checkpoint(tmp_path, config=CONFIG, tensors=tensors, parts=["transformer"], num_shards=4)
    folder = tmp_path / "lingbot_world_fast"
    on_disk = sum(file.stat().st_size for file in folder.iterdir())
    assert on_disk > 160e6
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        # As it is for tensors of a real model, all larger than 32 MB: what is freed goes back to the system.
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"},
    )
    measured = dict(zip(("resident", "streamed", "int8"), done.stdout.splitlines(), strict=True))
    for placement, told in measured.items():
        peak, after, planned, held = map(int, told.split())
        said = f"{placement}: {peak:,} at the peak, {after:,} stay, {planned:,} are planned"
        assert held == planned, said
        assert (planned < 50e6) is (placement == "int8"), said
        assert 0.9 * planned < after < planned + SLACK_BYTES / 2, said
        assert peak < planned + SLACK_BYTES < on_disk, said
