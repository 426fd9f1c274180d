"""Image, scripts and task files, without docker or a cloud: can they be read, is there what they name?"""

from __future__ import annotations

import fnmatch
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.test_readme import options_of

ROOT = Path(__file__).parent.parent
CONTAINERS = ROOT / "containers"
DOCKERFILE = (CONTAINERS / "Dockerfile").read_text()
CLUSTERS = (ROOT / "docs" / "clusters.md").read_text()
SKYPILOT = yaml.safe_load((CONTAINERS / "skypilot.yaml").read_text())
SBATCH = (CONTAINERS / "batch.sbatch").read_text()
KNOWN = {"FROM", "ENV", "WORKDIR", "COPY", "ARG", "RUN", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with their arguments; continued lines are joined."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def arguments_of(name: str) -> list[str]:
    return [rest for word, rest in instructions() if word == name]


def is_ignored(path: str) -> bool:
    """Whether .dockerignore leaves out a path of the root; the last rule that fits decides."""
    ignored = False
    for rule in (ROOT / ".dockerignore").read_text().splitlines():
        if rule and not rule.startswith("#") and fnmatch.fnmatch(path, rule.removeprefix("!")):
            ignored = not rule.startswith("!")
    return ignored


def shell_blocks() -> Iterator[tuple[str, str]]:
    """Every piece of shell, by name."""
    yield "batch.sbatch", SBATCH
    yield "skypilot setup", SKYPILOT["setup"]
    yield "skypilot run", SKYPILOT["run"]
    for number, text in enumerate(arguments_of("RUN")):
        yield f"RUN {number}", text
    for number, match in enumerate(re.finditer(r"```bash\n(.*?)```", CLUSTERS, re.DOTALL)):
        yield f"clusters.md {number}", match[1]


def worldkv_commands() -> Iterator[str]:
    """What the files call; in an image, what follows its name."""
    for _, text in shell_blocks():
        for line in text.replace("\\\n", " ").splitlines():
            command = line.partition(" #")[0].strip()
            match = re.match(r"worldkv .*|.*(?:worldkv:\w+|\"\$image\") (.*)", command)
            if match is not None and not command.startswith(("#", "apptainer build")):
                yield match[1] or command.removeprefix("worldkv ")


def test_stages() -> None:
    stages: list[str] = []
    for rest in arguments_of("FROM"):
        image, _, name = rest.partition(" AS ")
        assert image in stages or re.fullmatch(r"python:3\.\d+-slim-\w+", image)
        stages.append(name)
    assert {"cpu", "cuda"} <= set(stages)
    built = re.findall(r"--target (\w+)", DOCKERFILE)
    assert set(built) == {"cpu", "cuda"}


def test_every_line_is_an_instruction() -> None:
    assert {word for word, _ in instructions()} == KNOWN


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    sources = [source for rest in arguments_of("COPY") for source in rest.split()[:-1]]
    assert [source for source in sources if not (ROOT / source).exists() or is_ignored(source)] == []
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(needed["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= set(sources)
    assert is_ignored("tests")
    assert is_ignored(".git")


def test_extras_exist() -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    texts = [DOCKERFILE, SKYPILOT["setup"], CLUSTERS]
    named = {
        name
        for text in texts
        for group in re.findall(r'"(?:\.|worldkv)\[([\w,]+)\]"', text)
        for name in group.split(",")
    }
    assert named
    assert named <= set(known)


@pytest.mark.parametrize(
    ("name", "text"), list(shell_blocks()), ids=lambda value: value if len(value) < 20 else ""
)
def test_shell_can_be_read(name: str, text: str) -> None:
    told = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
    assert (told.returncode, told.stderr) == (0, ""), name


def test_broken_shell_would_be_found() -> None:
    assert subprocess.run(
        ["bash", "-n"], input="if x; then", text=True, capture_output=True, check=False
    ).returncode


@pytest.mark.parametrize("command", sorted(set(worldkv_commands())))
def test_commands_exist(command: str) -> None:
    words = shlex.split(command)
    path, options, _ = options_of(words)
    assert path or words == ["--help"]
    rest = words[len(path) :]
    assert [word for word in rest if word.startswith("-") and word not in options] == []


def test_all_kinds_of_commands_were_found() -> None:
    found = sorted(set(worldkv_commands()))
    assert any(each.startswith("batch submit") for each in found)
    assert 'batch run "$manifest" --workers 1 --quiet' in found
    assert "doctor" in found


def test_sbatch_options_come_before_the_first_command() -> None:
    """SLURM reads no option after that."""
    lines = SBATCH.splitlines()
    first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    options = [i for i, line in enumerate(lines) if line.startswith("#SBATCH ")]
    assert options
    assert max(options) < first
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", lines[i]) for i in options)


def test_skypilot_task() -> None:
    assert set(SKYPILOT) <= {"name", "resources", "workdir", "envs", "file_mounts", "setup", "run"}
    assert SKYPILOT["file_mounts"]["/runs"]["mode"] == "MOUNT"
    variables = set(re.findall(r"\$(\w+)", SKYPILOT["run"]))
    assert variables == set(SKYPILOT["envs"])


def test_links_of_the_page_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", CLUSTERS)
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
