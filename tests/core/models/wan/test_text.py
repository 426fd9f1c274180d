"""A prompt from words to what the world model gets."""

import gc
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from torch import nn

from core.errors import InputError, ModelFilesError
from core.models.wan import text as module
from core.models.wan.text import TextFiles, encode_prompt
from core.models.wan.text_encoder import load_encoder, run_encoder
from core.models.wan.text_tokens import load_tokenizer
from tests.tiny_text import TINY, random_tensors, write_text, write_text_encoder

PROMPT = "the castle  over\nthe quiet town &amp;amp; snow"
F32 = {"device": "cpu", "dtype": torch.float32}


@pytest.fixture
def files(tmp_path: Path) -> TextFiles:
    return write_text(tmp_path / "model")


@pytest.fixture
def loads(monkeypatch) -> list[weakref.ref[nn.Module]]:
    """Encoders that were loaded."""
    seen: list[weakref.ref[nn.Module]] = []

    def load(*args, **kwargs) -> nn.Module:
        encoder = load_encoder(*args, **kwargs)
        seen.append(weakref.ref(encoder))
        return encoder

    monkeypatch.setattr(module, "load_encoder", load)
    return seen


@pytest.mark.parametrize("layout", ["raw", "diffusers"])
def test_a_prompt_is_cleaned_tokenized_and_encoded(tmp_path: Path, layout: str) -> None:
    files = write_text(tmp_path, layout=layout)
    context = encode_prompt(PROMPT, files, **F32)
    ids = load_tokenizer(files.tokenizer).ids("the castle over the quiet town & snow")
    encoder = load_encoder(files.weights, device=torch.device("cpu"), dtype=torch.float32)
    expected = run_encoder(encoder, ids, max_tokens=512, device=torch.device("cpu"))
    assert context.shape == (1, len(ids), TINY.dim)
    torch.testing.assert_close(context, expected, atol=0, rtol=0)


def test_an_empty_prompt_is_one_token(files: TextFiles) -> None:
    assert encode_prompt("", files, **F32).shape == (1, 1, TINY.dim)


def test_a_cut_prompt_is_announced_from_the_cache_too(files: TextFiles, tmp_path: Path, caplog) -> None:
    for _ in range(2):
        caplog.clear()
        context = encode_prompt("a castle over a hill", files, **F32, max_tokens=4, cache_dir=tmp_path)
        assert context.shape == (1, 4, TINY.dim)
        assert caplog.messages == ["the prompt has 6 tokens: only the first 4 are used"]
    caplog.clear()
    encode_prompt("a castle over a hill", files, **F32, max_tokens=6, cache_dir=tmp_path)
    assert caplog.messages == []


def test_nothing_keeps_the_encoder(files: TextFiles, loads: list) -> None:
    gc.disable()
    try:
        context = encode_prompt(PROMPT, files, **F32)
        assert [ref() for ref in loads] == [None]
    finally:
        gc.enable()
    assert not context.requires_grad


def test_a_hit_is_equal_and_loads_nothing(files: TextFiles, loads: list, tmp_path: Path) -> None:
    first = encode_prompt(PROMPT, files, **F32, cache_dir=tmp_path / "cache")
    again = encode_prompt(f" {PROMPT} ", files, **F32, cache_dir=tmp_path / "cache")
    assert torch.equal(first, again)
    assert len(loads) == 1
    encode_prompt("snow", files, **F32, cache_dir=tmp_path / "cache")
    encode_prompt(PROMPT, files, **F32)
    assert len(loads) == 3


def test_other_weights_are_no_hit(files: TextFiles, tmp_path: Path) -> None:
    first = encode_prompt(PROMPT, files, **F32, cache_dir=tmp_path)
    write_text_encoder(files.weights.parent, tensors=random_tensors(TINY, seed=1))
    assert not torch.allclose(encode_prompt(PROMPT, files, **F32, cache_dir=tmp_path), first)


def test_a_cache_that_cannot_be_written_does_not_fail_the_run(
    files: TextFiles, tmp_path: Path, caplog
) -> None:
    (tmp_path / "file").touch()
    context = encode_prompt(PROMPT, files, **F32, cache_dir=tmp_path / "file" / "cache")
    assert torch.equal(context, encode_prompt(PROMPT, files, **F32))
    assert "not cached" in caplog.text


def test_in_a_fresh_process_it_is_quiet_and_a_hit_imports_no_transformers(
    files: TextFiles, tmp_path: Path
) -> None:
    code = (
        "import sys, torch; from pathlib import Path\n"
        "from core.models.wan.text import TextFiles, encode_prompt\n"
        f"files = TextFiles(Path({str(files.weights)!r}), Path({str(files.tokenizer)!r}))\n"
        f"got = encode_prompt({PROMPT!r}, files, device='cpu', dtype=torch.float32,"
        f" cache_dir=Path({str(tmp_path / 'cache')!r}))\n"
        "print(tuple(got.shape)[0], sorted(set(sys.modules) & {'transformers', 'tokenizers'}))"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
        )
        for _ in range(2)
    ]
    assert [run.stderr for run in runs] == ["", ""]
    assert [run.stdout for run in runs] == ["1 ['tokenizers', 'transformers']\n", "1 []\n"]


def test_numbers_that_are_not_finite_are_an_error(files: TextFiles, tmp_path: Path) -> None:
    damaged = random_tensors(TINY)
    damaged["blocks.1.attn.v.weight"][3, 4] = torch.nan
    write_text_encoder(files.weights.parent, tensors=damaged)
    with pytest.raises(ModelFilesError, match="not finite in float32") as error:
        encode_prompt(PROMPT, files, **F32, cache_dir=tmp_path / "cache")
    assert error.value.where == str(files.weights)
    assert not (tmp_path / "cache").exists()


def test_float16_that_overflows_says_what_to_take(files: TextFiles) -> None:
    large = {key: 300 * tensor for key, tensor in random_tensors(TINY).items()}
    write_text_encoder(files.weights.parent, tensors=large)
    with pytest.raises(ModelFilesError, match="not finite in float16") as error:
        encode_prompt(PROMPT, files, device="cpu", dtype=torch.float16)
    assert "bfloat16 or float32" in error.value.hint


def test_no_room_for_a_token_is_refused(files: TextFiles) -> None:
    with pytest.raises(InputError, match="at least 1, got 0"):
        encode_prompt(PROMPT, files, **F32, max_tokens=0)
