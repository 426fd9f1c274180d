"""Procedural rooms: a new one for every seed, so that weights cannot hold a map.

A room is a box with textured walls, a checkered floor, a ceiling with lamps and two round pillars. Rooms are
made around a path, so that any scripted walk fits: the walls stand a margin outside of the path's bounds and
pillars keep clear of it. Units: world units (about metres). Axes: OpenCV (+X right, +Y down, +Z forward).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

TILE_ROWS, TILE_COLS = 64, 128  # texels of a face's texture
NUM_TILES = 8  # +X, -X, +Z, -Z walls, floor, ceiling, two pillars
PANELS_PER_WALL = 3
FLOOR_Y, CEILING_Y = 1.2, -1.4  # the camera starts at height 0: eye level
WALL_SHADE = (1.0, 0.82, 0.92, 0.74, 0.95, 1.0, 1.0, 0.9)


@dataclass(frozen=True)
class Rooms:
    """A batch of rooms, ready to be looked at.

    Attributes:
        low: Smallest x, y, z of each room.
        high: Largest x, y, z of each room.
        pillars: Centre x, centre z and radius of each pillar.
        atlas: Textures of all faces, stacked by rows in NUM_TILES tiles; colours in 0..1.
    """

    low: Float[Tensor, "worlds 3"]
    high: Float[Tensor, "worlds 3"]
    pillars: Float[Tensor, "worlds 2 3"]
    atlas: Float[Tensor, "worlds 3 rows cols"]

    def to(self, device: torch.device | str) -> Rooms:
        """The same rooms on another device."""
        return Rooms(*(t.to(device) for t in (self.low, self.high, self.pillars, self.atlas)))


class _Dice:
    """Uniform random numbers, a row for every world; their order decides what a seed looks like."""

    def __init__(self, worlds: int, generator: torch.Generator) -> None:
        self._worlds, self._generator = worlds, generator

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Numbers in [low, high), of shape [worlds, *shape]."""
        return low + (high - low) * torch.rand(self._worlds, *shape, generator=self._generator)


def make_rooms(positions: Float[Tensor, "worlds frames 3"], generator: torch.Generator) -> Rooms:
    """Rooms around the given camera positions.

    Args:
        positions: Camera centres of each world's path; the room contains them all.
        generator: On the CPU; decides size, colours, panels and pillars.
    """
    dice = _Dice(positions.shape[0], generator)
    low = positions.amin(1) - dice.uniform(3, low=1.8, high=3.6)
    high = positions.amax(1) + dice.uniform(3, low=1.8, high=3.6)
    low[:, 1] = torch.minimum(torch.tensor(CEILING_Y), positions[..., 1].amin(1) - 0.6)
    high[:, 1] = torch.maximum(torch.tensor(FLOOR_Y), positions[..., 1].amax(1) + 0.6)
    pillars = _place_pillars(positions, low, high, dice)
    return Rooms(low, high, pillars, _paint(low, high, dice))


def _place_pillars(positions: Tensor, low: Tensor, high: Tensor, dice: _Dice) -> Tensor:
    """The most open of several random places for each pillar; of no radius where the path leaves no room."""
    tries = 12
    spots = dice.uniform(2, tries, 2)
    floor_low, floor_size = low[:, None, None, ::2], (high - low)[:, None, None, ::2]
    spots = floor_low + floor_size * (0.12 + 0.76 * spots)
    gap = (spots[:, :, :, None] - positions[:, None, None, :, ::2]).norm(dim=-1).amin(-1)
    best = gap.argmax(-1, keepdim=True)
    radius = dice.uniform(2, low=0.2, high=0.36).minimum((gap.gather(-1, best)[..., 0] - 0.5).clamp(min=0.0))
    centre = spots.gather(2, best[..., None].expand(-1, -1, 1, 2))[:, :, 0]
    return torch.cat((centre, radius[..., None]), dim=-1)


