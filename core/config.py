"""The settings of a run: one place for each default, and where each value came from.

Flags win over environment variables (`WORLDKV_SEED=3`), those over a file (`--config run.yaml`, keys as
here), those over the defaults below. Paths are relative to the working folder, wherever they are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from core.errors import InputError
from core.memory.presets import PRESETS
from core.models.checkpoint.locate import CHECKPOINTS_ENV
from trajectories.document import parse_document
from trajectories.errors import YamlError, nearest

ENV_PREFIX = "WORLDKV_"
CONFIG_ENV = "WORLDKV_CONFIG"
"""Names a settings file, like `--config`."""

MAX_CONFIG_BYTES = 1_000_000


def _chunks_or_file(value: object) -> object:
    """`--prefix 12` counts chunks, `--prefix clip.mp4` names a file."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _words(value: Any) -> Any:  # noqa: ANN401 - whatever the user wrote
    """`int8,int4` as a list."""
    return (
        tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value
    )


class GenerateConfig(BaseModel):
    """The settings of `worldkv generate`. None means: as the model or the strategy recommends."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # What is made
    model: str = Field(default="mini", description="Model, see `worldkv models list`.")
    traj: str | None = Field(default=None, description="Trajectory: a library name or a file.")
    fit: Literal["cut", "pad"] = Field(default="cut", description="How frames come to fill whole chunks.")
    image: Path | None = Field(default=None, description="First frame; None: the model's own.")
    prompt: str | None = Field(default=None, description="Text, for models that take it.")
    checkpoint: Path | None = Field(
        default=None, description="Folder of the model's files; None: wherever they are found."
    )
    size: str | None = Field(
        default=None, description="Width x height of the video; None: the model's, or of the image's shape."
    )
    variant: Literal["universal", "gta_drive", "templerun"] | None = Field(
        default=None, description="Which of matrix-game's networks; None: universal."
    )
    mouse_deg: float | None = Field(
        default=None, gt=0, description="Degrees that a mouse unit turns; None: 15, as far as is known."
    )
    key_units: float | None = Field(
        default=None, gt=0, description="Units that a key moves in a video frame; None: the trajectory's."
    )
    fov_deg: float | None = Field(
        default=None,
        gt=0,
        lt=180,
        description="Degrees that a model steered by actions is taken to see; None: 90.",
    )
    chunk_frames: int | None = Field(
        default=None, gt=0, description="Latent frames denoised together, where a model knows several."
    )
    translation_scale: float | None = Field(
        default=None,
        gt=0,
        description="Trajectory units that the model takes as 1; None: the longest step of the trajectory.",
    )
    conditioning: Literal["exact", "release"] = Field(
        default="exact",
        description="Cameras and size as they should be, or as the reference release makes them.",
    )
    prefix: Annotated[int | Path | None, BeforeValidator(_chunks_or_file)] = Field(
        default=None, description="What is given before the rollout: chunks of a true walk, or a video file."
    )
    prefix_traj: str | None = Field(default=None, description="Camera path of a prefix video.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of the noise.")
    world_seed: int = Field(
        default=0, ge=0, lt=2**32, description="Which world, for models that make their own."
    )

    # What is remembered
    memory_preset: Literal["worldkv", "worldkv-release", "worldkv-paper"] | None = Field(
        default=None, description="Memory settings that belong together; what is set beside it wins."
    )
    memory: Literal["full", "sliding", "sink", "worldkv"] = Field(
        default="worldkv", description="What a chunk may look back at."
    )
    sink: int | None = Field(default=None, ge=0, description="First latent frames that always stay.")
    recent: int | None = Field(default=None, ge=0, description="Newest latent frames that stay.")
    retrieve: float | None = Field(default=None, gt=0, description="Retrieved tokens, in chunks' worth.")
    retrieve_tokens: int | None = Field(default=None, gt=0, description="The same in tokens.")
    strategy: Literal["pose", "coverage", "rays"] | None = Field(
        default=None, description="What is retrieved; None: what the model does best with."
    )
    gate: float | None = Field(
        default=None,
        ge=0,
        description="Leave out what corresponds worse: least gain (coverage), largest distance (rays).",
    )
    order: Literal["older", "newer"] = Field(
        default="older", description="Which visit wins where several correspond alike (rays)."
    )
    near_depth: float | None = Field(
        default=None,
        gt=0,
        description="Nearest depth of what is seen, in trajectory units (rays); None: directions alone.",
    )
    copies: int | None = Field(
        default=None, gt=0, description="Most tokens that one place of the view takes (rays); None: no limit."
    )
    chunk_copies: int | None = Field(default=None, gt=0, description="The same from one past chunk (rays).")
    positions: Literal["absolute", "contiguous", "listed", "slot"] | None = Field(
        default=None, description="Where in time retrieved keys pretend to be; None: as the model needs it."
    )
    prune: Literal["none", "key", "view", "random", "stride"] | None = Field(
        default=None, description="Which tokens stay when a chunk is pruned; None: as measured on the model."
    )
    keep_ratio: float = Field(default=1.0, gt=0, le=1, description="Share of the non-anchor tokens kept.")
    pooled: bool = Field(default=False, description="One keep budget a chunk instead of one a frame.")
    bank: Literal["device", "host", "disk"] | None = Field(
        default=None, description="Where all stored tokens are kept; None: wherever the budgets leave room."
    )
    bank_precision: Literal["native", "int8", "int4"] | None = Field(
        default=None, description="How they are kept; None: native, or what is allowed where room is short."
    )
    commit: Literal["clean", "last"] = Field(
        default="clean",
        description="Which pass writes what is remembered: one more over the clean latents, or the last one.",
    )
    keep_all: bool = Field(default=False, description="Store every chunk, also what no later chunk needs.")

    # What it may take
    vram_budget: ByteSize | None = Field(
        default=None, gt=0, description="Memory of the device that the run may take, such as 40GiB."
    )
    ram_budget: ByteSize | None = Field(
        default=None, gt=0, description="Memory of the host that the run may take, such as 64GiB."
    )
    disk_budget: ByteSize | None = Field(
        default=None, gt=0, description="Disk space that the bank may take where memory is short."
    )
    allow: Annotated[tuple[Literal["int8", "int4", "prune"], ...], BeforeValidator(_words)] = Field(
        default=(),
        description="What may cost fidelity where room is short: int8, int4, pruning of some chunks.",
    )
    weights: Literal["auto", "resident", "streamed", "int8", "fp8"] = Field(
        default="auto",
        description="On the device, streamed from the host, or quantised; auto: as the budget allows.",
    )
    decode_dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="Precision in which latents become pictures."
    )

    # Where it runs and what comes out
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="Device.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(default="auto", description="Precision.")
    out: Path | None = Field(default=None, description="Run folder; None: runs/<name>-<time>.")
    overwrite: bool = Field(default=False, description="Replace an earlier run in the folder.")
    scale: int | None = Field(default=None, ge=1, le=64, description="Enlargement of the frames in the MP4.")
    quiet: bool = Field(default=False, description="No progress.")
    as_json: bool = Field(default=False, description="Print the result as one JSON object.")

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_as_number(cls, value: Any, info: Any) -> Any:  # noqa: ANN401 - any setting
        """`seed: yes` is a mistake, not 1."""
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise PydanticCustomError("no_bool", "is neither true nor false")
        return value


KEYS = tuple(GenerateConfig.model_fields)


@dataclass(frozen=True)
class Resolved:
    """Settings, and who set them.

    Attributes:
        config: The settings.
        sources: For each key that is no default: the flag, the environment variable or the place in the file.
    """

    config: GenerateConfig
    sources: Mapping[str, str]


def resolve(flags: Mapping[str, Any], env: Mapping[str, str], config_file: Path | None = None) -> Resolved:
    """Combine flags, environment, settings file and defaults.

    Args:
        flags: Values by key; None for flags that were not given.
        env: The environment; an empty variable counts as unset.
        config_file: The settings file; None for the one that `WORLDKV_CONFIG` names, if any.

    Raises:
        InputError: An unknown key, a wrong type or range, or settings that exclude each other.
    """
    if config_file is None and env.get(CONFIG_ENV):
        config_file = Path(env[CONFIG_ENV])
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    layers = [_read_env(env), {key: (value, _flag(key)) for key, value in flags.items() if value is not None}]
    if config_file is not None:
        layers.insert(0, _read_file(config_file))
    for layer in layers:
        for key, (value, source) in layer.items():
            values[key], sources[key] = value, source
    _add_preset(values, sources)
    try:
        config = GenerateConfig.model_validate(values)
    except ValidationError as error:
        raise _wrong_value(error.errors(include_url=False)[0], sources) from None
    _check_together(config, sources)
    return Resolved(config=config, sources=sources)


def _add_preset(values: dict[str, Any], sources: dict[str, str]) -> None:
    """What the memory preset says, where nothing else says it; how much it retrieves depends on the model."""
    named = PRESETS.get(str(values.get("memory_preset")))
    if named is None:
        return
    settings: dict[str, Any] = {
        "strategy": named.strategy,
        "sink": named.sink_frames,
        "prune": named.prune,
        "keep_ratio": named.keep_ratio,
        "pooled": named.pooled,
    }
    if named.reproduces:  # ours leaves the model what it needs
        settings |= {"recent": named.recent_frames, "positions": str(named.positions)}
    for key, value in settings.items():
        if key not in values:
            values[key], sources[key] = value, f"{sources['memory_preset']} {named.name}"


def _check_together(config: GenerateConfig, sources: Mapping[str, str]) -> None:
    if config.retrieve is not None and config.retrieve_tokens is not None:
        raise InputError(
            "retrieve and retrieve_tokens say the same in two units; give one",
            where=f"{sources['retrieve']} and {sources['retrieve_tokens']}",
        )
    if config.prefix_traj is not None and not isinstance(config.prefix, Path):
        raise InputError(
            "prefix_traj is the camera path of a prefix video, and there is none",
            where=sources["prefix_traj"],
            hint="add --prefix clip.mp4",
        )
    if config.memory_preset is not None and config.memory != "worldkv":
        raise InputError(
            f"a memory preset is one of memory mode worldkv, not of {config.memory}",
            where=sources["memory_preset"],
            hint="leave out one of the two",
        )
    if config.retrieve is None and config.retrieve_tokens is None:
        return
    if config.memory != "worldkv":
        raise InputError(
            f"memory mode {config.memory} retrieves nothing",
            where=sources.get("retrieve") or sources["retrieve_tokens"],
            hint="use --memory worldkv, or leave this out",
        )


def _read_env(env: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    found = {}
    for name, value in env.items():
        # CHECKPOINTS_ENV says where models are, which is no setting of a run.
        if not name.startswith(ENV_PREFIX) or name in (CONFIG_ENV, CHECKPOINTS_ENV) or not value:
            continue
        key = name.removeprefix(ENV_PREFIX).lower()
        if key not in KEYS:
            near = nearest(key, KEYS)
            hint = f"did you mean {ENV_PREFIX}{near.upper()}?" if near else "unset it"
            raise InputError(f"unknown environment variable {name}", where=name, hint=hint)
        found[key] = (value, name)
    return found


def _read_file(path: Path) -> dict[str, tuple[Any, str]]:
    text = _read_text(path)
    if not any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines()):
        return {}
    try:
        document = parse_document(text, label=str(path))
    except YamlError as error:
        raise InputError(error.problem, where=error.where, hint=error.hint) from error
    if not isinstance(document.data, dict):
        hint = "a settings file has lines like `seed: 3`"
        raise InputError("the settings are no list of `key: value` lines", where=str(path), hint=hint)
    found = {}
    for key, value in document.data.items():
        where = document.where((key,), at_key=True).partition(" (")[0]
        if key not in KEYS:
            near = nearest(key.replace("-", "_"), KEYS)
            hint = f"did you mean {near}?" if near else f"known: {', '.join(KEYS)}"
            raise InputError(f"unknown key {key!r}", where=where, hint=hint)
        found[key] = (value, where)
    return found


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
        if len(data) > MAX_CONFIG_BYTES:
            raise InputError(f"a settings file has at most {MAX_CONFIG_BYTES:,} bytes", where=str(path))
        return data.decode()
    except OSError as error:
        problem = f"the settings file cannot be read: {error.strerror}"
        raise InputError(problem, where=str(path), hint="check --config") from error
    except UnicodeDecodeError as error:
        raise InputError(
            "the settings file is no UTF-8 text", where=str(path), hint="check --config"
        ) from error


def _wrong_value(error: ErrorDetails, sources: Mapping[str, str]) -> InputError:
    key = str(error["loc"][0])
    value = error["input"]
    near = nearest(str(value), _choices(key)) if _choices(key) else None
    description = (GenerateConfig.model_fields[key].description or "").rstrip(".")
    hint = f"did you mean {near}?" if near else f"{key}: {description[:1].lower()}{description[1:]}"
    return InputError(f"{key} must {_expected(key, error)}, got {value!r}", where=sources[key], hint=hint)


def _choices(key: str) -> tuple[str, ...]:
    annotation = GenerateConfig.model_fields[key].annotation
    kinds = (annotation, *get_args(annotation))  # a choice may be optional
    return next((get_args(kind) for kind in kinds if get_origin(kind) is Literal), ())


def _expected(key: str, error: ErrorDetails) -> str:
    """What a setting must be, in words."""
    kind, annotation = error["type"], GenerateConfig.model_fields[key].annotation
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        return _range(key)
    if kind == "literal_error":
        return f"be {error['ctx']['expected']}"
    if kind == "string_pattern_mismatch":
        return "be auto, cpu, mps, cuda or cuda:N"
    if kind == "finite_number":
        return "be a finite number"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    words[ByteSize] = "a size such as 40GiB"
    members = get_args(annotation) or (annotation,)
    return "be " + " or ".join(words[member] for member in members if member in words)


def _range(key: str) -> str:
    """The bounds of a setting, as "lie in (0, 1]" or "be at least 0"."""
    bounds = {
        name: f"{getattr(each, name):,}".removesuffix(".0")
        for each in GenerateConfig.model_fields[key].metadata
        for name in _bounds(each)
    }
    low = f"({bounds['gt']}" if "gt" in bounds else f"[{bounds['ge']}"
    if "lt" in bounds or "le" in bounds:
        return f"lie in {low}, " + (f"{bounds['lt']})" if "lt" in bounds else f"{bounds['le']}]")
    return f"be above {bounds['gt']}" if "gt" in bounds else f"be at least {bounds['ge']}"


def _bounds(metadata: object) -> list[str]:
    return [name for name in ("gt", "ge", "lt", "le") if hasattr(metadata, name)]


def _flag(key: str) -> str:
    return "--json" if key == "as_json" else f"--{key.replace('_', '-')}"
