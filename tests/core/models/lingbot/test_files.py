"""Where files are found, in every layout; nothing is opened."""

import os
from pathlib import Path

import pytest

from core.errors import InputError, ModelFilesError
from core.models.lingbot.files import Companions, LingBotFiles, find_companions, find_files

VAE, TEXT, TOKENIZER = "Wan2.1_VAE.pth", "models_t5_umt5-xxl-enc-bf16.pth", "google/umt5-xxl/tokenizer.json"
SHARD, INDEX = "model-00001-of-00016.safetensors", "diffusion_pytorch_model.safetensors.index.json"
BASE = (VAE, TEXT, TOKENIZER)
RAW = (*BASE, f"lingbot_world_fast/{SHARD}", f"lingbot_world_fast/{INDEX}")
DIFFUSERS = (
    f"transformer/{INDEX}",
    "vae/config.json",
    "text_encoder/model.safetensors.index.json",
    "tokenizer/spiece.model",
)
V2 = (f"transformers/{INDEX}",)


def put(folder: Path, *files: str) -> Path:
    """Empty files: nobody reads them."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


def cached(cache: Path, repo: str, *files: str) -> Path:
    """Files of a repository as the Hugging Face cache keeps them: links to blobs."""
    folder = cache / f"models--robbyant--{repo}"
    revision = folder / "snapshots" / "0123abc"
    for number, file in enumerate(files):
        blob = put(folder / "blobs", f"blob{number}") / f"blob{number}"
        (revision / file).parent.mkdir(parents=True, exist_ok=True)
        (revision / file).symlink_to(blob)
    (put(folder, "refs/main") / "refs" / "main").write_text("0123abc")
    return revision


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hub"


@pytest.fixture
def env(cache: Path) -> dict[str, str]:
    """Nothing is in the cache, no folder is named."""
    return {"HF_HUB_CACHE": str(cache)}


def raw_files(folder: Path, transformer: Path, source: str = "--checkpoint") -> LingBotFiles:
    return LingBotFiles(
        model="lingbot",
        layout="raw",
        source=source,
        transformer=transformer,
        vae=folder / VAE,
        text_encoder=folder / TEXT,
        tokenizer=folder / "google/umt5-xxl",
    )


@pytest.mark.parametrize("given", ["", "lingbot_world_fast"])
def test_raw(tmp_path: Path, env: dict[str, str], given: str) -> None:
    """The folder of everything, or the transformer's in it."""
    base = put(tmp_path / "ckpt", *RAW)
    assert find_files("lingbot", base / given, env) == raw_files(base, base / "lingbot_world_fast")


def test_raw_side_by_side(tmp_path: Path, env: dict[str, str]) -> None:
    base = put(tmp_path / "lingbot-world-base-cam", *BASE)
    fast = put(tmp_path / "lingbot-world-fast", SHARD, INDEX)
    for given in (tmp_path, fast):
        assert find_files("lingbot", given, env) == raw_files(base, fast)


def test_raw_inside_a_folder_of_several(tmp_path: Path, env: dict[str, str]) -> None:
    base = put(tmp_path / "lingbot-world-base-cam", *RAW)
    assert find_files("lingbot", tmp_path, env) == raw_files(base, base / "lingbot_world_fast")


@pytest.mark.parametrize("given", ["", "transformer"])
def test_diffusers(tmp_path: Path, env: dict[str, str], given: str) -> None:
    folder = put(tmp_path / "any", *DIFFUSERS)
    assert find_files("lingbot", folder / given, env) == LingBotFiles(
        model="lingbot",
        layout="diffusers",
        source="--checkpoint",
        transformer=folder / "transformer",
        vae=folder / "vae",
        text_encoder=folder / "text_encoder",
        tokenizer=folder / "tokenizer",
    )


@pytest.mark.parametrize("base", ["lingbot-world-base-cam", "lingbot-world-v2-14b-causal-fast"])
@pytest.mark.parametrize("given", ["", "transformers"])
def test_v2_with_the_base_beside_or_in_it(tmp_path: Path, env: dict[str, str], base: str, given: str) -> None:
    folder = put(tmp_path / "lingbot-world-v2-14b-causal-fast", *V2)
    put(tmp_path / base, *BASE)
    found = find_files("lingbot-v2", folder / given, env)
    assert (found.layout, found.transformer) == ("v2", folder / "transformers")
    assert (found.vae, found.text_encoder) == (tmp_path / base / VAE, tmp_path / base / TEXT)
    assert find_files("lingbot-v2", tmp_path, env).transformer == folder / "transformers"


def test_v2_with_the_base_elsewhere(tmp_path: Path, env: dict[str, str], cache: Path) -> None:
    folder = put(tmp_path / "mine", *V2)
    base = cached(cache, "lingbot-world-base-cam", *BASE)
    found = find_files("lingbot-v2", folder, env)
    assert (found.vae, found.tokenizer) == (base / VAE, base / "google/umt5-xxl")
    put(tmp_path / "shelf" / "lingbot-world-base-cam", VAE)
    found = find_files("lingbot-v2", folder, {**env, "WORLDKV_CHECKPOINTS": str(tmp_path / "shelf")})
    assert found.vae == tmp_path / "shelf" / "lingbot-world-base-cam" / VAE
    assert found.text_encoder == base / TEXT


