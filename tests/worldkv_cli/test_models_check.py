import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from core.models.checkpoint.shards import open_weights
from tests.core.models.checkpoint.writing import INDEX
from tests.golden_lingbot import MANIFEST
from tests.tiny_lingbot import TINY, VAE, Layout, write_checkpoint
from worldkv_cli.main import app


@pytest.fixture(autouse=True)
def nothing_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("WORLDKV_CHECKPOINTS", raising=False)


def check(*args: object) -> Result:
    return CliRunner().invoke(app, ["models", "check", *map(str, args)])


def told(*args: object) -> dict[str, Any]:
    result = check(*args, "--json")
    report: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == (0 if report["ok"] else 4)
    return report


def part(report: Mapping[str, Any], name: str) -> dict[str, Any]:
    (found,) = (each for each in report["parts"] if each["name"] == name)
    return dict(found)


@pytest.mark.parametrize(
    ("model", "layout"), [("lingbot", "raw"), ("lingbot", "diffusers"), ("lingbot-v2", "v2")]
)
def test_whole_checkpoints(tmp_path: Path, model: str, layout: Layout) -> None:
    folder = write_checkpoint(tmp_path / "ckpt", layout)
    report = told(model, "--checkpoint", folder)
    assert (report["ok"], report["layout"], report["source"]) == (True, layout, "--checkpoint")
    assert {each["name"]: each["status"] for each in report["parts"]} == dict.fromkeys(
        ("transformer", "vae", "text_encoder", "tokenizer"), "ok"
    )
    transformer = part(report, "transformer")["contents"]
    weights = open_weights(Path(part(report, "transformer")["path"]))
    assert transformer == {
        "num_files": 16,
        "num_bytes": weights.num_bytes,
        "num_tensors": 21 + 2 * 35,
        "num_parameters": report["network"]["num_parameters"],
        "dtypes": ["float32"],
    }
    assert part(report, "text_encoder")["contents"]["dtypes"] == ["bfloat16"]
    assert part(report, "vae")["contents"]["num_tensors"] == 194
    network = report["network"]
    assert (network["num_layers"], network["num_heads"], network["text_tokens"]) == (2, 4, 16)


def test_the_table(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "ckpt")
    result = check("lingbot", "--checkpoint", folder)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "lingbot: raw layout, from --checkpoint"
    assert " ".join(lines[2].split()) == "PART STATE FILES SIZE TENSORS PARAMETERS ON DISK WHERE"
    assert lines[3].split()[:3] == ["transformer", "ok", "16"]
    assert lines[3].endswith(str(folder / "lingbot_world_fast"))
    assert "2 blocks of width 128, 4 heads of 32, feed-forward 192, text 16 x 32" in result.stdout
    assert "licence: Apache-2.0 (vae, text_encoder, tokenizer)" in lines
    assert lines[-1] == "ready: a run can start with these files"


def test_nothing_is_there(tmp_path: Path) -> None:
    result = check("lingbot-v2")
    assert result.exit_code == 4
    assert result.stdout.startswith("lingbot-v2: no transformer found\n")
    assert "CC BY-NC-SA 4.0" in result.stdout
    assert "ready" not in result.stdout
    assert result.stderr == (
        "error: transformer: no transformer of lingbot-v2 was found\n"
        f"  at: WORLDKV_CHECKPOINTS (not set), Hugging Face cache ({tmp_path / 'hub'})\n"
        "hint: worldkv models pull lingbot-v2, or --checkpoint DIR\n"
        "error: vae: nothing was found\n"
        "hint: worldkv models pull lingbot-v2 --part vae\n"
        "error: text_encoder: nothing was found\n"
        "hint: worldkv models pull lingbot-v2 --part text_encoder\n"
        "error: tokenizer: nothing was found\n"
        "hint: worldkv models pull lingbot-v2 --part tokenizer\n"
    )


def test_parts_that_are_missing_are_told_with_those_that_are_there(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "ckpt", "diffusers", parts=("transformer", "tokenizer"))
    report = told("lingbot", "--checkpoint", folder)
    states = {each["name"]: each["status"] for each in report["parts"]}
    assert states == {
        "transformer": "ok",
        "vae": "missing",
        "text_encoder": "missing",
        "tokenizer": "ok",
    }
    assert part(report, "vae")["command"] == "worldkv models pull lingbot --layout diffusers --part vae"


