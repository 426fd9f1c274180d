"""Which latent frames the window holds at every chunk, and in which slots of its slab.

slab of one layer, in frame slots:  | sink | ring of recent and current frames |, then the region: retrieved
tokens and, behind them, carried ones
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from core.errors import InputError


class MemoryMode(StrEnum):
    """What a chunk may look back at."""

    FULL = "full"
    SLIDING = "sliding"
    SINK = "sink"
    WORLDKV = "worldkv"


@dataclass(frozen=True, kw_only=True)
class WindowLayout:
    """The window's parts, in latent frames, and where they lie.

    The native part of the slab (all but the retrieved tokens) is counted in frame slots. What is visible of
    it at any chunk is a prefix of the slots, so that attention reads one slice.

    Attributes:
        mode: What a chunk may look back at.
        num_frames: Latent frames of the rollout, a multiple of `chunk_frames`.
        chunk_frames: Latent frames denoised together.
        tokens_per_frame: Tokens of a latent frame.
        sink_frames: First latent frames of the rollout that always stay; need not fill whole chunks.
        recent_frames: Newest finished latent frames before the current chunk; 0 is allowed. `full` ignores
            it.
        retrieve_tokens: Window capacity for retrieved tokens; 0 unless the mode is worldkv.
        release_gap: Reproduce the reference release, where the chunk just before recent is never a
            candidate, hence invisible; while there is no candidate at all, it stays visible.
        opening_frames: With `release_gap`, frames before recent that stay visible while there is no candidate
            (the release's retrieval_frames, whatever pruning does).
        release_fill: Reproduce the first release (2c9bcbb), where recent also grows later, by the part of
            `opening_frames` that retrieved tokens leave free, even by fractions of a frame.
        extra_tokens: Last tokens of the frame before recent that stay visible too, in mode sliding: a window
            that begins inside a frame (see `limited_to`).
    """

    mode: MemoryMode
    num_frames: int
    chunk_frames: int = 3
    tokens_per_frame: int
    sink_frames: int = 0
    recent_frames: int = 0
    retrieve_tokens: int = 0
    release_gap: bool = False
    opening_frames: int = 3
    release_fill: bool = False
    extra_tokens: int = 0

    def __post_init__(self) -> None:
        self._check_sizes()
        self._check_mode()
        self._check_release()

    def _check_sizes(self) -> None:
        for name in ("sink_frames", "recent_frames", "retrieve_tokens", "extra_tokens"):
            if getattr(self, name) < 0:
                raise InputError(
                    f"{name} must not be negative, got {getattr(self, name)}", where=f"window.{name}"
                )
        if self.chunk_frames < 1 or self.tokens_per_frame < 1:
            raise InputError(
                f"chunk_frames and tokens_per_frame must be positive, got {self.chunk_frames} and "
                f"{self.tokens_per_frame}",
                where="window",
            )
        if self.num_frames < self.chunk_frames or self.num_frames % self.chunk_frames:
            raise InputError(
                f"{self.num_frames} latent frames do not fill whole chunks of {self.chunk_frames}",
                where="window.num_frames",
                hint="cut or pad the trajectory to whole chunks",
            )

    def _check_mode(self) -> None:
        worldkv = self.mode == MemoryMode.WORLDKV
        if self.retrieve_tokens and not worldkv:
            raise InputError(
                f"memory mode {self.mode} retrieves nothing, got retrieve_tokens {self.retrieve_tokens}",
                where="window.retrieve_tokens",
                hint="use memory mode worldkv, or retrieve nothing",
            )
        if worldkv and not self.retrieve_tokens:
            raise InputError(
                "memory mode worldkv needs room for retrieved tokens, got retrieve_tokens 0",
                where="window.retrieve_tokens",
                hint="use memory mode sink for a window without retrieval",
            )
        if self.sink_frames and self.mode in (MemoryMode.FULL, MemoryMode.SLIDING):
            raise InputError(
                f"memory mode {self.mode} has no sink, got sink_frames {self.sink_frames}",
                where="window.sink_frames",
                hint="use memory mode sink",
            )
        if self.extra_tokens and self.mode != MemoryMode.SLIDING:
            raise InputError(
                f"only a sliding window begins inside a frame, the memory mode is {self.mode}",
                where="window.extra_tokens",
            )

    def _check_release(self) -> None:
        if self.release_gap and self.mode != MemoryMode.WORLDKV:
            raise InputError(
                f"release_gap concerns retrieval, but the memory mode is {self.mode}",
                where="window.release_gap",
            )
        if self.release_gap and self.recent_frames % self.chunk_frames:
            raise InputError(
                f"release_gap needs recent_frames of whole chunks of {self.chunk_frames}, "
                f"got {self.recent_frames}",
                where="window.recent_frames",
                hint="the reference uses 3",
            )
        if self.release_gap and self.opening_frames < self.chunk_frames:
            raise InputError(
                f"release_gap needs opening_frames of at least a chunk of {self.chunk_frames}, "
                f"got {self.opening_frames}",
                where="window.opening_frames",
                hint="the reference retrieves nothing with fewer; use memory mode sink",
            )
        if self.release_fill and not self.release_gap:
            raise InputError("release_fill needs release_gap", where="window.release_fill")

    @property
    def num_chunks(self) -> int:
        """Chunks of the rollout."""
        return self.num_frames // self.chunk_frames

    @property
    def tokens_per_chunk(self) -> int:
        """Tokens of a chunk."""
        return self.tokens_per_frame * self.chunk_frames

    @property
    def ring_frames(self) -> int:
        """Frame slots shared in turn by recent and current frames; never wraps in mode full."""
        return self.num_frames if self.mode == MemoryMode.FULL else self.recent_frames + self.chunk_frames

    @property
    def native_frames(self) -> int:
        """Frame slots of the slab: sink and ring, or the whole rollout if that is shorter."""
        return min(self.sink_frames + self.ring_frames, self.num_frames)

    @cached_property
    def region_tokens(self) -> int:
        """Token slots of the region of retrieved and carried tokens."""
        if self.release_fill:
            return max(self.retrieve_tokens, self.opening_frames * self.tokens_per_frame)
        carried = max(len(self.carried_tokens(chunk)) for chunk in range(self.num_chunks))
        return max(self.retrieve_tokens, carried)

    @property
    def window_tokens(self) -> int:
        """Token slots of the slab of one layer."""
        return self.native_frames * self.tokens_per_frame + self.region_tokens

    def frame_slot(self, frame: int) -> int:
        """Frame slot in which a latent frame lies while it is visible."""
        past_sink = frame - self.sink_frames
        return frame if past_sink < 0 else self.sink_frames + past_sink % self.ring_frames

    def current(self, chunk: int) -> range:
        """Latent frames of the chunk itself."""
        return range(chunk * self.chunk_frames, (chunk + 1) * self.chunk_frames)

    def sink(self, chunk: int) -> range:
        """Finished sink frames that the chunk sees."""
        return range(min(self.sink_frames, chunk * self.chunk_frames))

    def recent(self, chunk: int) -> range:
        """Finished frames outside the sink that the chunk sees natively."""
        end = chunk * self.chunk_frames
        return range(min(max(self.sink_frames, self._recent_start(chunk)), end), end)

    def visible_native_slots(self, chunk: int) -> int:
        """Number of filled frame slots during the chunk, its own frames included; always a prefix."""
        return min(self.native_frames, (chunk + 1) * self.chunk_frames)

    def outside(self, chunk: int) -> range:
        """Past chunks that the chunk does not see natively, not even in part.

        With `release_fill`, chunks that may be retrieved count although recent may have grown over them.
        """
        outside, carried = self._outside(chunk), self.carried_tokens(chunk)
        if not carried or (self.release_gap and self.candidates(chunk)):
            return outside
        return range(outside.start, max(outside.start, carried.start // self.tokens_per_chunk))

    def candidates(self, chunk: int) -> range:
        """Past chunks that may be retrieved: outside sink, recent and current."""
        if not self.release_gap:
            return self.outside(chunk)
        outside = self._outside(chunk)
        return range(outside.start, max(outside.start, outside.stop - 1))

    def carried_tokens(self, chunk: int, num_retrieved: int = 0) -> range:
        """Tokens just before recent that stay visible although later frames take their slots in the ring.

        Empty but for quirks of releases. They lie in the region, behind the retrieved tokens.

        Args:
            chunk: The current chunk.
            num_retrieved: Tokens that it takes from the bank (`release_fill` only).

        Returns:
            Latent frame * tokens_per_frame + token of the frame.
        """
        tokens = self.extra_tokens
        if self.release_gap and (self.release_fill or not self.candidates(chunk)):
            tokens = max(0, self.opening_frames * self.tokens_per_frame - num_retrieved)
        first = self.sink_frames * self.tokens_per_frame
        end = max(first, self._recent_start(chunk) * self.tokens_per_frame)
        return range(max(first, end - tokens), end)

    def limited_to(self, max_keys: int) -> WindowLayout:
        """This window, cut to its newest keys: the release's `max_attention_keys`.

        Raises:
            InputError: It would cut off the sink, the current chunk or what is retrieved, which the release
                does without a word.
        """
        if max_keys >= self.window_tokens:
            return self
        if self.mode not in (MemoryMode.FULL, MemoryMode.SLIDING) or max_keys < self.tokens_per_chunk:
            what = "the current chunk" if max_keys < self.tokens_per_chunk else "the sink"
            raise InputError(
                f"{max_keys} keys cut off {what}: the window has {self.window_tokens}",
                where="window.max_attention_keys",
                hint="choose a smaller sink, recent or retrieve instead",
            )
        frames, extra = divmod(max_keys, self.tokens_per_frame)
        return replace(
            self,
            mode=MemoryMode.SLIDING,
            recent_frames=frames - self.chunk_frames,
            extra_tokens=extra,
        )

    def _recent_start(self, chunk: int) -> int:
        if self.mode == MemoryMode.FULL:
            return 0
        return max(0, chunk * self.chunk_frames - self.recent_frames)

    def _outside(self, chunk: int) -> range:
        first = -(-self.sink_frames // self.chunk_frames)
        return range(first, max(first, self._recent_start(chunk) // self.chunk_frames))
