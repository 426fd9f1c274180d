from pathlib import Path

import pytest

from core.batch.loader import load_batch
from core.batch.problems import ManifestError
from core.errors import InputError
from tests.core.batch.manifests import load, write

FULL = """\
version: 1
out: results
names: "{traj}-{mode}-s{seed:02}"
layout: "{mode}/{name}"
defaults: {scale: 1, memory: sink}
matrix:
  traj: [./short.yaml, loop]
  seed: 0..2
  mode:
    sink: {memory: sink}
    rays: {memory: worldkv, strategy: rays}
  exclude:
    - {traj: loop, seed: [1, 2]}
  include:
    - {traj: loop, seed: 9, mode: rays, world_seed: 3}
  overrides:
    - {when: {mode: rays, traj: loop}, set: {retrieve: 1}, resources: {time: 2h}}
jobs:
  - {name: own, traj: orbit, resources: {sbatch: {constraint: a100}}}
resources: {gpus: 1, time: "0:30:00", sbatch: {nice: 5}}
retries: 2
"""


def problems(folder: Path, text: str) -> list[tuple[str, str, str]]:
    """What is wrong: the words, line:column, and the hint."""
    path = write(folder, text)
    with pytest.raises(ManifestError) as caught:
        load_batch(path)
    return [(p.problem, p.where.removeprefix(f"{path}:"), p.hint) for p in caught.value.problems]


