"""Bad input: three lines, the exit code, before any weight is read and before anything is written."""

import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file

from tests import tiny_lingbot
from tests.core.models.matrix_game.sessions import VARIANTS
from tests.tiny_matrix_game import PREFIX, random_tensors, tiny_config, write_checkpoint
from tests.worldkv_cli.generate import runs
from tests.worldkv_cli.generate.matrix_game.runs import arguments, generate, lines
from tests.worldkv_cli.generate.runs import spawn_and_wait

pytestmark = pytest.mark.usefixtures("files_stay_closed")

PULL = "worldkv models pull matrix-game"
FILE = "base_distilled_model/base_distill.safetensors"


def refused(exit_code: int, checkpoint: Path | None, **changes: object) -> str:
    """What is said; an earlier run is spared."""
    Path("run").mkdir()
    Path("run/run.json").write_text('{"schema_version": 1}')
    told = generate(checkpoint, overwrite=True, **changes)
    assert (told.exit_code, told.stdout) == (exit_code, ""), told.stderr
    assert [path.name for path in Path("run").iterdir()] == ["run.json"]
    return told.stderr


# Changes to the flags of a good run, and the three lines.
FLAGS: dict[str, tuple[dict[str, object], tuple[str, str, str]]] = {
    "prompt": (
        {"prompt": "a castle"},
        ("matrix-game takes no text", "--prompt", "leave it out, or use --model lingbot"),
    ),
    "scale": (
        {"translation_scale": 2},
        (
            "matrix-game is steered by actions, not by cameras",
            "--translation-scale",
            "leave it out, or use --model lingbot",
        ),
    ),
    "weights": (
        {"weights": "int8"},
        (
            "matrix-game's weights take 3.2 GB and always stay on the device",
            "--weights",
            "leave it out",
        ),
    ),
    "conditioning": (
        {"conditioning": "release"},
        (
            "matrix-game has one way of conditioning",
            "--conditioning",
            "leave it out, or use --model lingbot",
        ),
    ),
    "variant": (
        {"variant": "templrun"},
        (
            "variant must be 'universal', 'gta_drive' or 'templerun', got 'templrun'",
            "--variant",
            "did you mean templerun?",
        ),
    ),
    "no image": (
        {"image": None},
        ("the video needs a first picture", "--image", "add --image first.png"),
    ),
    "image missing": (
        {"image": "frist.png"},
        ("the image does not exist", "frist.png", "check the path of the image"),
    ),
    "true walks": (
        {"prefix": 3, "image": None},
        ("only the embedded model knows true walks", "--prefix", "give a video, or --image"),
    ),
    "a clip and an image": (
        {"prefix": "clip.mp4", "prefix_traj": "clip.yaml"},
        ("a prefix brings its own first picture", "--image", "leave out one of the two"),
    ),
    "chunks of four": (
        {"chunk_frames": 4},
        ("matrix-game denoises 3 latent frames together, got 4", "--chunk-frames", "leave it out"),
    ),
    "no whole tokens": (
        {"size": "100x60"},
        ("the sides of a video are multiples of 16 and at least 64, got 100x60", "--size", "say 96x64"),
    ),
    "mouse": (
        {"mouse_deg": 0},
        (
            "mouse_deg must be above 0, got 0.0",
            "--mouse-deg",
            "mouse_deg: degrees that a mouse unit turns; None: 15, as far as is known",
        ),
    ),
    "keys": (
        {"key_units": -1},
        (
            "key_units must be above 0, got -1.0",
            "--key-units",
            "key_units: units that a key moves in a video frame; None: the trajectory's",
        ),
    ),
    "too short": (
        {"traj": "tiny.yaml"},
        ("5 frames do not fill the first chunk of 9", "tiny.yaml", "make the trajectory longer, or pad it"),
    ),
}


@pytest.mark.parametrize("case", FLAGS)
def test_bad_flag(case: str, models: Path) -> None:
    Path("tiny.yaml").write_text("version: 1\nsteps: [{hold: {frames: 4}}]\n")
    Path("clip.yaml").write_text("version: 1\nsteps: [{hold: {frames: 20}}]\n")
    changes, expected = FLAGS[case]
    assert refused(2, models, **changes) == lines(*expected)


@pytest.mark.parametrize(
    ("model", "other"), [("mini", "another --model"), ("lingbot", "--model matrix-game")]
)
@pytest.mark.parametrize(
    ("flag", "value"), [("--variant", "universal"), ("--mouse-deg", 3), ("--key-units", 1)]
)
def test_models_that_are_steered_by_cameras(model: str, other: str, flag: str, value: object) -> None:
    told = runs.generate("--model", model, "--traj", "away.yaml", flag, str(value))
    what = "has no variants" if flag == "--variant" else "is steered by cameras"
    assert told.exit_code == 2
    assert told.stderr == lines(f"{model} {what}", flag, f"leave it out, or use {other}")


