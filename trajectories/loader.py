"""Finding, reading and compiling trajectories."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from trajectories.compiler import compile_file
from trajectories.document import parse_document
from trajectories.errors import SourceError, nearest
from trajectories.trajectory import Trajectory
from trajectories.validation import validate

MAX_FILE_BYTES = 1 << 20
_SUFFIXES = (".yaml", ".yml")


def library_names() -> list[str]:
    """Names of the bundled trajectories."""
    names = (entry.name for entry in _library().iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def load(source: str | Path) -> Trajectory:
    """Load a trajectory.

    Args:
        source: A bare library name (`loop`), or the path of a YAML file (anything with a slash or ending in
            `.yaml` or `.yml`).

    Raises:
        TrajectoryError: It cannot be found, read, understood or made.
    """
    text = str(source)
    if isinstance(source, str) and "/" not in text and "\\" not in text and not text.endswith(_SUFFIXES):
        return _load_from_library(text)
    path = Path(source)
    return parse(_decode(_read(path, text), text), source=text, name=path.stem)


def parse(text: str, *, source: str, name: str = "trajectory") -> Trajectory:
    """Compile the text of a trajectory file.

    Args:
        text: YAML.
        source: How errors call it.
        name: Its name if the header has none.

    Raises:
        TrajectoryError: It cannot be understood or made.
    """
    document = parse_document(text, label=source)
    return compile_file(validate(document), document, text=text, source=source, name=name)


def _library() -> Traversable:
    return resources.files("trajectories") / "library"


def _load_from_library(name: str) -> Trajectory:
    names = library_names()
    if name not in names:
        meant = nearest(name, names)
        suggestion = f"did you mean {meant}? " if meant else ""
        if Path(name).is_file():
            suggestion = f"to load the file, write ./{name}; "
        raise SourceError(
            f"no trajectory named '{name}' in the library",
            where=name,
            hint=f"{suggestion}the library has: {', '.join(names)}",
        )
    text = (_library() / f"{name}.yaml").read_text(encoding="utf-8")
    return parse(text, source=f"{name}.yaml", name=name)


def _read(path: Path, where: str) -> bytes:
    try:
        if path.is_dir():
            raise SourceError(
                "this is a folder, not a trajectory file", where=where, hint="name a .yaml file in it"
            )
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise SourceError(
            "no such trajectory file",
            where=where,
            hint=f"the library needs no path: {', '.join(library_names())}",
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceError(f"cannot read the trajectory file: {reason}", where=where) from error
    if len(content) > MAX_FILE_BYTES:
        raise SourceError(
            f"the file is larger than the {MAX_FILE_BYTES >> 20} MiB that a trajectory may have",
            where=where,
            hint="use `repeat` for what recurs",
        )
    return content


def _decode(content: bytes, where: str) -> str:
    hint = "a trajectory is a YAML text file in UTF-8"
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"not text: byte {error.start} is not UTF-8", where=where, hint=hint) from error
    if "\0" in text:
        raise SourceError(f"not text: byte {text.index(chr(0))} is zero", where=where, hint=hint)
    return text
