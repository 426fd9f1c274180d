import types
from pathlib import Path

import pytest

from core.config import KEYS, GenerateConfig, resolve
from core.errors import InputError


def problem_of(
    flags: dict[str, object], env: dict[str, str], file: Path | None = None
) -> tuple[str, str, str]:
    with pytest.raises(InputError) as caught:
        resolve(flags, env, file)
    return caught.value.problem, caught.value.where, caught.value.hint


def settings(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "run.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_defaults_need_nothing() -> None:
    resolved = resolve({}, {})
    assert resolved.config == GenerateConfig()
    assert resolved.sources == {}
    assert (resolved.config.model, resolved.config.memory, resolved.config.keep_ratio) == (
        "mini",
        "worldkv",
        1.0,
    )


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = settings(tmp_path, "seed: 1\nsink: 1\nrecent: 1\n\nprompt: a room\n")
    env = {"WORLDKV_SEED": "2", "WORLDKV_SINK": "2", "HOME": "/"}
    resolved = resolve({"seed": 3, "sink": None}, env, file)
    config = resolved.config
    assert (config.seed, config.sink, config.recent, config.prompt, config.world_seed) == (
        3,
        2,
        1,
        "a room",
        0,
    )
    assert resolved.sources == {
        "seed": "--seed",
        "sink": "WORLDKV_SINK",
        "recent": f"{file}:3:1",
        "prompt": f"{file}:5:1",
    }


def test_environment_names_the_file(tmp_path: Path) -> None:
    file = settings(tmp_path, "seed: 5")
    assert resolve({}, {"WORLDKV_CONFIG": str(file)}).config.seed == 5
    other = tmp_path / "other.yaml"
    other.write_text("seed: 6")
    assert resolve({}, {"WORLDKV_CONFIG": str(file)}, other).config.seed == 6


def test_words_of_the_environment_become_values() -> None:
    env = {"WORLDKV_QUIET": "1", "WORLDKV_POOLED": "false", "WORLDKV_KEEP_RATIO": "0.25", "WORLDKV_SCALE": ""}
    config = resolve({}, env).config
    assert (config.quiet, config.pooled, config.keep_ratio, config.scale) == (True, False, 0.25, None)


@pytest.mark.parametrize(
    ("given", "prefix"),
    [("12", 12), (12, 12), ("clip.mp4", Path("clip.mp4")), (Path("a"), Path("a")), (None, None)],
)
def test_prefix_is_chunks_or_a_file(given: object, prefix: object) -> None:
    assert resolve({"prefix": given}, {}).config.prefix == prefix


@pytest.mark.parametrize("text", ["", "# nothing\n\n"])
def test_file_that_sets_nothing(tmp_path: Path, text: str) -> None:
    assert resolve({}, {}, settings(tmp_path, text)).config == GenerateConfig()


def test_unknown_key_of_a_file(tmp_path: Path) -> None:
    file = settings(tmp_path, "seed: 1\nkeep-ratio: 0.5\n")
    assert problem_of({}, {}, file) == ("unknown key 'keep-ratio'", f"{file}:2:1", "did you mean keep_ratio?")


def test_unknown_key_that_resembles_nothing(tmp_path: Path) -> None:
    _, _, hint = problem_of({}, {}, settings(tmp_path, "zzz: 1"))
    assert hint.startswith("known: model, traj, fit")


def test_unknown_variable() -> None:
    assert problem_of({}, {"WORLDKV_STRATGY": "rays"}) == (
        "unknown environment variable WORLDKV_STRATGY",
        "WORLDKV_STRATGY",
        "did you mean WORLDKV_STRATEGY?",
    )


@pytest.mark.parametrize(
    ("flags", "problem", "where"),
    [
        ({"seed": "abc"}, "seed must be a whole number, got 'abc'", "--seed"),
        ({"seed": -1}, "seed must lie in [0, 4,294,967,296), got -1", "--seed"),
        ({"seed": 1.5}, "seed must be a whole number, got 1.5", "--seed"),
        ({"seed": True}, "seed must be a whole number, got True", "--seed"),
        ({"keep_ratio": 0.0}, "keep_ratio must lie in (0, 1], got 0.0", "--keep-ratio"),
        ({"keep_ratio": 2.0}, "keep_ratio must lie in (0, 1], got 2.0", "--keep-ratio"),
        ({"keep_ratio": float("nan")}, "keep_ratio must be a finite number, got nan", "--keep-ratio"),
        ({"quiet": "perhaps"}, "quiet must be true or false, got 'perhaps'", "--quiet"),
        ({"prompt": 5}, "prompt must be text, got 5", "--prompt"),
        ({"image": 5}, "image must be a path, got 5", "--image"),
        ({"prefix": 1.5}, "prefix must be a whole number or a path, got 1.5", "--prefix"),
        ({"device": "gpu"}, "device must be auto, cpu, mps, cuda or cuda:N, got 'gpu'", "--device"),
        ({"sink": -2}, "sink must be at least 0, got -2", "--sink"),
        ({"retrieve": 0.0}, "retrieve must be above 0, got 0.0", "--retrieve"),
        ({"sink": "x"}, "sink must be a whole number, got 'x'", "--sink"),
        ({"as_json": 7}, "as_json must be true or false, got 7", "--json"),
    ],
)
def test_wrong_values_are_named(flags: dict[str, object], problem: str, where: str) -> None:
    told, place, hint = problem_of(flags, {})
    assert (told, place) == (problem, where)
    assert hint


def test_wrong_choice_names_the_nearest() -> None:
    assert problem_of({}, {"WORLDKV_MEMORY": "slidin"}) == (
        "memory must be 'full', 'sliding', 'sink' or 'worldkv', got 'slidin'",
        "WORLDKV_MEMORY",
        "did you mean sliding?",
    )


def test_wrong_value_of_a_file_has_its_line(tmp_path: Path) -> None:
    file = settings(tmp_path, "\n\nseed: [1, 2]\n")
    problem, where, _ = problem_of({}, {}, file)
    assert (problem, where) == ("seed must be a whole number, got [1, 2]", f"{file}:3:1")


@pytest.mark.parametrize(
    ("flags", "problem", "where"),
    [
        (
            {"retrieve": 2.0, "retrieve_tokens": 10},
            "retrieve and retrieve_tokens say the same in two units; give one",
            "--retrieve and --retrieve-tokens",
        ),
        (
            {"prefix": 3, "prefix_traj": "loop"},
            "prefix_traj is the camera path of a prefix video",
            "--prefix-traj",
        ),
        ({"memory": "sliding", "retrieve": 2.0}, "memory mode sliding retrieves nothing", "--retrieve"),
    ],
)
def test_settings_that_exclude_each_other(flags: dict[str, object], problem: str, where: str) -> None:
    told, place, _ = problem_of(flags, {})
    assert told.startswith(problem)
    assert place == where


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"seed: 1\nseed: 2\n", "seed"),
        (b"seed:\n", "'seed' has no value"),
        (b"- 1\n- 2\n", "the settings are no list of `key: value` lines"),
        (b"seed: [1, 2", ""),
        (b"\xff\xfe\x00", "the settings file is no UTF-8 text"),
        (b"# " + b"x" * 1_000_001, "a settings file has at most 1,000,000 bytes"),
    ],
)
def test_unreadable_files(tmp_path: Path, content: bytes, problem: str) -> None:
    file = settings(tmp_path, content)
    told, where, _ = problem_of({}, {}, file)
    assert problem in told
    assert where.startswith(str(file))


def test_missing_file(tmp_path: Path) -> None:
    told, where, hint = problem_of({}, {}, tmp_path / "nowhere.yaml")
    assert told == "the settings file cannot be read: No such file or directory"
    assert (where, hint) == (str(tmp_path / "nowhere.yaml"), "check --config")


def test_every_setting_is_described_and_frozen() -> None:
    assert all(field.description for field in GenerateConfig.model_fields.values())
    assert isinstance(KEYS, tuple)
    assert not isinstance(GenerateConfig.model_fields["memory"].annotation, types.UnionType)
    assert GenerateConfig.model_config["frozen"]


def test_dump_is_plain_data() -> None:
    dumped = resolve({"image": Path("a.png")}, {}).config.model_dump(mode="json")
    assert dumped["image"] == "a.png"
    assert set(dumped) == set(KEYS)
