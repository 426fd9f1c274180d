"""The image tower against golden numbers and formulas, and what it reads and holds."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from core.errors import ModelFilesError
from core.models.wan import clip_encoder as module
from core.models.wan.clip import ClipConfig, check_clip_files, clip_bytes
from core.models.wan.clip_encoder import empty_encoder, load_encoder, prepare_picture, run_encoder
from tests.core.models.wan.live_bytes import LiveBytes
from tests.golden_matrix_game import frozen
from tests.tiny_clip import TINY, random_tensors, strangers, tower_of_width, write_clip

CPU = torch.device("cpu")


def load(path: Path, dtype: torch.dtype = torch.float32, num_heads: int | None = None) -> torch.nn.Module:
    return load_encoder(check_clip_files(path, num_heads=num_heads), device=CPU, dtype=dtype)


def written_out(picture: torch.Tensor, config: ClipConfig, w: dict[str, torch.Tensor]) -> torch.Tensor:
    """The golden README's section 11, word for word, from a prepared picture."""

    def norm(x, key):
        return F.layer_norm(x, x.shape[-1:], w[f"{key}.weight"], w[f"{key}.bias"], 1e-5)

    def lin(x, key):
        return x @ w[f"{key}.weight"].T + w[f"{key}.bias"]

    patches = F.unfold(picture, config.patch_px, stride=config.patch_px)[0].T
    patches = patches @ w["visual.patch_embedding.weight"].flatten(1).T
    x = torch.cat([w["visual.cls_embedding"][0], patches]) + w["visual.pos_embedding"][0]
    x = norm(x, "visual.pre_norm")
    for layer in range(config.num_layers - 1):
        block = f"visual.transformer.{layer}"
        parts = lin(norm(x, f"{block}.norm1"), f"{block}.attn.to_qkv").chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (config.num_heads, -1)).transpose(0, 1) for part in parts)
        scores = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
        x = x + lin((scores @ v).transpose(0, 1).flatten(1), f"{block}.attn.proj")
        hidden = F.gelu(lin(norm(x, f"{block}.norm2"), f"{block}.mlp.0"))
        x = x + lin(hidden, f"{block}.mlp.2")
    return x


@pytest.mark.parametrize("layout", ["official", "nested"])
def test_the_formulas_are_what_the_library_computes(tmp_path: Path, layout: str) -> None:
    config = ClipConfig(dim=160, num_heads=2, mlp_dim=48, num_layers=4, image_px=12, patch_px=4)
    tensors = random_tensors(config)
    encoder = load(write_clip(tmp_path, layout, config=config, tensors=tensors))
    picture = torch.rand((1, 3, 12, 12), generator=torch.Generator().manual_seed(1)) * 2 - 1
    tokens = run_encoder(encoder, picture, config=config)
    expected = written_out(prepare_picture(picture, side_px=12), config, tensors)
    torch.testing.assert_close(tokens[0], expected, atol=2e-5, rtol=0)


def test_a_picture_of_one_colour_stays_one() -> None:
    picture = torch.tensor([1.0, 0.0, -1.0])[None, :, None, None].expand(1, 3, 30, 50)
    prepared = prepare_picture(picture, side_px=28)
    assert prepared.shape == (1, 3, 28, 28)
    red, green, blue = (1 - 0.48145466) / 0.26862954, (0.5 - 0.4578275) / 0.26130258, -0.40821073 / 0.27577711
    expected = torch.tensor([red, green, blue])[None, :, None, None].expand_as(prepared)
    torch.testing.assert_close(prepared, expected, atol=2e-6, rtol=0)


def test_a_picture_of_the_right_size_is_not_blurred() -> None:
    picture = torch.rand((1, 3, 28, 28), generator=torch.Generator().manual_seed(1)) * 2 - 1
    mean, std = (torch.tensor(values)[:, None, None] for values in (module.PIXEL_MEAN, module.PIXEL_STD))
    back = prepare_picture(picture, side_px=28) * std + mean
    torch.testing.assert_close(back, (picture + 1) / 2, atol=2e-6, rtol=0)