def test_a_transformer_of_any_name_or_a_single_file(tmp_path: Path, env: dict[str, str]) -> None:
    folder = put(tmp_path / "mine", "net.safetensors", VAE)
    for given in (folder, folder / "net.safetensors"):
        found = find_files("lingbot", given, env)
        assert (found.transformer, found.vae, found.tokenizer) == (given, folder / VAE, None)
    listed = {**env, "WORLDKV_CHECKPOINTS": str(folder)}
    with pytest.raises(ModelFilesError):  # a file of that name could be anything
        find_files("lingbot", None, listed)


def test_the_given_folder_then_the_shelf_then_the_cache(
    tmp_path: Path, env: dict[str, str], cache: Path
) -> None:
    base, fast = (
        cached(cache, "lingbot-world-base-cam", *BASE),
        cached(cache, "lingbot-world-fast", SHARD, INDEX),
    )
    assert find_files("lingbot", None, env) == raw_files(base, fast, "Hugging Face cache")

    shelves = [tmp_path / "empty", tmp_path / "first", tmp_path / "second"]
    shelf = {**env, "WORLDKV_CHECKPOINTS": os.pathsep.join(map(str, shelves))}
    for name in ("first", "second"):
        put(tmp_path / name / "lingbot-world-base-cam", *RAW)
    home = tmp_path / "first" / "lingbot-world-base-cam"
    assert find_files("lingbot", None, shelf) == raw_files(
        home, home / "lingbot_world_fast", "WORLDKV_CHECKPOINTS"
    )
    mine = put(tmp_path / "mine", *RAW)
    assert find_files("lingbot", mine, shelf) == raw_files(mine, mine / "lingbot_world_fast")


def test_the_diffusers_repository_in_the_cache(env: dict[str, str], cache: Path) -> None:
    revision = cached(cache, "lingbot-world-fast-diffusers", *DIFFUSERS)
    found = find_files("lingbot", None, env)
    assert (found.layout, found.transformer, found.vae) == (
        "diffusers",
        revision / "transformer",
        revision / "vae",
    )


def test_v2_in_the_cache(env: dict[str, str], cache: Path) -> None:
    revision = cached(cache, "lingbot-world-v2-14b-causal-fast", *V2)
    assert find_files("lingbot-v2", None, env).transformer == revision / "transformers"
    with pytest.raises(ModelFilesError):
        find_files("lingbot", None, env)


def test_nothing_anywhere(tmp_path: Path, env: dict[str, str], cache: Path) -> None:
    with pytest.raises(ModelFilesError) as caught:
        find_files("lingbot", None, {**env, "WORLDKV_CHECKPOINTS": str(tmp_path)})
    told = caught.value
    assert told.problem == "no transformer of lingbot was found"
    assert told.where == f"WORLDKV_CHECKPOINTS ({tmp_path}), Hugging Face cache ({cache})"
    assert told.hint == "worldkv models pull lingbot, or --checkpoint DIR"
    assert find_companions("lingbot", None, env) == Companions(None, None, None)


def test_the_given_folder_is_the_only_one_for_the_transformer(
    tmp_path: Path, env: dict[str, str], cache: Path
) -> None:
    cached(cache, "lingbot-world-fast", SHARD, INDEX)
    base = put(tmp_path / "base", *BASE)
    with pytest.raises(ModelFilesError) as caught:
        find_files("lingbot", base, env)
    assert caught.value.where == f"--checkpoint {base}"
    assert find_companions("lingbot", base, env).vae == base / VAE
    with pytest.raises(ModelFilesError):
        find_files("lingbot", tmp_path / "nowhere", env)


def test_the_other_model_is_recognised(tmp_path: Path, env: dict[str, str]) -> None:
    for model, other, files in (("lingbot", "lingbot-v2", V2), ("lingbot-v2", "lingbot", RAW)):
        with pytest.raises(ModelFilesError) as caught:
            find_files(model, put(tmp_path / model, *files), env)
        assert caught.value.hint == f"this looks like --model {other}"


def test_experts_of_the_base_model_are_refused(tmp_path: Path, env: dict[str, str]) -> None:
    expert = put(tmp_path / "high_noise_model", INDEX)
    with pytest.raises(ModelFilesError, match="an expert of the base model"):
        find_files("lingbot", expert, env)
    with pytest.raises(ModelFilesError, match="no transformer"):
        find_files("lingbot", tmp_path, env)


def test_an_interrupted_fetch_is_found_so_that_it_can_be_told(tmp_path: Path, env: dict[str, str]) -> None:
    folder = put(tmp_path, f"lingbot_world_fast/{SHARD}")
    assert find_files("lingbot", folder, env).transformer == folder / "lingbot_world_fast"
    (folder / "google" / "umt5-xxl").mkdir(parents=True)
    assert find_files("lingbot", folder, env).tokenizer is None, "an empty folder is no tokenizer"


def test_home_is_understood(tmp_path: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    put(tmp_path / "ckpt", *RAW)
    assert find_files("lingbot", Path("~/ckpt"), env).vae == tmp_path / "ckpt" / VAE
    listed = {**env, "WORLDKV_CHECKPOINTS": "~/ckpt"}
    assert find_files("lingbot", None, listed).vae == tmp_path / "ckpt" / VAE


def test_models_without_files(env: dict[str, str]) -> None:
    with pytest.raises(InputError, match="'mini' has no files"):
        find_files("mini", None, env)