class TestFiles:
    def test_a_lingbot_checkpoint(self, tmp_path: Path) -> None:
        folder = tiny_lingbot.write_checkpoint(tmp_path / "ck", num_shards=2)
        assert refused(4, folder) == lines(
            "no weights of matrix-game's variant universal were found",
            f"--checkpoint {folder}",
            f"{PULL}, or --checkpoint DIR",
        )

    def test_the_network_of_a_lingbot_checkpoint(self, tmp_path: Path) -> None:
        tiny_lingbot.write_checkpoint(tmp_path / "ck", num_shards=2)
        said = refused(4, write_checkpoint(tmp_path / "ck", parts=("clip",)) / "lingbot_world_fast")
        problem, where, hint = said.splitlines()
        assert "a network steered by cameras, such as LingBot's" in problem
        assert where.startswith(f"  at: {tmp_path / 'ck' / 'lingbot_world_fast'}")
        assert hint == "hint: try --model lingbot"

    def test_base_model(self, tmp_path: Path) -> None:
        """Undistilled: action modules in all blocks."""
        config = tiny_config()
        tensors = random_tensors(config)
        action = f"{PREFIX}blocks.1.action_model."
        more = {
            name.replace("blocks.1.", "blocks.2."): tensor
            for name, tensor in tensors.items()
            if name.startswith(action)
        }
        folder = write_checkpoint(tmp_path / "ck", parts=("vae", "clip"))
        (folder / "base_model").mkdir()
        file = folder / "base_model" / "diffusion_pytorch_model.safetensors"
        save_file({**tensors, **{name: tensor.clone() for name, tensor in more.items()}}, file)
        assert refused(4, file.parent) == lines(
            "these are no weights of Matrix-Game-2.0: action modules are in all 3 blocks, as in base_model, "
            "which is not distilled: in the few steps of the sampler it makes noise",
            str(file),
            f"give the folder that holds {FILE}",
        )

    def test_weights_of_another_variant(self, models: Path) -> None:
        file = models / FILE
        assert refused(4, file, variant="gta_drive") == lines(
            "these are weights of matrix-game's variant universal (4 keys and a mouse), "
            "not of gta_drive (2 keys and a mouse)",
            str(file),
            "--variant universal",
        )

    def test_other_variants_are_there(self, tmp_path: Path) -> None:
        folder = write_checkpoint(tmp_path / "ck", "templerun")
        assert refused(4, folder) == lines(
            "no weights of matrix-game's variant universal were found",
            f"--checkpoint {folder}",
            f"there are others: --variant templerun; for this one: {PULL}",
        )

    @pytest.mark.parametrize("part", ["vae", "clip"])
    def test_a_part_is_missing(self, tmp_path: Path, part: str) -> None:
        parts = [each for each in ("transformer", "vae", "clip") if each != part]
        folder = write_checkpoint(tmp_path / "ck", parts=parts)
        assert refused(4, folder) == lines(
            f"the {part} of matrix-game was not found", f"beside {folder / FILE}", f"{PULL} --part {part}"
        )

    def test_a_file_is_cut_short(self, tmp_path: Path) -> None:
        file = write_checkpoint(tmp_path / "ck") / FILE
        whole = file.stat().st_size
        file.write_bytes(file.read_bytes()[:-100])
        assert refused(4, tmp_path / "ck") == lines(
            f"a file of weights is cut short: it has {whole - 100:,} of {whole:,} bytes",
            str(file),
            "delete this file and fetch it again",
        )

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_nothing_anywhere(self, tmp_path: Path, variant: str) -> None:
        part = "" if variant == "universal" else f" --part {variant},vae,clip"
        assert refused(4, None, variant=variant) == lines(
            f"no weights of matrix-game's variant {variant} were found",
            f"WORLDKV_CHECKPOINTS (not set), Hugging Face cache ({tmp_path / 'hub'})",
            f"{PULL}{part}, or --checkpoint DIR",
        )

    def test_a_missing_package(self, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "transformers", None)
        assert refused(4, models) == lines(
            "the image encoder needs the package transformers", "transformers", 'pip install "worldkv[wan]"'
        )


@pytest.mark.slow
def test_a_real_process(models: Path) -> None:
    told = spawn_and_wait(*arguments(models, prompt="a house"))
    assert (told.exit_code, told.stdout) == (2, "")
    assert told.stderr == lines(*FLAGS["prompt"][1])
    assert not Path("run").exists()
