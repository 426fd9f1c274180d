"""Files in the released layout: opened, refused with the reason, loaded."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.errors import ModelFilesError
from core.models.check_report import CheckReport, PartReport
from core.models.checkpoint.shards import open_weights
from core.models.matrix_game.check import check_files
from core.models.matrix_game.config import VARIANTS, find_variant
from core.models.matrix_game.transformer import load_transformer, open_transformer
from tests import tiny_clip
from tests.core.models.checkpoint.writing import write_shards
from tests.golden_matrix_game import network, network_config
from tests.tiny_matrix_game import (
    CLIP,
    PREFIX,
    VAE,
    golden_tensors,
    random_tensors,
    shapes_of,
    tiny_config,
    unused_names,
    write_checkpoint,
    write_released,
)

CPU = torch.device("cpu")
NAMES = [variant.name for variant in VARIANTS]
UNIVERSAL = find_variant("universal")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"HF_HUB_CACHE": str(tmp_path / "hub")}


def part(report: CheckReport, name: str) -> PartReport:
    (found,) = (each for each in report.parts if each.name == name)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_golden_network_comes_back(tmp_path: Path, name: str) -> None:
    tensors = golden_tensors(name)
    write_checkpoint(tmp_path, name, config=network_config(name), tensors=tensors, parts=("transformer",))
    variant = find_variant(name)
    files = open_transformer(tmp_path / variant.file, variant)
    assert files.config == network_config(name)
    assert len(files.stored.tensors) == len(tensors)
    told: list[tuple[int, int]] = []
    loaded = load_transformer(
        files, device=CPU, dtype=torch.float32, on_progress=lambda *each: told.append(each)
    )
    golden = network(name).state_dict()
    assert loaded.state_dict().keys() == golden.keys()
    assert all(torch.equal(tensor, golden[each]) for each, tensor in loaded.state_dict().items())
    assert told[-1] == (files.weights.num_bytes, files.weights.num_bytes)


def test_names_without_prefix_will_do(tmp_path: Path) -> None:
    """As a conversion may leave them; the unused gains may be gone, too."""
    config = tiny_config()
    tensors = {name.removeprefix(PREFIX): tensor for name, tensor in random_tensors(config).items()}
    trimmed = {name: tensor for name, tensor in tensors.items() if name not in unused_names(config)}
    assert len(tensors) == len(trimmed) + 2 * 4
    for each in (tensors, trimmed):
        write_checkpoint(tmp_path, tensors=each, parts=("transformer",))
        files = open_transformer(tmp_path / UNIVERSAL.file, UNIVERSAL)
        assert files.weights.shapes.keys() == trimmed.keys()


def test_shards_and_other_file_names(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "mine", random_tensors(tiny_config()), num_shards=3)
    (folder / "config.json").write_text('{"num_heads": 4}')
    assert open_transformer(folder, UNIVERSAL).config == tiny_config()


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    tensors = random_tensors(tiny_config())
    del tensors["model.blocks.1.action_model.mouse_mlp.3.bias"]
    tensors["model.blocks.0.self_attn.q.weight"] = torch.zeros(128, 64)
    tensors["model.blocks.0.action_model.other_norm.weight"] = torch.zeros(64)
    tensors["model.blocks.2.key_attn_q_norm.weight"] = torch.zeros(64)
    write_checkpoint(tmp_path, tensors=tensors, parts=("transformer",))
    with pytest.raises(ModelFilesError) as caught:
        open_transformer(tmp_path / UNIVERSAL.file, UNIVERSAL)
    assert caught.value.problem == (
        "tensors do not fit the model: missing blocks.1.action_model.mouse_mlp.3.bias; "
        "of wrong shape blocks.0.self_attn.q.weight is [128, 64], not [128, 128]; "
        "unknown blocks.0.action_model.other_norm.weight, blocks.2.key_attn_q_norm.weight"
    )


def test_one_tensor_under_two_names(tmp_path: Path) -> None:
    tensors = random_tensors(tiny_config())
    tensors["head.head.bias"] = torch.zeros(64)
    write_checkpoint(tmp_path, tensors=tensors, parts=("transformer",))
    with pytest.raises(ModelFilesError, match=r"holds model\.head\.head\.bias and head\.head\.bias"):
        open_transformer(tmp_path / UNIVERSAL.file, UNIVERSAL)


def test_the_number_of_heads_is_needed(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, parts=("transformer",), recorded={"dim": 128})
    assert open_transformer(tmp_path / UNIVERSAL.file, UNIVERSAL).config.num_heads == 1
    write_checkpoint(tmp_path, parts=("transformer",), recorded={"num_heads": 4, "eps": 1e-5})
    with pytest.raises(ModelFilesError, match="eps is 1e-05, but Matrix-Game's norms have 1e-06"):
        open_transformer(tmp_path / UNIVERSAL.file, UNIVERSAL)


@pytest.mark.parametrize("name", NAMES)
def test_whole_checkpoints(tmp_path: Path, env: dict[str, str], name: str) -> None:
    folder = write_checkpoint(tmp_path / "ckpt", name)
    report = check_files(name, folder, env)
    assert report.ok, [each.problem for each in report.parts]
    assert (report.model, report.variant, report.layout) == ("matrix-game", name, "raw")
    assert report.config == tiny_config(name)
    assert [each.name for each in report.parts] == ["transformer", "vae", "clip"]
    contents = part(report, "transformer").contents
    assert contents is not None
    config = tiny_config(name)
    assert contents.num_tensors == len(shapes_of(config)) + len(unused_names(config))
    assert contents.num_parameters == config.num_parameters + 64 * len(unused_names(config))
    vae, clip = part(report, "vae").contents, part(report, "clip").contents
    assert vae is not None
    assert vae.num_tensors == 194
    assert clip is not None
    stored = open_weights(folder / CLIP)
    assert clip.num_tensors == len([each for each in stored.tensors if each.startswith("visual.")]) - 1, (
        "neither the text tower nor the head counts"
    )


def test_the_image_encoder_of_diffusers(tmp_path: Path, env: dict[str, str]) -> None:
    folder = write_checkpoint(tmp_path / "ckpt", parts=("transformer", "vae"))
    tower = tiny_clip.tower_of_width(tiny_config().image_dim)
    tiny_clip.write_clip(folder / "image_encoder", "diffusers", config=tower)
    report = check_files("universal", folder, env)
    assert report.ok
    assert part(report, "clip").path == folder / "image_encoder"


def test_variants_share_a_folder(tmp_path: Path, env: dict[str, str]) -> None:
    folder = write_checkpoint(tmp_path / "ckpt")
    write_checkpoint(folder, "templerun", parts=("transformer",))
    assert check_files("universal", folder, env).ok
    assert check_files("templerun", folder, env).ok
    report = check_files("gta_drive", folder, env)
    missing = part(report, "transformer")
    assert (missing.status, report.layout) == ("missing", None)
    assert missing.hint.startswith("there are others: --variant universal or --variant templerun; ")
    assert missing.command == "worldkv models pull matrix-game --part gta_drive"
    assert part(report, "vae").status == part(report, "clip").status == "ok"


def test_another_variant_under_this_ones_name(tmp_path: Path, env: dict[str, str]) -> None:
    folder = write_checkpoint(tmp_path / "ckpt", "gta_drive")
    given = folder / find_variant("gta_drive").file
    report = check_files("universal", given, env)
    broken = part(report, "transformer")
    assert (broken.status, broken.hint, report.config) == ("broken", "--variant gta_drive", None)
    assert broken.problem.endswith("gta_drive (2 keys and a mouse), not of universal (4 keys and a mouse)")
    assert check_files("gta_drive", given, env).ok


def test_base_model_is_refused(tmp_path: Path, env: dict[str, str]) -> None:
    config = tiny_config()
    assert config.actions is not None
    everywhere = replace(config, actions=replace(config.actions, layers=(0, 1, 2)))
    write_checkpoint(tmp_path, parts=("vae", "clip"))
    folder = tmp_path / "base_model"
    folder.mkdir()
    save_file(random_tensors(everywhere), folder / "diffusion_pytorch_model.safetensors")
    report = check_files("universal", folder, env)
    broken = part(report, "transformer")
    assert broken.status == "broken"
    assert "as in base_model, which is not distilled" in broken.problem
    assert part(report, "clip").status == "ok"


def test_parts_of_different_models_do_not_go_together(tmp_path: Path, env: dict[str, str]) -> None:
    folder = write_checkpoint(tmp_path / "ckpt", parts=("transformer", "vae"))
    tiny_clip.write_clip(folder, config=tiny_clip.tower_of_width(160))
    report = check_files("universal", folder, env)
    assert part(report, "transformer").status == "ok"
    assert part(report, "clip").problem == "it gives 160 numbers a token, but the transformer takes 80"


def test_what_is_broken_is_named_and_the_rest_still_looked_at(tmp_path: Path, env: dict[str, str]) -> None:
    folder = write_checkpoint(tmp_path / "ckpt")
    file = folder / UNIVERSAL.file
    file.write_bytes(file.read_bytes()[:-100])
    (folder / VAE).write_bytes(b"x" * 50)
    report = check_files("universal", folder, env)
    assert [each.status for each in report.parts] == ["broken", "broken", "ok"]
    assert part(report, "transformer").problem.startswith("a file of weights is cut short")
    assert part(report, "vae").where == str(folder / VAE)


def test_packages_that_are_not_installed_stop_a_run(
    tmp_path: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_checkpoint(tmp_path / "ckpt")
    monkeypatch.setattr("core.models.check_report.find_spec", lambda _: None)
    report = check_files("universal", folder, env)
    assert [each.status for each in report.parts] == ["ok", "broken", "broken"]
    assert {each.hint for each in report.parts[1:]} == {'pip install "worldkv[wan]"'}


@pytest.mark.parametrize(
    ("name", "num_tensors", "num_parameters"),
    [
        ("universal", 1114, 1_619_242_304),
        ("gta_drive", 1114, 1_619_238_464),
        ("templerun", 964, 1_508_715_584),
    ],
)
def test_released_networks_are_known_without_reading_them(
    tmp_path: Path, env: dict[str, str], name: str, num_tensors: int, num_parameters: int
) -> None:
    """Their files are holes in the file system."""
    try:
        write_released(tmp_path, name)
    except OSError as error:
        pytest.skip(f"no files with holes here: {error}")
    report = check_files(name, tmp_path, env)
    transformer = part(report, "transformer")
    assert transformer.status == "ok", transformer.problem
    assert transformer.contents is not None
    assert (transformer.contents.num_tensors, transformer.contents.num_parameters) == (
        num_tensors,
        num_parameters,
    )
    assert report.config is not None
    assert (report.config.num_heads, report.config.num_layers) == (12, 30)
    assert not report.ok, "codec and image encoder are not there"


def test_the_released_base_model(tmp_path: Path, env: dict[str, str]) -> None:
    try:
        file = write_released(tmp_path, "foundation")
    except OSError as error:
        pytest.skip(f"no files with holes here: {error}")
    for given in (file, file.parent):
        broken = part(check_files("universal", given, env), "transformer")
        assert "action modules are in all 30 blocks" in broken.problem
    lost = part(check_files("universal", tmp_path, env), "transformer")
    assert lost.problem == "no weights of matrix-game's variant universal were found"
