"""Which latent frames the window holds at every chunk, and in which slots of its slab.

slab of one layer, in frame slots:  | sink | ring of recent and current frames |, then retrieved tokens
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

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
    """

    mode: MemoryMode
    num_frames: int
    chunk_frames: int = 3
    tokens_per_frame: int
    sink_frames: int = 0
    recent_frames: int = 0
    retrieve_tokens: int = 0
    release_gap: bool = False

    def __post_init__(self) -> None:
        self._check_sizes()
        self._check_mode()

    def _check_sizes(self) -> None:
        for name in ("sink_frames", "recent_frames", "retrieve_tokens"):
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
        if self.release_gap and not worldkv:
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

    @property
    def region_tokens(self) -> int:
        """Token slots of the retrieved region, which also takes carried frames."""
        carried = self.tokens_per_chunk if self.release_gap else 0
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
        """Past chunks that the chunk does not see natively, not even in part."""
        return self._outside(chunk) if not self.carried_frames(chunk) else range(0)

    def candidates(self, chunk: int) -> range:
        """Past chunks that may be retrieved: outside sink, recent and current."""
        outside = self._outside(chunk)
        return range(outside.start, max(outside.start, outside.stop - 1)) if self.release_gap else outside

    def carried_frames(self, chunk: int) -> range:
        """Frames just before recent that stay visible although the current chunk takes their slots.

        Empty unless `release_gap`, and from the first chunk with a candidate on. They are copied to the
        start of the retrieved region before the current chunk's frames overwrite them.
        """
        start = self._recent_start(chunk)
        if not self.release_gap or len(self.candidates(chunk)) or start <= self.sink_frames:
            return range(0)
        return range(max(self.sink_frames, start - self.chunk_frames), start)

    def _recent_start(self, chunk: int) -> int:
        if self.mode == MemoryMode.FULL:
            return 0
        return max(0, chunk * self.chunk_frames - self.recent_frames)

    def _outside(self, chunk: int) -> range:
        first = -(-self.sink_frames // self.chunk_frames)
        return range(first, max(first, self._recent_start(chunk) // self.chunk_frames))