def test_the_shelf_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path / "shelf" / "lingbot-world-base-cam")
    monkeypatch.setenv("WORLDKV_CHECKPOINTS", str(tmp_path / "shelf"))
    report = told("lingbot")
    assert (report["ok"], report["source"]) == (True, "WORLDKV_CHECKPOINTS")


def test_what_is_broken_is_named_and_the_rest_still_looked_at(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "ckpt")
    shard = folder / "lingbot_world_fast" / "model-00003-of-00016.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    (folder / VAE).write_bytes(b"x" * 50)
    result = check("lingbot", "--checkpoint", folder)
    assert result.exit_code == 4
    rows = {line.split()[0]: line.split()[1] for line in result.stdout.splitlines()[3:7]}
    assert rows == {"transformer": "broken", "vae": "broken", "text_encoder": "ok", "tokenizer": "ok"}
    first, second = result.stderr.split("error: ")[1:]
    assert first.startswith("transformer: a file of weights is cut short")
    assert f"at: {shard}\n" in first
    assert second.startswith("vae: a file of weights cannot be read")
    assert f"at: {folder / VAE}\n" in second


def test_missing_shards_are_named(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "ckpt")
    for number in (2, 11):
        (folder / "lingbot_world_fast" / f"model-{number:05}-of-00016.safetensors").unlink()
    problem = part(told("lingbot", "--checkpoint", folder), "transformer")["problem"]
    assert problem == (
        "2 of 16 shards are missing: model-00002-of-00016.safetensors, model-00011-of-00016.safetensors"
    )


def test_parts_of_different_models_do_not_go_together(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "ckpt", config=replace(TINY, text_dim=48))
    report = told("lingbot", "--checkpoint", folder)
    assert part(report, "transformer")["status"] == "ok"
    problem = part(report, "text_encoder")["problem"]
    assert problem == "it gives 32 numbers a token, but the transformer takes 48"


def test_a_package_that_is_not_installed_stops_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_checkpoint(tmp_path / "ckpt")
    monkeypatch.setattr("core.models.check_report.find_spec", lambda _: None)
    report = told("lingbot", "--checkpoint", folder)
    assert not report["ok"]
    for name in ("vae", "text_encoder"):
        assert part(report, name)["hint"] == 'pip install "worldkv[wan]"'


def test_unknown_models() -> None:
    result = check("mini")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: 'mini' has no files to look for\n  at: model\nhint: known: lingbot, lingbot-v2, matrix-game\n"
    )


def write_released(folder: Path) -> Path:
    """The released transformer: 1,421 tensors, 74 GB, of which only headers take space on the disk."""
    told = MANIFEST["checkpoint"]["transformer"]
    shapes = dict(told["top_level"])
    for block in range(told["num_blocks"]):
        prefix = told["per_block_prefix"].format(N=block)
        shapes |= {prefix + name: shape for name, shape in told["per_block"].items()}
    folder.mkdir(parents=True)
    names, weight_map = list(shapes), {}
    for shard in range(16):
        held = names[shard * len(names) // 16 : (shard + 1) * len(names) // 16]
        header, end = {}, 0
        for name in held:
            begin, size = end, 4
            for extent in shapes[name]:
                size *= extent
            end = begin + size
            header[name] = {"dtype": "F32", "shape": shapes[name], "data_offsets": [begin, end]}
        text = json.dumps(header).encode()
        file = f"model-{shard + 1:05}-of-00016.safetensors"
        with (folder / file).open("wb") as opened:
            opened.write(len(text).to_bytes(8, "little") + text)
            opened.truncate(8 + len(text) + end)
        weight_map |= dict.fromkeys(held, file)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def test_the_released_transformer_is_known_without_reading_it(tmp_path: Path) -> None:
    """Its shards are holes in the file system: reading 74 GB would take minutes."""
    try:
        write_released(tmp_path / "ckpt" / "lingbot_world_fast")
    except OSError as error:
        pytest.skip(f"no files with holes here: {error}")
    report = told("lingbot", "--checkpoint", tmp_path / "ckpt")
    transformer = part(report, "transformer")
    assert transformer["status"] == "ok"
    assert transformer["contents"] == {
        "num_files": 16,
        "num_bytes": 4 * 18_544_332_864,
        "num_tensors": 1421,
        "num_parameters": 18_544_332_864,
        "dtypes": ["float32"],
    }
    assert (report["network"]["num_heads"], report["network"]["text_tokens"]) == (40, 512)
    assert not report["ok"], "codec and text are not there"
