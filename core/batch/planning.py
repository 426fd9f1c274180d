"""Plans of jobs. Those that differ only in the seed share one: the noise moves no byte and no camera."""

from __future__ import annotations

from dataclasses import replace

from core.config import GenerateConfig, Resolved
from core.generate import Job, prepare
from core.hardware import NOTHING_HELD, Held, pick_device, release_device


def plan_key(config: GenerateConfig) -> str:
    """Equal for settings that have the same plan."""
    return config.model_copy(update={"seed": 0, "out": None}).model_dump_json()


class Planner:
    """Prepares rollouts; what the last one had in common with the next is not done again."""

    def __init__(self) -> None:
        self._key = ""
        self._job: Job | None = None

    def prepare(self, resolved: Resolved, held: Held = NOTHING_HELD) -> Job:
        """A rollout that is checked and planned; see `core.generate.prepare`."""
        key = plan_key(resolved.config)
        if self._job is None or key != self._key:
            self._job = None  # before the next one is made: it may hold a decoded clip
            release_device(pick_device(resolved.config.device))  # what the last one has left is free
            self._job, self._key = prepare(resolved, held), key
            return self._job
        return replace(self._job, resolved=resolved)
