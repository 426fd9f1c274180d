"""The text encoder against golden numbers, against the formulas, and what it holds in memory."""

import ctypes
import math
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from core.errors import ModelFilesError
from core.models.wan.text_config import TextConfig, text_bytes
from core.models.wan.text_encoder import empty_encoder, load_encoder, run_encoder
from tests.core.models.wan.live_bytes import LiveBytes
from tests.golden_lingbot import MANIFEST, golden
from tests.tiny_text import TINY, frozen_tensors, random_tensors, write_text_encoder

CPU = torch.device("cpu")
VALID = 140  # of the golden ids
FROZEN = frozen_tensors()


def golden_ids() -> torch.Tensor:
    entry = MANIFEST["tensors"]["unit.t5.ids"]
    seed = zlib.crc32(f"{MANIFEST['seed']}:unit.t5.ids".encode()) & 0xFFFFFFFF
    ids = np.floor(entry["n"] * np.random.RandomState(seed).random_sample(entry["shape"])).astype(np.int64)
    assert zlib.crc32(ids.tobytes()) == entry["crc32"]
    return torch.from_numpy(ids)[0]


def written_out(ids: torch.Tensor, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """The golden README's section 12, word for word, without padding and mask."""

    def norm(x, key):
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weights[key]

    def bucket(rel):
        a = abs(rel)
        return 16 * (rel > 0) + (a if a < 8 else min(15, 8 + math.floor(8 * math.log(a / 8) / math.log(16))))

    n = len(ids)
    table = torch.tensor([[bucket(key - query) for key in range(n)] for query in range(n)])
    x = weights["token_embedding.weight"][ids]
    for layer in range(TINY.num_layers):
        w = {k.split(".", 2)[2]: t for k, t in weights.items() if k.startswith(f"blocks.{layer}.")}
        z = norm(x, f"blocks.{layer}.norm1.weight")
        q, k, v = (F.linear(z, w[f"attn.{p}.weight"]).view(n, TINY.num_heads, -1) for p in "qkv")
        scores = torch.einsum("qhd,khd->hqk", q, k)
        scores += w["pos_embedding.embedding.weight"][table].permute(2, 0, 1)
        out = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).flatten(1)
        x = x + F.linear(out, w["attn.o.weight"])
        z = norm(x, f"blocks.{layer}.norm2.weight")
        gate = F.gelu(F.linear(z, w["ffn.gate.0.weight"]), approximate="tanh")
        x = x + F.linear(F.linear(z, w["ffn.fc1.weight"]) * gate, w["ffn.fc2.weight"])
    return norm(x, "norm.weight")


@pytest.fixture(params=["raw", "diffusers", "shards"])
def weights(request, tmp_path: Path) -> Path:
    layout = "raw" if request.param == "raw" else "diffusers"
    shards = 3 if request.param == "shards" else 1
    return write_text_encoder(tmp_path, layout=layout, tensors=FROZEN, dtype=torch.float32, num_shards=shards)


def test_golden_output(weights: Path) -> None:
    encoder = load_encoder(weights, device=CPU, dtype=torch.float32)
    output = run_encoder(encoder, golden_ids()[:VALID].tolist(), max_tokens=160, device=CPU)
    tolerance = MANIFEST["tolerance"]["text_encoder"]
    torch.testing.assert_close(output[0], golden("units")["t5.out"], atol=tolerance, rtol=0)


def test_the_formulas_are_what_transformers_computes(tmp_path: Path) -> None:
    encoder = load_encoder(
        write_text_encoder(tmp_path, tensors=FROZEN, dtype=torch.float32), device=CPU, dtype=torch.float32
    )
    ids = golden_ids()[:VALID]
    output = run_encoder(encoder, ids.tolist(), max_tokens=160, device=CPU)
    expected = written_out(ids, FROZEN)
    torch.testing.assert_close(output[0], expected, atol=5e-5, rtol=0)
    torch.testing.assert_close(golden("units")["t5.out"], expected, atol=5e-5, rtol=0)


