"""Bad model files: three lines and exit code 4, before any weight is read and before anything is written."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.tiny_lingbot import PARTS, TINY, random_tensors, write_checkpoint
from tests.worldkv_cli.generate.lingbot.runs import arguments, lines, refused
from tests.worldkv_cli.generate.runs import spawn_and_wait

pytestmark = pytest.mark.usefixtures("files_stay_closed")

PULL = "worldkv models pull lingbot"
INDEX = "lingbot_world_fast/diffusion_pytorch_model.safetensors.index.json"


def cut_short(folder: Path) -> None:
    shard = folder / "lingbot_world_fast" / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])


def without_a_shard(folder: Path) -> None:
    (folder / "lingbot_world_fast" / "model-00001-of-00002.safetensors").unlink()


def misshaped(folder: Path) -> None:
    rewrite(folder, {"blocks.1.ffn.0.bias": torch.zeros(7)})


def incomplete(folder: Path) -> None:
    rewrite(folder, {"blocks.1.cam_scale_layer.weight": None})


def action_controlled(folder: Path) -> None:
    rewrite(folder, {"patch_embedding_wancamctrl.weight": torch.zeros(128, 7 * 256)})


def base_expert(folder: Path) -> None:
    names = [name for name in random_tensors(TINY) if "cam" in name or name.startswith("c2ws")]
    rewrite(folder, dict.fromkeys(names))


def rewrite(folder: Path, changes: dict[str, torch.Tensor | None]) -> None:
    tensors = {**random_tensors(TINY), **changes}
    shutil.rmtree(folder)
    write_checkpoint(folder, tensors={k: t for k, t in tensors.items() if t is not None}, num_shards=2)


# What happened to the checkpoint CK, and the three lines.
FILES: dict[str, tuple[Callable[[Path], None], tuple[str, str, str]]] = {
    "cut short": (
        cut_short,
        (
            "a file of weights is cut short: it has {size:,} of {whole:,} bytes",
            "CK/lingbot_world_fast/model-00002-of-00002.safetensors",
            "delete this file and fetch it again",
        ),
    ),
    "without a shard": (
        without_a_shard,
        (
            "1 of 2 shards are missing: model-00001-of-00002.safetensors",
            "CK/lingbot_world_fast",
            "fetch the missing files",
        ),
    ),
    "misshaped": (
        misshaped,
        (
            "tensors do not fit the model: of wrong shape blocks.1.ffn.0.bias is [7], not [192]",
            f"CK/{INDEX}",
            "fetch the checkpoint again",
        ),
    ),
    "incomplete": (
        incomplete,
        (
            "tensors do not fit the model: missing blocks.1.cam_scale_layer.weight",
            f"CK/{INDEX}",
            "fetch the checkpoint again",
        ),
    ),
    "action-controlled": (
        action_controlled,
        (
            "these are no weights of LingBot-World-Fast: it is steered by actions (7 components a pixel); "
            "only camera-steered checkpoints can be run",
            f"CK/{INDEX}",
            "check --model and --checkpoint",
        ),
    ),
    "base expert": (
        base_expert,
        (
            "these are no weights of LingBot-World-Fast: it has no camera layers "
            "(patch_embedding_wancamctrl): a base network such as the experts high_noise_model and "
            "low_noise_model, which take many steps and see both ways in time",
            f"CK/{INDEX}",
            "check --model and --checkpoint",
        ),
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_bad_files(case: str, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "ck", num_shards=2)
    shard = folder / "lingbot_world_fast" / "model-00002-of-00002.safetensors"
    whole = shard.stat().st_size
    harm, (problem, where, hint) = FILES[case]
    harm(folder)
    problem = problem.format(size=shard.stat().st_size, whole=whole) if "{" in problem else problem
    assert refused(4, folder) == lines(problem, where.replace("CK", str(folder)), hint)


@pytest.mark.slow
def test_damaged_tokenizer(tmp_path: Path) -> None:
    """In a process of its own: what is told last of all costs no seconds of heavy imports either."""
    folder = write_checkpoint(tmp_path / "ck", num_shards=2)
    (folder / "google" / "umt5-xxl" / "tokenizer.json").write_text("{")
    driver = (
        "import atexit, sys\n"
        "heavy = {'diffusers', 'transformers', 'torchao'}\n"
        "atexit.register(lambda: sys.stderr.write(f'imported: {sorted(heavy & set(sys.modules))}\\n'))\n"
    )
    told = spawn_and_wait(*arguments(folder), driver=driver)
    assert (told.exit_code, told.stdout) == (4, "")
    problem, where, hint, imported = told.stderr.splitlines()
    assert problem.startswith("error: the tokenizer")
    assert where == f"  at: {folder}/google/umt5-xxl/tokenizer.json"
    assert hint.startswith("hint: ")
    assert imported == "imported: []"
    assert not Path("run").exists()


@pytest.mark.parametrize("part", [part for part in PARTS if part != "transformer"])
def test_missing_part(part: str, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "ck", parts=[each for each in PARTS if each != part], num_shards=2)
    assert refused(4, folder) == lines(
        f"the {part.replace('_', ' ')} of lingbot was not found",
        f"beside {folder}/lingbot_world_fast",
        f"{PULL} --part {part}",
    )


class TestNoCheckpoint:
    def test_anywhere(self, tmp_path: Path) -> None:
        assert refused(4, None) == lines(
            "no transformer of lingbot was found",
            f"WORLDKV_CHECKPOINTS (not set), Hugging Face cache ({tmp_path / 'hub'})",
            f"{PULL}, or --checkpoint DIR",
        )

    def test_in_the_folder(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        assert refused(4, Path("empty")) == lines(
            "no transformer of lingbot was found", "--checkpoint empty", f"{PULL}, or --checkpoint DIR"
        )

    def test_a_typo(self) -> None:
        assert refused(4, Path("nowhere")) == lines(
            "the checkpoint's folder does not exist",
            "--checkpoint nowhere",
            f"check the path, or fetch it: {PULL}",
        )

    def test_of_the_other_version(self, checkpoints: Path) -> None:
        folder = checkpoints / "v2"
        assert refused(4, folder) == lines(
            "no transformer of lingbot was found",
            f"--checkpoint {folder}",
            "this looks like --model lingbot-v2",
        )

    @pytest.mark.parametrize("name", ["high_noise_model", "low_noise_model"])
    def test_of_the_base_model(self, name: str) -> None:
        Path(name).mkdir()
        assert refused(4, Path(name)) == lines(
            f"{name} is an expert of the base model: many steps, and it sees both ways in time",
            f"--checkpoint {name}",
            "give the folder that holds lingbot_world_fast",
        )


@pytest.mark.parametrize(
    ("package", "user"),
    [("diffusers", "the codec"), ("transformers", "the text encoder"), ("ftfy", "the prompt")],
)
def test_missing_package(raw: Path, monkeypatch: pytest.MonkeyPatch, package: str, user: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert refused(4, raw) == lines(
        f"{user} needs the package {package}", package, 'pip install "worldkv[wan]"'
    )
