"""Weights that stay loaded between the rollouts of one process.

A model's `load` keeps here what does not depend on the input: the network. One is kept, that of the newest
rollout. What is kept counts as held: `core.hardware.budgets` gives the next rollout what is free and what is
kept, for it either uses the kept weights, which its plan counts, or frees them before it loads its own; and
where what comes before the rollout (a text encoder, say) would not fit beside them within the peak that was
predicted, they are freed first.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import torch

from core.hardware import Held, release_device
from core.placement import Parts

_T = TypeVar("_T")


@dataclass(frozen=True)
class _Kept(Generic[_T]):
    key: Hashable
    device: torch.device
    weights: _T
    held: Held


class WeightCache:
    """At most one model's weights."""

    def __init__(self) -> None:
        self._kept: _Kept[object] | None = None
        self._num_loads = 0

    @property
    def num_loads(self) -> int:
        """How often weights were loaded."""
        return self._num_loads

    @property
    def held(self) -> Held:
        """Bytes that are kept, and where."""
        return Held() if self._kept is None else self._kept.held

    def get(
        self, key: Hashable, device: torch.device, load: Callable[[], _T], held: Callable[[_T], Held]
    ) -> _T:
        """The weights of `key`: kept from before, or loaded now, after others have been freed.

        Args:
            key: All that decides what `load` returns: files, placement, precision.
            device: Where they lie.
            load: Loads them.
            held: Says what they take.
        """
        if self._kept is None or (self._kept.key, self._kept.device) != (key, device):
            self.clear()
            weights = load()
            self._kept = _Kept(key, device, weights, held(weights))
            self._num_loads += 1
        return cast("_T", self._kept.weights)

    def make_room(self, parts: Parts) -> None:
        """Free what is kept unless all that comes before a rollout fits beside it.

        Args:
            parts: What the rollout was predicted to take, its weights included: no more is taken.
        """
        before = max(parts.loading_device.values(), default=0), max(parts.loading_host.values(), default=0)
        held = self.held
        if held.device + before[0] > parts.device_bytes or held.host + before[1] > parts.host_bytes:
            self.clear()

    def clear(self) -> None:
        """Free what is kept."""
        if self._kept is not None:
            device, self._kept = self._kept.device, None
            release_device(device)
