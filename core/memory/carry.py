"""Bookkeeping of carried tokens: those just before recent that a quirk of a release keeps visible."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from core.errors import InputError
from core.memory.layout import WindowLayout


class CarriedTokens:
    """Where the carried tokens lie in the slab: in the ring until they leave it, then in the region."""

    def __init__(self, layout: WindowLayout) -> None:
        self._layout = layout
        self._held = range(0)
        self._first_slot = 0

    def update(self, tokens: range, *, chunk: int, num_retrieved: int) -> Int64[np.ndarray, " carried"]:
        """Slab token slots of the tokens before the chunk; after it they lie behind the retrieved ones.

        Args:
            tokens: What is carried, from `WindowLayout.carried_tokens`.
            chunk: The current chunk.
            num_retrieved: Retrieved tokens in the region during the chunk.

        Raises:
            InputError: A token is asked for that left the window earlier.
        """
        layout, index = self._layout, np.asarray(tokens, dtype=np.int64)
        frame, cell = index // layout.tokens_per_frame, index % layout.tokens_per_frame
        in_ring = layout.recent(chunk - 1).start if chunk else 0
        left = index[frame < in_ring]
        if len(left) and left[0] not in self._held:
            raise InputError(
                f"recent would grow back over tokens that left the window before chunk {chunk}",
                where="window.release_fill",
                hint="use --strategy pose, which never retrieves less than before",
            )
        past_sink = frame - layout.sink_frames
        ring = (layout.sink_frames + past_sink % layout.ring_frames) * layout.tokens_per_frame + cell
        slots = np.where(frame < in_ring, self._first_slot + index - self._held.start, ring)
        self._held = tokens
        self._first_slot = layout.native_frames * layout.tokens_per_frame + num_retrieved
        return slots