def test_shrinking_takes_single_pixels_not_averages() -> None:
    """Without antialias every fourth output of a picture with one bright column sees it, or none does."""
    picture = torch.zeros(1, 3, 64, 64)
    picture[..., 5] = 1.0
    seen = prepare_picture(picture, side_px=8) != prepare_picture(torch.zeros_like(picture), side_px=8)
    assert seen.any(dim=(0, 1, 2)).tolist() == [True] + 7 * [False]


@pytest.mark.parametrize("layout", ["official", "diffusers", "nested"])
def test_only_what_is_needed_is_read(tmp_path: Path, monkeypatch, layout: str) -> None:
    names = []

    def recorded(weights):
        for name, tensor in read(weights):
            names.append(name)
            yield name, tensor

    read = module.read_tensors
    monkeypatch.setattr(module, "read_tensors", recorded)
    load(write_clip(tmp_path, layout), num_heads=4)
    per_block = 12 if layout == "official" else 16
    assert len(names) == 7 + 2 * per_block
    assert not set(names) & set(strangers())
    assert not any("transformer.2." in name or "layers.2." in name for name in names)


def test_the_last_block_and_the_final_norm_change_nothing(tmp_path: Path) -> None:
    tensors = random_tensors(TINY)
    picture = frozen("unit.clip.image")[None]
    outputs = []
    for name, value in (("a", 1.0), ("b", torch.nan)):
        changed = {
            key: tensor * value if ".transformer.2." in key or "post_norm" in key else tensor
            for key, tensor in tensors.items()
        }
        encoder = load(write_clip(tmp_path / name, tensors=changed), num_heads=4)
        outputs.append(run_encoder(encoder, picture, config=TINY))
    assert torch.equal(*outputs)


def test_shards_give_the_same_tower(tmp_path: Path) -> None:
    whole, shards = (
        load(write_clip(tmp_path / str(n), "diffusers", num_shards=n)).state_dict() for n in (1, 3)
    )
    assert whole.keys() == shards.keys()
    assert all(torch.equal(whole[name], shards[name]) for name in whole)


def test_precision_is_asked_for_not_stored(tmp_path: Path) -> None:
    path = write_clip(tmp_path, dtype=torch.float16)
    encoder = load(path, num_heads=4)
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    narrow = load(path, torch.bfloat16, num_heads=4)
    assert {p.dtype for p in narrow.parameters()} == {torch.bfloat16}
    picture = frozen("unit.clip.image")[None]
    tokens, coarse = (run_encoder(each, picture, config=TINY) for each in (encoder, narrow))
    assert (tokens.dtype, coarse.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(coarse.float(), tokens, atol=0.1, rtol=0)


def test_a_loaded_tower_is_whole_and_for_use_only(tmp_path: Path) -> None:
    encoder = load(write_clip(tmp_path), num_heads=4)
    assert sum(p.numel() for p in encoder.parameters()) == TINY.used_parameters
    assert not any(p.requires_grad for p in encoder.parameters())
    assert {t.device for t in (*encoder.parameters(), *encoder.buffers())} == {CPU}
    assert not encoder.training


def test_a_missing_transformers_is_named(tmp_path: Path, monkeypatch) -> None:
    path = write_clip(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelFilesError, match="the image tower needs transformers") as error:
        load(path, num_heads=4)
    assert error.value.hint == 'pip install "worldkv[wan]"'


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "config",
    [
        tower_of_width(320, num_layers=3, side_patches=10),
        ClipConfig(dim=128, num_heads=8, mlp_dim=1024, num_layers=3, image_px=48, patch_px=4),
        ClipConfig(dim=64, num_heads=1, mlp_dim=256, num_layers=3, image_px=112, patch_px=14),
    ],
)
def test_working_memory_is_estimated_from_above(config: ClipConfig, dtype: torch.dtype) -> None:
    encoder = empty_encoder(config).to_empty(device="cpu").to(dtype).requires_grad_(False).eval()
    encoder.load_state_dict({name: torch.zeros_like(t) for name, t in encoder.state_dict().items()})
    module._number_positions(encoder, config.num_tokens, CPU)
    with LiveBytes() as live:
        run_encoder(encoder, torch.zeros(1, 3, 44, 60), config=config)
    estimate = clip_bytes(config, element_bytes=dtype.itemsize).working
    assert live.peak <= estimate <= 2.5 * live.peak
