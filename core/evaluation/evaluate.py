"""From run folders to a report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from core.config import GenerateConfig
from core.errors import InputError, ModelFilesError
from core.evaluation.against import Found, Watch, find_baseline, run_quietly
from core.evaluation.codecs import Encode, open_codec
from core.evaluation.comparison import Metrics
from core.evaluation.groups import differences_of, few_rollouts_note, groups_of, repeats_note
from core.evaluation.protocol import Protocol
from core.evaluation.recording import Recording, open_recording
from core.evaluation.scores import Place, score_run
from core.evaluation.subjects import group_names, rollout_key, settings_of
from core.fidelity.pairs import CONTROL_DISTANCE
from core.fidelity.perceptual import Lpips, find_lpips
from core.schemas.eval import Baseline, EvalReport, ProtocolRecord

OnRun = Callable[[Path], None]


def gather(
    folders: Sequence[Path], modes: Sequence[str] = (), run: Watch = run_quietly
) -> tuple[list[Recording], list[Found]]:
    """Open runs, and their baselines: made where they are missing.

    Args:
        folders: Run folders; each counts once.
        modes: Memory modes of the baselines.
        run: Makes a baseline.

    Raises:
        InputError: One is no run folder, or its trajectory is not what it was.
        WorldKVError: A baseline cannot be made.
        KeyboardInterrupt: Somebody stopped the making of one.
    """
    if not folders:
        raise InputError("no run named", where="RUN", hint="worldkv eval runs/NAME")
    recordings = [open_recording(folder) for folder in _once(folders)]
    known = {recording.folder.resolve(): recording for recording in recordings}
    found: list[Found] = []
    ordered: dict[Path, Recording] = {}
    for recording in recordings:
        ordered.setdefault(recording.folder.resolve(), recording)
        for mode in modes:
            if mode == recording.config.memory:
                continue
            each = find_baseline(recording, mode, tuple(known.values()), run)  # one may serve several runs
            place = each.folder.resolve()
            ordered[place] = known[place] = known.get(place) or open_recording(each.folder)
            found.append(each)
    return list(ordered.values()), found


def evaluate(
    recordings: Sequence[Recording],
    *,
    protocol: Protocol,
    baselines: Sequence[Found] = (),
    latents: bool = False,
    on_run: OnRun = lambda _: None,
) -> EvalReport:
    """Measure what runs remember.

    Args:
        recordings: Runs; the first one's settings are compared with all others.
        protocol: Which frames are compared.
        baselines: Which of them were found or made for others.
        latents: Whether large models' codecs are loaded, too.
        on_run: Told before each run.

    Raises:
        InputError: A video cannot be read.
        ModelFilesError: `latents` is wanted of a model whose codec is not at hand.
    """
    settings = [settings_of(each.config, each.log.plan) for each in recordings]
    names = group_names(settings)
    lpips, missing = _lpips()
    codecs = _Codecs(latents)
    stops = _stops(recordings)
    runs = []
    for recording, name, stop in zip(recordings, names, stops, strict=True):
        on_run(recording.folder)
        metrics = Metrics(codecs.of(recording.config), lpips)
        place = Place(name, rollout_key(recording), stop)
        runs.append(score_run(recording, place, protocol, metrics))
    groups = groups_of(runs, _telling(names, settings))
    return EvalReport(
        protocol=ProtocolRecord(
            max_distance=protocol.max_distance,
            min_gap_frames=protocol.min_gap_frames,
            max_pairs=protocol.max_pairs,
            control_distance=CONTROL_DISTANCE,
            seed=protocol.seed,
        ),
        missing=missing | codecs.missing,
        baselines=tuple(
            Baseline(of=str(each.of), memory=each.memory, folder=str(each.folder), made=each.made)
            for each in baselines
        ),
        runs=tuple(runs),
        groups=groups,
        differences=differences_of(runs),
        notes=tuple(
            note
            for note in (_shorter(recordings, stops), repeats_note(runs), few_rollouts_note(groups))
            if note
        ),
    )


def _once(folders: Sequence[Path]) -> list[Path]:
    return list({folder.resolve(): folder for folder in folders}.values())


def _stops(recordings: Sequence[Recording]) -> list[int]:
    """Frames of every run that are compared: those that all runs of the same cameras have."""
    keys = [hashlib.sha256(each.c2w.tobytes()).digest() for each in recordings]
    least: dict[bytes, int] = {}
    for key, each in zip(keys, recordings, strict=True):
        least[key] = min(each.num_frames, least.get(key, each.num_frames))
    return [least[key] for key in keys]


def _shorter(recordings: Sequence[Recording], stops: Sequence[int]) -> str:
    cut = [stop for each, stop in zip(recordings, stops, strict=True) if stop < each.num_frames]
    if not cut:
        return ""
    return f"runs of one trajectory are compared up to the shortest one's end: frame {min(cut)}"


def _lpips() -> tuple[Lpips | None, dict[str, str]]:
    try:
        return Lpips(find_lpips()), {}
    except ModelFilesError as error:
        return None, {"lpips": f"{error.problem} ({error.where})"}


class _Codecs:
    """The codec of every model, loaded once."""

    def __init__(self, wanted: bool) -> None:
        self.missing: dict[str, str] = {}
        self._wanted = wanted
        self._known: dict[tuple[str, Path | None], Encode | None] = {}

    def of(self, config: GenerateConfig) -> Encode | None:
        """A model's codec; None where it is not asked for."""
        key = (config.model, config.checkpoint)
        if key not in self._known:
            self._known[key] = self._open(config)
        return self._known[key]

    def _open(self, config: GenerateConfig) -> Encode | None:
        try:
            return open_codec(config, wanted=self._wanted)
        except ModelFilesError as error:
            if self._wanted:
                raise
            self.missing["latent_distance"] = f"{error.problem}: {error.hint}"
            return None


def _telling(names: Sequence[str], settings: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of every group the settings that are not the same in all."""
    keys = dict.fromkeys(key for each in settings for key in each)
    differing = [key for key in keys if len({json.dumps(each.get(key)) for each in settings}) > 1]
    return {
        name: {key: each[key] for key in differing if key in each}
        for name, each in zip(names, settings, strict=True)
    }
