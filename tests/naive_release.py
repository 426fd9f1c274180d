"""The reference's rollout, simulated as naively as its specification words it (sections 4 to 10 of it).

Every finished chunk's raw keys and values are kept; for each chunk and layer the list of keys is built anew
from them. Shares the tiny network with the engine, and nothing of memory, positions, pruning or sampler.
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from tests.golden_lingbot import MANIFEST, cameras, frozen, golden_controls

CONFIG = MANIFEST["config"]
N = CONFIG["tokens_per_frame"]
COLS = CONFIG["latent_width"] // 2
PAIRS = CONFIG["rope_pairs_time_height_width"]


def turned(x: torch.Tensor, first_frame: int) -> torch.Tensor:
    """RoPE of whole frames [tokens, heads, head_dim]; rows and columns count from 0."""
    token = torch.arange(len(x))
    return _rotated(x, (first_frame + token // N, token % N // COLS, token % N % COLS))


def moved(x: torch.Tensor, frames: int) -> torch.Tensor:
    """RoPE correction: keys that have been turned are turned on in time alone."""
    token = torch.arange(len(x))
    return _rotated(x, (torch.full_like(token, frames), 0 * token, 0 * token))


def _rotated(x: torch.Tensor, positions: tuple[torch.Tensor, ...]) -> torch.Tensor:
    angles = [
        p[:, None].double() * 10000.0 ** (-torch.arange(m).double() / m)
        for p, m in zip(positions, PAIRS, strict=True)
    ]
    angle = torch.cat(angles, 1)[:, None]
    a, b = x.double()[..., 0::2], x.double()[..., 1::2]
    both = (a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos())
    return torch.stack(both, -1).flatten(-2).float()


def kept_of(keys: torch.Tensor, ratio: float, *, pooled: bool, anchor: int) -> list[int]:
    """Section 10 for one layer and chunk: indices of kept tokens, in output order."""
    keep = max(1, int(np.ceil(ratio * N)))
    if keep >= N:
        return list(range(3 * N))
    flat = keys.flatten(1)
    frames = {f: list(range(f * N, (f + 1) * N)) for f in range(3)}
    centroid = flat[frames[anchor]].mean(0)
    likeness = (flat @ centroid) / (flat.norm(dim=1) * centroid.norm() + 1e-8)

    def least(tokens, count):
        return sorted(sorted(tokens, key=lambda t: float(likeness[t]))[:count])

    if pooled:
        others = [t for f in range(3) if f != anchor for t in frames[f]]
        return [*frames[anchor], *least(others, 2 * keep)]
    return [t for f in range(3) for t in (frames[f] if f == anchor else least(frames[f], keep))]


def distances(poses: torch.Tensor, chunk: int, candidates: list[int]) -> list[float]:
    """Section 8, in float64."""
    mean = poses.double().view(-1, 3, 4, 4).mean(1)
    shift = [float((mean[i, :3, 3] - mean[chunk, :3, 3]).square().sum()) for i in candidates]
    angle = []
    for i in candidates:
        trace = float((mean[i, :3, :3].T @ mean[chunk, :3, :3]).trace())
        angle.append(float(np.arccos(np.clip((trace - 1) / 2, -1, 1))))
    shift = [t / max(shift) if max(shift) > 0 else t for t in shift]
    angle = [r / max(angle) if max(angle) > 0 else r for r in angle]
    return [0.5 * t + 0.5 * r for t, r in zip(shift, angle, strict=True)]


@dataclass
class NaiveRelease:
    """The cache of one rollout; see `SelfAttentionCache` for `attend`."""

    run: dict
    poses: torch.Tensor
    chunk: int = 0
    clean: bool = False
    retrieved: list[list[int]] = field(default_factory=list)  # [chunk], in list order
    num_keys: list[int] = field(default_factory=list)  # [chunk]
    kept: dict[tuple[int, int], list[int]] = field(default_factory=dict)  # stored tokens by layer, chunk
    smallest_gap: float = float("inf")  # between the last chosen and the first refused distance
    past: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def start(self, chunk: int) -> None:
        self.chunk, self.clean = chunk, False
        self.retrieved.append(self._choose())

    def attend(self, layer, q, k, v):
        first = 3 * self.chunk
        query, key, value = turned(q[0], first), turned(k[0], first), v[0]
        self.past[layer, self.chunk] = key, value
        if self.clean and (self.run["compression"] or {}).get("when") == "store":
            how = self.run["compression"]
            self.kept[layer, self.chunk] = kept_of(key, how["keep_ratio"], pooled=how["pooled"], anchor=0)
        keys, values = self._window(layer)
        if layer == 0:
            self.num_keys[self.chunk :] = [len(keys)]
        scores = torch.einsum("qhd,khd->hqk", query.double(), keys.double()) / query.shape[-1] ** 0.5
        return torch.einsum("hqk,khd->qhd", scores.softmax(-1), values.double()).float()[None]

    def _choose(self) -> list[int]:
        run, chunk = self.run, self.chunk
        if run["mode"] != "retrieval" or run["retrieval_frames"] < 3:
            return []
        candidates = list(range(-(-run["sink_frames"] // 3), chunk - 2))
        d = dict(zip(candidates, distances(self.poses, chunk, candidates), strict=True))
        count = min(run["retrieval_frames"] // 3, len(candidates))
        order = sorted(candidates, key=lambda i: (round(d[i], 7), i))
        gaps = [abs(d[a] - d[b]) for i, a in enumerate(order[:count]) for b in order[i + 1 : i + 2]]
        self.smallest_gap = min([self.smallest_gap, *gaps])
        return order[:count]

    def _window(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        run, end = self.run, 3 * (self.chunk + 1)
        if run["mode"] == "full":
            return self._last(self._frames(layer, range(end)), run["max_attention_keys"])
        if run["mode"] == "sliding":
            return self._frames(layer, range(max(0, end - run["window_frames"]), end))
        sink = run["sink_frames"]
        if self.retrieved[self.chunk]:
            parts = [self._chunk(layer, place) for place in range(len(self.retrieved[self.chunk]))]
            rest = self._last(self._frames(layer, range(sink, end)), self._recent_keys())
            return _joined([self._frames(layer, range(sink)), *parts, rest])
        tail = 6 if run["mode"] == "sink_recent" else run["retrieval_frames"] + 6
        return self._frames(layer, [f for f in range(end) if f < sink or f >= end - tail])

    def _recent_keys(self) -> int:
        """Number of recent keys, the current chunk's included, while there are retrieved ones."""
        run = self.run
        if run["reference_commit"] != "2c9bcbb":
            return 6 * N
        in_bank = sum(len(self.kept.get((0, i), range(3 * N))) for i in self.retrieved[self.chunk])
        finished = 3 * (self.chunk + 1) - run["sink_frames"]
        return min((run["retrieval_frames"] + 6) * N - in_bank, finished * N)

    def _chunk(self, layer: int, place: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a retrieved chunk, by its place in the list."""
        run, listed = self.run, self.retrieved[self.chunk]
        keys, values = self.past[layer, listed[place]]
        stored = self.kept.get((layer, listed[place]))
        if stored is not None:
            keys, values = keys[stored], values[stored]
        if run["rope_correction"]:
            first_recent = 3 * (self.chunk + 1) - self._recent_keys() // N
            keys = moved(keys, first_recent - 3 * (len(listed) - place) - 3 * listed[place])
        how = run["compression"]
        if how and how["when"] == "runtime":
            anchor = place % 3 if how["anchor_rotate"] else 0
            kept = kept_of(keys, how["keep_ratio"], pooled=False, anchor=anchor)
            keys, values = keys[kept], values[kept]
        return keys, values

    def _frames(self, layer: int, frames) -> tuple[torch.Tensor, torch.Tensor]:
        parts = [self.past[layer, f // 3] for f in frames]
        rows = [slice(f % 3 * N, (f % 3 + 1) * N) for f in frames]
        return _joined([(k[row], v[row]) for (k, v), row in zip(parts, rows, strict=True)])

    @staticmethod
    def _last(part, count: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        return part if count is None else (part[0][-count:], part[1][-count:])


def _joined(parts) -> tuple[torch.Tensor, torch.Tensor]:
    parts = [part for part in parts if len(part[0])] or [(torch.empty(0, 4, 32), torch.empty(0, 4, 32))]
    return torch.cat([k for k, _ in parts]), torch.cat([v for _, v in parts])


@torch.no_grad()
def naive_run(run: dict, *, num_chunks: int | None = None) -> tuple[list[torch.Tensor], NaiveRelease]:
    """Clean latents of every chunk, and the cache that remembers what happened."""
    controls = golden_controls(run["trajectory"], num_chunks)
    cache = NaiveRelease(run, cameras(run["trajectory"])[0])
    levels = MANIFEST["schedule"][f"{run['shift']:g}"]
    noise, renoise, out = frozen("noise"), frozen("renoise"), []
    for chunk in range(controls.viewpoints.num_chunks):
        cache.start(chunk)
        model = controls.chunk(chunk)
        x = noise[None, :, 3 * chunk : 3 * chunk + 3]
        for i, level in enumerate(levels):
            flow = model.flow(x, float(level["timestep"]), cache)
            x0 = (x.double() - level["x0_sigma"] * flow.double()).float()
            if i < 3:
                s = levels[i + 1]["add_noise_sigma"]
                x = (1 - s) * x0 + s * renoise[chunk, i][None]
        cache.clean = True
        model.flow(x0, 0.0, cache)
        out.append(x0[0])
    return out, cache