def test_padding_changes_nothing(tmp_path: Path) -> None:
    path = write_text_encoder(tmp_path)
    encoder = load_encoder(path, device=CPU, dtype=torch.float32)
    bare, padded = (run_encoder(encoder, [5, 9, 60, 1], max_tokens=n, device=CPU) for n in (4, 300))
    assert padded.shape == (1, 4, TINY.dim)
    torch.testing.assert_close(padded, bare, atol=2e-5, rtol=0)
    assert padded.untyped_storage().nbytes() == padded.nbytes  # the padding's memory is not kept


def test_precision_is_asked_for_not_stored(tmp_path: Path) -> None:
    path = write_text_encoder(tmp_path, dtype=torch.bfloat16)
    encoder = load_encoder(path, device=CPU, dtype=torch.float32)
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    narrow = load_encoder(path, device=CPU, dtype=torch.bfloat16)
    assert {p.dtype for p in narrow.parameters()} == {torch.bfloat16}
    assert run_encoder(narrow, [5, 1], max_tokens=8, device=CPU).dtype == torch.bfloat16


def test_the_embedding_is_held_once(tmp_path: Path) -> None:
    encoder = load_encoder(write_text_encoder(tmp_path), device=CPU, dtype=torch.float32)
    assert encoder.encoder.embed_tokens.weight is encoder.shared.weight
    assert sum(p.numel() for p in encoder.parameters()) == TINY.num_parameters
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not encoder.training


def test_a_missing_transformers_is_named(tmp_path: Path, monkeypatch) -> None:
    path = write_text_encoder(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelFilesError, match="transformers") as error:
        load_encoder(path, device=CPU, dtype=torch.float32)
    assert error.value.hint == 'pip install "worldkv[wan]"'


WIDE = TextConfig(vocab_tokens=400_000, dim=32, num_heads=4, head_dim=8, ffn_dim=64, num_layers=1)


libc = ctypes.CDLL(None)


def anonymous_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("layout", ["raw", "diffusers"])
def test_loading_holds_one_encoder(tmp_path: Path, layout: str) -> None:
    """Cast on the way, a file is never in memory beside the encoder; its mapped pages do not count."""
    path = write_text_encoder(tmp_path, layout=layout, config=WIDE, tensors=random_tensors(WIDE))
    load_encoder(path, device=CPU, dtype=torch.float32)  # imports
    libc.malloc_trim(0)  # what is free in the heap would hide what is taken anew
    peak, done = [anonymous_bytes()], threading.Event()
    before = peak[0]

    def watch() -> None:
        while not done.wait(0.0005):
            peak[0] = max(peak[0], anonymous_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    encoder = load_encoder(path, device=CPU, dtype=torch.float32)
    done.set()
    watcher.join()
    held = sum(p.nbytes for p in encoder.parameters())
    largest_on_disk = 2 * WIDE.vocab_tokens * WIDE.dim  # the reader's buffer for a shard
    buffer = largest_on_disk if layout == "diffusers" else 0
    grown = max(peak[0], anonymous_bytes()) - before
    assert grown < 1.2 * held + buffer


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("sizes", "max_tokens"),
    [
        ({"dim": 128, "num_heads": 8, "head_dim": 16, "ffn_dim": 320}, 256),
        ({"dim": 64, "num_heads": 16, "head_dim": 8, "ffn_dim": 2000}, 128),
    ],
)
def test_working_memory_is_estimated_from_above(sizes: dict, max_tokens: int, dtype: torch.dtype) -> None:
    config = TextConfig(vocab_tokens=50, num_layers=2, **sizes)
    encoder = empty_encoder(config).to_empty(device="cpu").to(dtype).requires_grad_(False).eval()
    with LiveBytes() as live:
        run_encoder(encoder, range(10), max_tokens=max_tokens, device=CPU)
    estimate = text_bytes(config, element_bytes=dtype.itemsize, max_tokens=max_tokens).working
    assert live.peak <= estimate <= 2.5 * live.peak