def _colour(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """HSV to RGB, colours last."""
    offsets = torch.tensor([5.0, 3.0, 1.0], device=hue.device)
    k = (offsets + hue[..., None] * 6.0) % 6.0
    wedge = torch.minimum(k, 4.0 - k).clamp(0.0, 1.0)
    return value[..., None] * (1.0 - saturation[..., None] * wedge)


def _blend(canvas: Tensor, colour: Tensor, mask: Tensor) -> Tensor:
    """Paint colour [worlds, tiles, 3] over the canvas [worlds, tiles, rows, cols, 3] where the mask is 1."""
    return canvas + mask[..., None] * (colour[:, :, None, None] - canvas)


def _band(x: Tensor, centre: Tensor, half: Tensor, softness: float) -> Tensor:
    """1 inside centre +- half, falling to 0 over `softness` (antialiased edges)."""
    return ((half - (x - centre).abs()) / softness + 0.5).clamp(0.0, 1.0)


def _paint(low: Tensor, high: Tensor, dice: _Dice) -> Tensor:
    walls = _paint_walls(high - low, dice)
    floor = _paint_floor(high - low, dice)
    ceiling = _paint_ceiling(dice)
    pillars = _paint_pillars(dice)
    tiles = torch.cat((walls, floor, ceiling, pillars), dim=1) * torch.tensor(WALL_SHADE)[:, None, None, None]
    return tiles.permute(0, 4, 1, 2, 3).flatten(2, 3).clamp(0.0, 1.0).contiguous()


def _texel_grid() -> tuple[Tensor, Tensor]:
    v = (torch.arange(TILE_ROWS) + 0.5)[:, None].expand(TILE_ROWS, TILE_COLS) / TILE_ROWS
    u = (torch.arange(TILE_COLS) + 0.5)[None, :].expand(TILE_ROWS, TILE_COLS) / TILE_COLS
    return u, v


def _at(x: Tensor) -> Tensor:
    return x[..., None, None]


def _paint_walls(size: Tensor, dice: _Dice) -> Tensor:
    """Base colour, wainscot, skirting board and PANELS_PER_WALL pictures, doors and windows on four walls."""
    u, v = _texel_grid()
    base = _colour(dice.uniform(4), dice.uniform(4, low=0.15, high=0.6), dice.uniform(4, low=0.65, high=0.98))
    canvas = base[:, :, None, None].expand(-1, -1, TILE_ROWS, TILE_COLS, -1)
    lower = _colour(dice.uniform(4), dice.uniform(4, low=0.3, high=0.8), dice.uniform(4, low=0.35, high=0.8))
    has_lower = dice.uniform(4) < 0.6
    top = torch.where(has_lower, dice.uniform(4, low=0.62, high=0.8), 2.0)
    dice.uniform(4)  # not used; without it, all later throws and so the rooms of all seeds would change
    canvas = _blend(canvas, lower, ((v - _at(top)) * TILE_ROWS + 0.5).clamp(0.0, 1.0))
    length = size[:, [2, 2, 0, 0]]
    for panel in range(PANELS_PER_WALL):
        canvas = _paint_panel(canvas, u, v, panel=panel, length=length, dice=dice)
    skirting = ((v - 0.94) * TILE_ROWS + 0.5).clamp(0.0, 1.0).expand(canvas.shape[:4])
    return _blend(canvas, base * 0.35, skirting)


def _paint_panel(canvas: Tensor, u: Tensor, v: Tensor, *, panel: int, length: Tensor, dice: _Dice) -> Tensor:
    """One door, window or picture with its frame and pattern on each of the four walls."""
    soft_u, soft_v = 1.0 / TILE_COLS, 1.0 / TILE_ROWS
    kind = dice.uniform(4)
    is_door, is_window = kind < 0.3, (kind >= 0.3) & (kind < 0.5)
    centre_u = (panel + dice.uniform(4, low=0.3, high=0.7)) / PANELS_PER_WALL
    half_u = (
        dice.uniform(4, low=0.35, high=0.75) / length
    )  # widths in world units: doors are doors in any room
    half_u = half_u.clamp(max=0.8 / PANELS_PER_WALL / 2)
    top = torch.where(is_door, dice.uniform(4, low=0.14, high=0.3), dice.uniform(4, low=0.1, high=0.25))
    bottom = torch.where(is_door, torch.full_like(top, 0.94), dice.uniform(4, low=0.48, high=0.66))
    centre_v, half_v = (top + bottom) / 2, (bottom - top) / 2
    frame = _colour(dice.uniform(4), dice.uniform(4, high=0.6), dice.uniform(4, low=0.1, high=0.5))
    inner = _colour(dice.uniform(4), dice.uniform(4, low=0.5), dice.uniform(4, low=0.5))
    inner = torch.where(is_window[..., None], torch.tensor([0.75, 0.9, 1.0]).expand_as(inner), inner)
    second = _colour(dice.uniform(4), dice.uniform(4, low=0.4), dice.uniform(4, low=0.3))

    def box(margin_u: Tensor, margin_v: float) -> Tensor:
        across = _band(u, _at(centre_u), _at(half_u - margin_u), soft_u)
        return across * _band(v, _at(centre_v), _at(half_v - margin_v), soft_v)

    margin_u = 0.09 / length
    canvas = _blend(canvas, frame, box(torch.zeros_like(length), 0.0))
    inside = box(margin_u, 0.035)
    canvas = _blend(canvas, inner, inside)
    local_u = (u - _at(centre_u)) / _at(half_u)
    local_v = (v - _at(centre_v)) / _at(half_v)
    cross = torch.maximum(
        _band(local_u, torch.zeros(()), torch.tensor(0.1), 0.08),
        _band(local_v, torch.zeros(()), torch.tensor(0.08), 0.06),
    )
    radius = (local_u.square() + local_v.square()).sqrt()
    disc = ((0.55 - radius) / 0.08 + 0.5).clamp(0.0, 1.0)
    stripes = (torch.sin(local_v * 3.14159 * 2.5) * 4.0 + 0.5).clamp(0.0, 1.0)
    bars = (torch.sin(local_u * 3.14159 * 2.0) * 4.0 + 0.5).clamp(0.0, 1.0)
    knob = ((0.12 - ((local_u - 0.7).square() + (local_v * 3 - 0.3).square()).sqrt()) / 0.06).clamp(0.0, 1.0)
    pick = dice.uniform(4)
    pattern = torch.where(_at(pick < 0.33), disc, torch.where(_at(pick < 0.66), stripes, bars))
    pattern = torch.where(_at(is_door), knob, torch.where(_at(is_window), cross, pattern))
    second = torch.where(is_window[..., None], frame, second)
    return _blend(canvas, second, inside * pattern)


def _triangle(x: Tensor) -> Tensor:
    """Wave through 0 at every integer, sloping +-2 per unit between -1 and 1."""
    return ((x / 2 - 0.25) % 1.0 - 0.5).abs() * 4 - 1


def _paint_floor(size: Tensor, dice: _Dice) -> Tensor:
    """Checkers about one unit wide, two colours of one hue."""
    u, v = _texel_grid()
    hue = dice.uniform(1)
    dark = _colour(hue, dice.uniform(1, low=0.2, high=0.7), dice.uniform(1, low=0.25, high=0.5))
    light = _colour(hue, dice.uniform(1, low=0.05, high=0.5), dice.uniform(1, low=0.6, high=0.9))
    edge_x = _triangle(u * _at(size[:, 0:1])) * TILE_COLS / 2
    edge_z = _triangle(v * _at(size[:, 2:3])) * TILE_ROWS / 2
    checker = (edge_x / _at(size[:, 0:1])).clamp(-1, 1) * (edge_z / _at(size[:, 2:3])).clamp(-1, 1)
    canvas = light[:, :, None, None].expand(-1, -1, TILE_ROWS, TILE_COLS, -1)
    return _blend(canvas, dark, checker / 2 + 0.5)


def _paint_ceiling(dice: _Dice) -> Tensor:
    """A pale ceiling with two bright lamps."""
    u, v = _texel_grid()
    pale = _colour(dice.uniform(1), dice.uniform(1, high=0.2), dice.uniform(1, low=0.7, high=0.9))
    canvas = pale[:, :, None, None].expand(-1, -1, TILE_ROWS, TILE_COLS, -1)
    for side in (0.25, 0.75):
        at_u, at_v = dice.uniform(1, low=side - 0.1, high=side + 0.1), dice.uniform(1, low=0.3, high=0.7)
        lamp = _band(u, _at(at_u), torch.tensor(0.08), 2 / TILE_COLS)
        canvas = _blend(
            canvas, torch.ones_like(pale), lamp * _band(v, _at(at_v), torch.tensor(0.12), 2 / TILE_ROWS)
        )
    return canvas


def _paint_pillars(dice: _Dice) -> Tensor:
    """Two pillars with broad rings."""
    _, v = _texel_grid()
    base = _colour(dice.uniform(2), dice.uniform(2, low=0.4), dice.uniform(2, low=0.5))
    ring = _colour(dice.uniform(2), dice.uniform(2, low=0.2), dice.uniform(2, low=0.2, high=0.9))
    canvas = base[:, :, None, None].expand(-1, -1, TILE_ROWS, TILE_COLS, -1)
    wave = torch.sin(v * _at(dice.uniform(2, low=2.0, high=5.0)) * 6.28318)
    return _blend(canvas, ring, (wave * 4).clamp(0.0, 1.0))
