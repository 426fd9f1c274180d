"""Named memory settings: what the reference's scripts run, what its paper says, and ours."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from core.errors import InputError
from core.memory.layout import MemoryMode, WindowLayout
from core.memory.positions import PositionMode
from core.memory.prune_policy import PruneRule, PruneTime, Pruning


@dataclass(frozen=True, kw_only=True)
class MemoryPreset:
    """Settings of memory mode worldkv that belong together.

    Attributes:
        name: The word for it on the command line.
        strategy: Who chooses what is retrieved, see `strategies.STRATEGIES`.
        sink_frames: First latent frames of the rollout that always stay.
        recent_frames: Newest finished latent frames before the current chunk.
        retrieve_frames: Room for retrieved chunks, in latent frames.
        frames_count_whole: Whether a retrieved chunk takes up its frames in that room whatever pruning leaves
            of it (the release), or only its kept tokens, so that more chunks fit (the paper).
        prune: Which tokens of a chunk are kept.
        keep_ratio: Share of the non-anchor tokens kept. Range: (0, 1].
        pooled: One keep budget a chunk instead of one a frame.
        when: Whether chunks are pruned when they are stored or on use.
        rotate_anchor: Whether the anchor rotates over the retrieved chunks (on use only).
        positions: Where in time retrieved keys pretend to be.
        release_gap: Whether the chunk just before recent is invisible once there is a candidate, as in the
            reference.
        reproduces: Whether it is another's setting, to the letter: also where a model was made for others.
    """

    name: str
    strategy: str
    sink_frames: int
    recent_frames: int
    retrieve_frames: int
    frames_count_whole: bool
    prune: PruneRule
    keep_ratio: float
    pooled: bool
    when: PruneTime
    rotate_anchor: bool
    positions: PositionMode
    release_gap: bool
    reproduces: bool = True

    @property
    def pruning(self) -> Pruning:
        """What is dropped from a chunk."""
        return Pruning(
            rule=self.prune,
            keep_ratio=self.keep_ratio,
            pooled=self.pooled,
            when=self.when,
            rotate_anchor=self.rotate_anchor,
        )

    def retrieve_chunks(self, tokens_per_frame: int, chunk_frames: int = 3) -> int:
        """Whole chunks that a chunk retrieves."""
        if self.frames_count_whole:
            return self.retrieve_frames // chunk_frames
        kept = self.pruning.kept_per_chunk(tokens_per_frame, chunk_frames)
        return self.retrieve_frames * tokens_per_frame // kept

    def layout(self, num_frames: int, tokens_per_frame: int, chunk_frames: int = 3) -> WindowLayout:
        """The window of a rollout.

        Args:
            num_frames: Latent frames of the rollout, whole chunks.
            tokens_per_frame: Tokens of a latent frame.
            chunk_frames: Latent frames denoised together.
        """
        kept = self.pruning.kept_per_chunk(tokens_per_frame, chunk_frames)
        return WindowLayout(
            mode=MemoryMode.WORLDKV,
            num_frames=num_frames,
            chunk_frames=chunk_frames,
            tokens_per_frame=tokens_per_frame,
            sink_frames=self.sink_frames,
            recent_frames=self.recent_frames,
            retrieve_tokens=self.retrieve_chunks(tokens_per_frame, chunk_frames) * kept,
            release_gap=self.release_gap,
            opening_frames=max(chunk_frames, self.retrieve_frames),
        )


RELEASE = MemoryPreset(
    name="worldkv-release",
    strategy="pose",
    sink_frames=3,
    recent_frames=3,
    retrieve_frames=18,
    frames_count_whole=True,
    prune="key",
    keep_ratio=0.5,
    pooled=True,
    when="store",
    rotate_anchor=False,
    positions=PositionMode.ABSOLUTE,
    release_gap=True,
)
"""What the scripts of the release (046f6d1) run."""

PAPER = replace(
    RELEASE,
    name="worldkv-paper",
    retrieve_frames=9,
    frames_count_whole=False,
    keep_ratio=0.25,
    release_gap=False,
)
"""The paper's setting, at the window that it counts: 18 latent frames. Source: arXiv:2605.22718."""

OURS = replace(RELEASE, name="worldkv", release_gap=False, reproduces=False)
"""The release's budget, with every past chunk either visible or a candidate."""

PRESETS: Mapping[str, MemoryPreset] = {preset.name: preset for preset in (OURS, RELEASE, PAPER)}


def preset(name: str) -> MemoryPreset:
    """The preset of a name.

    Raises:
        InputError: There is none.
    """
    if name in PRESETS:
        return PRESETS[name]
    near = difflib.get_close_matches(name, PRESETS, n=1, cutoff=0.5)
    known = ", ".join(PRESETS)
    raise InputError(
        f"unknown memory preset {name!r}",
        where="--memory-preset",
        hint=f"did you mean {near[0]}? known: {known}" if near else f"known: {known}",
    )