class TestGood:
    def test_matrix_list_and_overrides(self, tmp_path: Path) -> None:
        batch = load(tmp_path, FULL)
        assert [str(job.folder.relative_to(tmp_path / "results")) for job in batch.jobs] == [
            "sink/short-sink-s00",
            "rays/short-rays-s00",
            "sink/short-sink-s01",
            "rays/short-rays-s01",
            "sink/short-sink-s02",
            "rays/short-rays-s02",
            "sink/loop-sink-s00",
            "rays/loop-rays-s00",
            "rays/loop-rays-s09",
            "own",
        ]
        short, rays, included, own = (batch.jobs[index] for index in (0, 7, 8, 9))
        config = short.resolved.config
        assert (config.traj, config.seed, config.memory) == (str(tmp_path / "short.yaml"), 0, "sink")
        assert (rays.resolved.config.memory, rays.resolved.config.retrieve) == ("worldkv", 1)
        assert (included.resolved.config.world_seed, included.resolved.config.retrieve) == (3, 1)
        assert (own.resolved.config.traj, own.resolved.config.memory, own.labels) == ("orbit", "sink", {})
        assert (batch.axes, batch.retries) == (("traj", "seed", "mode"), 2)

    def test_places_of_settings(self, tmp_path: Path) -> None:
        sources = load(tmp_path, FULL).jobs[7].resolved.sources
        path = tmp_path / "batch.yaml"
        assert sources["seed"] == f"{path}:8:9"
        assert sources["retrieve"] == f"{path}:17:56"
        assert sources["scale"] == f"{path}:5:19"

    def test_resources(self, tmp_path: Path) -> None:
        batch = load(tmp_path, FULL)
        usual, longer, own = (batch.jobs[index].resources for index in (0, 7, 9))
        assert (usual.gpus, usual.time_s, longer.gpus, longer.time_s) == (1, 1800, 1, 7200)
        assert own.sbatch == {"nice": 5, "constraint": "a100"}

    def test_globs_and_ranges(self, tmp_path: Path) -> None:
        scenes = tmp_path / "scenes"
        scenes.mkdir()
        for name in ("b.png", "a.png", "c.txt"):
            (scenes / name).write_bytes(b"")
        text = """\
        version: 1
        matrix: {image: scenes/*.png, traj: [loop], seed: [7, 0..1]}
        """
        batch = load(tmp_path, text)
        assert [job.name for job in batch.jobs[:3]] == ["a-loop-s7", "a-loop-s0", "a-loop-s1"]
        assert [job.resolved.config.image for job in batch.jobs[::3]] == [scenes / "a.png", scenes / "b.png"]

    def test_out_is_beside_the_manifest(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path, "version: 1\njobs: [{name: one, traj: loop}]\n", "rooms.yaml")
        monkeypatch.chdir(tmp_path)
        batch = load_batch(Path("rooms.yaml"))
        assert batch.jobs[0].folder == tmp_path / "runs" / "rooms" / "one"

    def test_environment_has_no_say(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WORLDKV_SEED", "9")
        assert (
            load(tmp_path, "version: 1\njobs: [{name: one, traj: loop}]\n").jobs[0].resolved.config.seed == 0
        )

    def test_jobs_by_name(self, tmp_path: Path) -> None:
        batch = load(tmp_path, FULL)
        assert [job.name for job in batch.only(["own", "loop-rays-s09"]).jobs] == ["loop-rays-s09", "own"]
        with pytest.raises(InputError, match="the batch has no job 'oen'") as caught:
            batch.only(["oen"])
        assert caught.value.hint == "did you mean own?"


class TestBad:
    def test_everything_is_told_at_once(self, tmp_path: Path) -> None:
        text = """\
        version: 1
        defaults: {scale: x, sed: 1}
        matrix:
          traj: [nothere*.yaml, 7]
          seeds: 0..2
          mode: {rays: {strategy: ray}}
        jobs:
          - {name: own, traj: orbit, out: x}
        """
        assert problems(tmp_path, text) == [
            ("scale must be a whole number, got 'x'", "2:19", "scale: enlargement of the frames in the MP4"),
            ("unknown key 'sed'", "2:22", "did you mean seed?"),
            ("no file matches nothere*.yaml", "4:10", f"paths are relative to {tmp_path}"),
            ("traj must be text, got 7", "4:25", "traj: trajectory: a library name or a file"),
            ("the axis traj has no values", "4:9", "give a list"),
            (
                "no setting is called 'seeds'",
                "5:3",
                "did you mean seed? an axis of another name has named groups: {name: {setting: value}}",
            ),
            ("strategy must be 'pose', 'coverage' or 'rays', got 'ray'", "6:27", "did you mean rays?"),
            ("out is the batch's own matter", "8:30", "folders follow from `out` and `layout`"),
        ]

    def test_keys_of_the_manifest(self, tmp_path: Path) -> None:
        text = """\
        version: 1
        name: x
        resources: {gpus: -1, time: soon, memory: lots}
        matrix: {seed: 1, overrides: [{wen: {seed: 1}}]}
        jobs:
          - {nam: own}
        retries: yes
        restarts: true
        """
        assert problems(tmp_path, text) == [
            ("unknown key 'name'", "2:1", "did you mean names?"),
            ("resources.gpus must be at least 0, got -1", "3:19", ""),
            ("resources.time must be a time such as 2:00:00, 1-12:00:00, 90m or 2h, got 'soon'", "3:29", ""),
            ("resources.memory must be a size such as 32GiB, got 'lots'", "3:43", ""),
            ("unknown key 'wen'", "4:32", "did you mean when?"),
            ("missing key 'name'", "6:5", "add `name: ...`"),
            ("retries must be a whole number, got 'yes'", "7:10", ""),
            ("restarts must be a whole number, got True", "8:11", ""),
        ]

    @pytest.mark.parametrize(
        ("matrix", "problem", "hint"),
        [
            ("seed: 0..1, exclude: [{sed: 1}]", "there is no axis 'sed'", "did you mean seed?"),
            ("seed: 0..1, exclude: [{seed: 5}]", "the axis seed has no 5", "known: 0, 1"),
            ("seed: 0..1, exclude: [{}]", "this means every job", "name an axis and a value"),
            (
                "seed: 0..1, exclude: [{seed: 1}, {seed: 1}]",
                "this excludes no job",
                "is it excluded already?",
            ),
            (
                "seed: 0..1, overrides: [{when: {seed: 7}, set: {scale: 2}}]",
                "this overrides no job",
                "is it excluded?",
            ),
            (
                "seed: 0..1, memory: [sink], include: [{seed: 3}]",
                "what is included needs a value for every axis",
                "add memory: ...",
            ),
            (
                "mode: {sink: {memory: sink}}, include: [{mode: sinc}]",
                "the axis mode has no 'sinc'",
                "did you mean sink?",
            ),
            (
                "seed: 0..1, mode: {one: {seed: 7}}",
                "the axes seed and mode both set seed",
                "let one of them do it",
            ),
            ("seed: 5..1", "the range 5..1 of seed is not one", "count upwards, at most 100,000 values"),
            (
                "seed: 0..9999, world_seed: 0..99",
                "the matrix has 1,000,000 jobs, a batch at most 100,000",
                "make several batches of it",
            ),
            ("exclude: [{seed: 1}]", "the matrix has no axes", "add one, such as seed: 0..3"),
            ("mode: {one: 3}", "a named group of the axis mode is a mapping of settings", None),
        ],
    )
    def test_matrix(self, tmp_path: Path, matrix: str, problem: str, hint: str | None) -> None:
        text = f"version: 1\ndefaults: {{traj: loop}}\nmatrix: {{{matrix}}}\n"
        first = problems(tmp_path, text)[0]
        assert first[0] == problem
        assert hint is None or first[2] == hint

    @pytest.mark.parametrize(
        ("text", "problem", "hint"),
        [
            ('names: "{traj}"', "two jobs are called loop (traj loop, seed 1)", "let `names` use every axis"),
            ('names: "{sed}"', "the template has an unknown field {sed}", "did you mean {seed}?"),
            ('names: "{seed:q}"', "the template '{seed:q}' cannot be read: Unknown format code 'q'", ""),
            ('layout: "x"', "the folders of loop-s0 and loop-s1 lie in each other", "let `layout` end with"),
            ('layout: "logs/{name}"', "logs is where the batch keeps its logs", "choose another layout"),
            ('layout: "../{name}"', "'..' cannot name a job", "letters, digits and _ . + = -"),
        ],
    )
    def test_names(self, tmp_path: Path, text: str, problem: str, hint: str) -> None:
        found = problems(tmp_path, f"version: 1\n{text}\nmatrix: {{traj: [loop], seed: 0..1}}\n")[0]
        assert found[0].startswith(problem)
        assert found[2].startswith(hint)

    def test_settings_that_exclude_each_other(self, tmp_path: Path) -> None:
        text = """\
        version: 1
        defaults: {traj: loop}
        matrix:
          memory: [worldkv, sink]
          retrieve: [1, 2]
        """
        assert problems(tmp_path, text) == [
            ("memory mode sink retrieves nothing", "5:14", "use --memory worldkv, or leave this out"),
            ("memory mode sink retrieves nothing", "5:17", "use --memory worldkv, or leave this out"),
        ]

    def test_names_that_differ_in_capitals_alone(self, tmp_path: Path) -> None:
        text = "version: 1\njobs: [{name: one, traj: loop}, {name: ONE, traj: loop}]\n"
        assert problems(tmp_path, text) == [("two jobs are called ONE", "2:33", "rename one of them")]

    def test_files_of_one_name(self, tmp_path: Path) -> None:
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "x.png").write_bytes(b"")
        found = problems(tmp_path, "version: 1\nmatrix: {image: [a/x.png, b/x.png]}\n")
        assert found[0][0] == "two values of the axis image are called 'x'"

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "the file is empty"),
            ("- 1\n", "a batch is a mapping of keys"),
            ("version: 2\njobs: []\n", "version: input should be 1, got 2"),
            ("version: 1\n", "the batch has no jobs"),
            ("version: 1\njobs: [\n", "not valid YAML"),
        ],
    )
    def test_no_batch_at_all(self, tmp_path: Path, text: str, problem: str) -> None:
        assert problems(tmp_path, text)[0][0].startswith(problem)

    def test_unreadable(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="the batch file cannot be read: No such file"):
            load_batch(tmp_path / "nothere.yaml")
        (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(InputError, match="no UTF-8"):
            load_batch(tmp_path / "binary.yaml")


def test_schema_knows_every_setting() -> None:
    from core.batch.schema import OWN_KEYS, batch_json_schema
    from core.config import KEYS

    found = batch_json_schema()["properties"]["defaults"]["properties"]
    assert set(found) == set(KEYS) - set(OWN_KEYS)
