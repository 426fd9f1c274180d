"""Where files are found; nothing is opened."""

import os
from pathlib import Path

import pytest

from core.errors import InputError, ModelFilesError
from core.models.matrix_game.config import VARIANTS, find_variant
from core.models.matrix_game.files import Companions, MatrixGameFiles, find_companions, find_files

UNIVERSAL, GTA, TEMPLERUN = (variant.file for variant in VARIANTS)
VAE, CLIP = "Wan2.1_VAE.pth", "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"
BASE = (VAE, CLIP)
REPO = (*BASE, UNIVERSAL, GTA, TEMPLERUN, "base_model/diffusion_pytorch_model.safetensors")


def put(folder: Path, *files: str) -> Path:
    """Empty files: nobody reads them."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


def cached(cache: Path, repo: str, *files: str) -> Path:
    """Files of a repository as the Hugging Face cache keeps them: links to blobs."""
    folder = cache / f"models--{repo.replace('/', '--')}"
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


def files(folder: Path, variant: str = "universal", source: str = "--checkpoint") -> MatrixGameFiles:
    found = find_variant(variant)
    return MatrixGameFiles(found, "raw", source, folder / found.file, folder / VAE, folder / CLIP)


@pytest.mark.parametrize("variant", [variant.name for variant in VARIANTS])
def test_the_repository_as_it_is(tmp_path: Path, env: dict[str, str], variant: str) -> None:
    """The folder itself, or one of several checkpoints."""
    folder = put(tmp_path / "Matrix-Game-2.0", *REPO)
    for given in (folder, tmp_path):
        assert find_files(variant, given, env) == files(folder, variant)
    assert find_files(checkpoint=folder, env=env).variant.name == "universal"


def test_a_folder_or_a_file_of_weights(tmp_path: Path, env: dict[str, str]) -> None:
    """Under their own name, or any other: what they are is looked at when they are opened."""
    folder = put(tmp_path / "mine", *REPO)
    own = folder / GTA
    for given in (own, own.parent):
        assert find_files("gta_drive", given, env) == files(folder, "gta_drive")
    found = find_files("universal", own.parent, env)
    assert (found.transformer, found.vae) == (own.parent, folder / VAE)
    assert find_files("universal", own, env).transformer == own
    renamed = put(tmp_path / "flat", "net.safetensors", VAE)
    found = find_files("templerun", renamed, env)
    assert (found.transformer, found.vae, found.clip) == (renamed, renamed / VAE, None)
    with pytest.raises(ModelFilesError):  # a file of that name could be anything
        find_files("templerun", None, {**env, "WORLDKV_CHECKPOINTS": str(renamed)})


def test_the_given_folder_then_the_shelf_then_the_cache(
    tmp_path: Path, env: dict[str, str], cache: Path
) -> None:
    revision = cached(cache, "Skywork/Matrix-Game-2.0", *REPO)
    assert find_files(env=env) == files(revision, source="Hugging Face cache")

    shelves = [tmp_path / "empty", tmp_path / "first", tmp_path / "second"]
    shelf = {**env, "WORLDKV_CHECKPOINTS": os.pathsep.join(map(str, shelves))}
    homes = [put(tmp_path / name / "Matrix-Game-2.0", *REPO) for name in ("first", "second")]
    assert find_files(env=shelf) == files(homes[0], source="WORLDKV_CHECKPOINTS")
    mine = put(tmp_path / "mine", *REPO)
    assert find_files(checkpoint=mine, env=shelf) == files(mine)


def test_parts_from_elsewhere(tmp_path: Path, env: dict[str, str], cache: Path) -> None:
    """Weights alone in the given folder; the rest on the shelf, then in the cache."""
    mine = put(tmp_path / "mine", UNIVERSAL)
    revision = cached(cache, "Skywork/Matrix-Game-2.0", *BASE)
    found = find_files(checkpoint=mine, env=env)
    assert (found.vae, found.clip) == (revision / VAE, revision / CLIP)
    shelf = put(tmp_path / "shelf", f"Matrix-Game-2.0/{CLIP}")
    found = find_files(checkpoint=mine, env={**env, "WORLDKV_CHECKPOINTS": str(shelf)})
    assert (found.vae, found.clip) == (revision / VAE, shelf / "Matrix-Game-2.0" / CLIP)


def test_the_codec_of_lingbot_will_do(tmp_path: Path, env: dict[str, str], cache: Path) -> None:
    mine = put(tmp_path / "mine", UNIVERSAL, CLIP)
    assert find_files(checkpoint=mine, env=env).vae is None
    revision = cached(cache, "robbyant/lingbot-world-base-cam", VAE, CLIP)
    assert find_files(checkpoint=mine, env=env).vae == revision / VAE
    shelf = put(tmp_path / "shelf", "lingbot-world-fast-diffusers/vae/config.json")
    listed = {**env, "WORLDKV_CHECKPOINTS": str(shelf)}
    found = find_files(checkpoint=mine, env=listed)
    assert (found.vae, found.clip) == (shelf / "lingbot-world-fast-diffusers" / "vae", mine / CLIP)
    beside = put(tmp_path / "several", f"Matrix-Game-2.0/{UNIVERSAL}", f"lingbot-world-base-cam/{VAE}")
    found = find_files(checkpoint=beside, env=listed)
    assert (found.vae, found.clip) == (beside / "lingbot-world-base-cam" / VAE, None)
    put(mine, VAE)
    assert find_files(checkpoint=mine, env=listed).vae == mine / VAE


def test_folders_of_diffusers(tmp_path: Path, env: dict[str, str]) -> None:
    folder = put(tmp_path, UNIVERSAL, "image_encoder/config.json", "vae/config.json")
    found = find_files(checkpoint=folder, env=env)
    assert (found.vae, found.clip) == (folder / "vae", folder / "image_encoder")
    put(folder, CLIP)
    assert find_files(checkpoint=folder, env=env).clip == folder / CLIP


def test_nothing_anywhere(tmp_path: Path, env: dict[str, str], cache: Path) -> None:
    with pytest.raises(ModelFilesError) as caught:
        find_files("universal", None, {**env, "WORLDKV_CHECKPOINTS": str(tmp_path)})
    told = caught.value
    assert told.problem == "no weights of matrix-game's variant universal were found"
    assert told.where == f"WORLDKV_CHECKPOINTS ({tmp_path}), Hugging Face cache ({cache})"
    assert told.hint == "worldkv models pull matrix-game, or --checkpoint DIR"
    assert find_companions(None, env) == Companions(None, None)
    with pytest.raises(ModelFilesError) as caught:
        find_files("templerun", tmp_path / "nowhere", env)
    assert caught.value.hint == (
        "worldkv models pull matrix-game --part templerun,vae,clip, or --checkpoint DIR"
    )


def test_the_given_folder_is_the_only_one_for_the_transformer(
    tmp_path: Path, env: dict[str, str], cache: Path
) -> None:
    cached(cache, "Skywork/Matrix-Game-2.0", *REPO)
    base = put(tmp_path / "base", *BASE)
    with pytest.raises(ModelFilesError) as caught:
        find_files("universal", base, env)
    assert caught.value.where == f"--checkpoint {base}"
    assert find_companions(base, env).vae == base / VAE


def test_variants_that_are_there_are_named(tmp_path: Path, env: dict[str, str]) -> None:
    folder = put(tmp_path, GTA, TEMPLERUN, *BASE)
    with pytest.raises(ModelFilesError) as caught:
        find_files("universal", folder, env)
    assert caught.value.hint == (
        "there are others: --variant gta_drive or --variant templerun; "
        "for this one: worldkv models pull matrix-game"
    )
    with pytest.raises(InputError, match="no variant 'temple'"):
        find_files("temple", folder, env)


def test_home_is_understood(tmp_path: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    put(tmp_path / "ckpt", *REPO)
    assert find_files("universal", Path("~/ckpt"), env) == files(tmp_path / "ckpt")
