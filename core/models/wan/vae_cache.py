"""What the convolutions of a streaming encoder or decoder remember."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

Entry = Tensor | str | None
"""The last frames of a convolution's input; temporal upsamplers leave a word at the first step."""


class FeatureCache:
    """The memory of one video's way through an encoder or a decoder.

    Args:
        watch: Whether to compare what is remembered before and after every step; see `settled`. Synchronises
            with a GPU.

    Attributes:
        steps: Latent frames that went through.
        settled: Whether the last step left all that is remembered equal bit by bit, so that the same input
            will give the same output for ever. False where that is not known.
    """

    def __init__(self, *, watch: bool = False) -> None:
        self.steps = 0
        self.settled = False
        self._watch = watch
        self._entries: list[Entry] = []

    @property
    def nbytes(self) -> int:
        """Bytes of the remembered frames."""
        return sum(entry.nbytes for entry in self._entries if isinstance(entry, Tensor))

    def run(self, network: nn.Module, inputs: Tensor, **settings: bool) -> Tensor:
        """Send the next latent frame, or the pictures of one, through an encoder or decoder."""
        if not self.steps:
            self._entries = [None for layer in network.modules() if isinstance(layer, nn.Conv3d)]
        entries = _Watched(self._entries) if self._watch else self._entries
        outputs = network(inputs, feat_cache=entries, feat_idx=[0], **settings)
        self.settled = isinstance(entries, _Watched) and entries.settled
        self._entries = list(entries)
        self.steps += 1
        return cast("Tensor", outputs)

    def move(self, device: torch.device) -> None:
        """Move the remembered frames; to pinned memory where the host takes them from a GPU."""
        self._entries = [
            entry.to(device, non_blocking=True) if isinstance(entry, Tensor) else entry
            for entry in self._entries
        ]


class _Watched(list[Entry]):
    """Notes whether its entries are replaced by equal ones; a copy to compare with would cost gigabytes."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        super().__init__(entries)
        self._equal = True
        self._unproven = {index for index, entry in enumerate(self) if entry is not None}

    @property
    def settled(self) -> bool:
        """Whether every entry was replaced, each by an equal one."""
        return self._equal and not self._unproven

    def __setitem__(self, index: int, entry: Entry) -> None:  # type: ignore[override]  # the network sets one a time
        self._equal = self._equal and _equal(self[index], entry)
        self._unproven.discard(index)
        super().__setitem__(index, entry)


def _equal(before: Entry, after: Entry) -> bool:
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        # A tensor that was written in place equals itself and proves nothing.
        return before.data_ptr() != after.data_ptr() and torch.equal(before, after)
    return isinstance(before, str) and before == after
