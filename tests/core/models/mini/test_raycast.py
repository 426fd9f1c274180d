"""Pictures of rooms whose geometry is known: where every ray must land."""

import math

import pytest
import torch

from core.models.mini.raycast import render
from core.models.mini.rooms import NUM_TILES, TILE_COLS, TILE_ROWS, Rooms, make_rooms
from core.models.mini.trips import camera_matrices
from core.models.pixel_rays import pixel_directions

LOW, HIGH = torch.tensor([[-2.0, -1.4, -3.0]]), torch.tensor([[4.0, 1.2, 5.0]])
NO_PILLARS = torch.zeros(1, 2, 3)
SIZE = (64, 48)
INTRINSICS = torch.tensor([32.0, 32.0, 32.0, 24.0])


def chart() -> torch.Tensor:
    """Textures that tell where they were hit: red is u, green is v, blue is (tile + 1) / 10."""
    u = (torch.arange(TILE_COLS) + 0.5) / TILE_COLS
    v = (torch.arange(TILE_ROWS) + 0.5) / TILE_ROWS
    tiles = (torch.arange(NUM_TILES) + 1) / 10
    red = u.expand(NUM_TILES, TILE_ROWS, -1)
    green = v[:, None].expand(NUM_TILES, -1, TILE_COLS)
    blue = tiles[:, None, None].expand(-1, TILE_ROWS, TILE_COLS)
    return torch.stack((red, green, blue)).flatten(1, 2)[None]


def plain() -> torch.Tensor:
    colours = torch.rand(3, NUM_TILES, generator=torch.Generator().manual_seed(0))
    return colours[:, :, None, None].expand(-1, -1, TILE_ROWS, TILE_COLS).flatten(1, 2)[None].contiguous()


def look(yaw_deg, pitch_deg=0.0, at=(0.0, 0.0, 0.0)) -> torch.Tensor:
    """One camera a yaw: [1, frames, 4, 4]."""
    yaw = torch.deg2rad(torch.as_tensor(yaw_deg).double().reshape(-1)).numpy()
    pitch = torch.deg2rad(torch.as_tensor(pitch_deg).double()).expand(len(yaw)).numpy()
    position = torch.tensor(at, dtype=torch.float64).expand(len(yaw), 3).numpy()
    return torch.from_numpy(camera_matrices(yaw, pitch, position)).float()[None]


def probe(rooms: Rooms, c2w: torch.Tensor) -> torch.Tensor:
    """Colours on the optical axes, [frames, 3]: pictures of one pixel, which a blur leaves as it is."""
    one_pixel = torch.tensor([1.0, 1.0, 0.5, 0.5]).expand(1, c2w.shape[1], 4)
    return render(rooms, c2w, one_pixel, (1, 1), supersample=1)[0, :, :, 0, 0]


def expected_hit(origin, direction) -> tuple[float, float, int]:
    """u, v and tile of a ray in the pillarless room, by the plane it reaches first."""
    names = {(0, 1): 0, (0, -1): 1, (2, 1): 2, (2, -1): 3, (1, 1): 4, (1, -1): 5}
    best = None
    for axis in range(3):
        if abs(direction[axis]) < 1e-9:
            continue
        sign = 1 if direction[axis] > 0 else -1
        plane = float((HIGH if sign > 0 else LOW)[0, axis])
        t = (plane - origin[axis]) / direction[axis]
        if best is None or t < best[0]:
            best = t, axis, sign
    t, axis, sign = best
    hit = [o + t * d for o, d in zip(origin, direction, strict=True)]
    x, y, z = ((h - float(LOW[0, i])) / float(HIGH[0, i] - LOW[0, i]) for i, h in enumerate(hit))
    u = z if axis == 0 else x
    v = z if axis == 1 else y
    return u, v, names[axis, sign]


@pytest.mark.parametrize("at", [(0.0, 0.0, 0.0), (3.2, -0.9, -2.5)])
@pytest.mark.parametrize("pitch_deg", [-60.0, -20.0, 0.0, 35.0, 80.0])
def test_rays_land_where_geometry_says(at, pitch_deg):
    rooms = Rooms(LOW, HIGH, NO_PILLARS, chart())
    c2w = look(torch.arange(0, 360, 17), pitch_deg, at)
    seen = probe(rooms, c2w)
    half_texel = torch.tensor([0.5 / TILE_COLS, 0.5 / TILE_ROWS])
    for pixel, camera in zip(seen, c2w[0], strict=True):
        u, v, tile = expected_hit(at, camera[:3, 2].double().tolist())
        expected = torch.tensor([u, v]).clamp(half_texel, 1 - half_texel)
        torch.testing.assert_close(pixel[:2], expected, atol=2e-4, rtol=0)
        assert round(float(pixel[2]) * 10) - 1 == tile


def test_what_is_straight_ahead_behind_above_and_below():
    rooms = Rooms(LOW, HIGH, NO_PILLARS, plain())
    tiles = plain()[0, :, ::TILE_ROWS, 0].T
    yaws_and_tiles = ((90.0, 0), (-90.0, 1), (0.0, 2), (180.0, 3))
    for yaw, tile in yaws_and_tiles:
        torch.testing.assert_close(probe(rooms, look(yaw))[0], tiles[tile])
    torch.testing.assert_close(
        probe(rooms, look(0.0, -90.0))[0], tiles[4]
    )  # y points down: this is the floor
    torch.testing.assert_close(probe(rooms, look(0.0, 90.0))[0], tiles[5])


def test_a_pillar_hides_the_wall_and_nothing_else():
    """A pillar of radius 0.5 at (0, 2): its edge is at asin(0.5 / 2), its near side at distance 1.5."""
    pillars = torch.tensor([[[0.0, 2.0, 0.5], [0.0, -2.0, 0.0]]])
    rooms = Rooms(LOW, HIGH, pillars, plain())
    tiles = plain()[0, :, ::TILE_ROWS, 0].T
    edge = math.degrees(math.asin(0.25))
    for yaw, tile in (
        (0.0, 6),
        (edge - 0.2, 6),
        (0.2 - edge, 6),
        (edge + 0.2, 2),
        (-edge - 0.2, 2),
        (180.0, 3),
    ):
        torch.testing.assert_close(probe(rooms, look(yaw))[0], tiles[tile])
    slope = math.degrees(math.atan(1.2 / 1.5))  # down to where the pillar stands on the floor
    torch.testing.assert_close(probe(rooms, look(0.0, 0.5 - slope))[0], tiles[6])
    torch.testing.assert_close(probe(rooms, look(0.0, -slope - 0.5))[0], tiles[4])


def test_the_nearer_pillar_is_in_front():
    pillars = torch.tensor([[[0.0, 4.0, 0.5], [0.0, 2.0, 0.5]]])
    tiles = plain()[0, :, ::TILE_ROWS, 0].T
    torch.testing.assert_close(probe(Rooms(LOW, HIGH, pillars, plain()), look(0.0))[0], tiles[7])


def rooms_of(worlds: int, seed: int = 0) -> Rooms:
    return make_rooms(torch.zeros(worlds, 1, 3), torch.Generator().manual_seed(seed))


def test_a_full_turn_comes_home():
    c2w = look(torch.tensor([0.0, 90.0, 360.0, 450.0]))
    seen = render(rooms_of(1), c2w, INTRINSICS.expand(1, 4, 4), SIZE)[0]
    torch.testing.assert_close(seen[0], seen[2], atol=1e-3, rtol=0)
    torch.testing.assert_close(seen[1], seen[3], atol=1e-3, rtol=0)
    assert (seen[0] - seen[1]).abs().mean() > 0.02


def test_colours_belong_to_directions():
    """A turn by 45 degrees takes the picture's right edge to its middle: the same ray, the same colour."""
    seen = render(
        rooms_of(4), look([0.0, 45.0]).expand(4, -1, -1, -1), INTRINSICS.expand(4, 2, 4), SIZE, supersample=4
    )
    camera = pixel_directions(INTRINSICS, SIZE)
    turned = camera @ look(45.0)[0, 0, :3, :3].T
    error = []
    for row in range(4, 44, 4):
        for col in range(8, 30, 4):
            x, _, z = turned[row, col].tolist()
            y = turned[row, col, 1].item()
            px, py = 32 * x / z + 32 - 0.5, 32 * y / z + 24 - 0.5
            grid = torch.tensor([[[[(px + 0.5) / 32 - 1, (py + 0.5) / 24 - 1]]]])
            other = torch.nn.functional.grid_sample(
                seen[:, 0], grid.expand(4, -1, -1, -1), align_corners=False
            )
            error.append((other[..., 0, 0] - seen[:, 1, :, row, col]).abs())
    assert torch.stack(error).median() < 0.02


def test_worlds_of_a_batch_do_not_mix():
    rooms = rooms_of(3)
    c2w = look([0.0, 120.0]).expand(3, -1, -1, -1)
    together = render(rooms, c2w, INTRINSICS.expand(3, 2, 4), SIZE)
    for i in range(3):
        one = Rooms(*(t[i : i + 1] for t in (rooms.low, rooms.high, rooms.pillars, rooms.atlas)))
        alone = render(one, c2w[:1], INTRINSICS.expand(1, 2, 4), SIZE)
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=0)
    assert together.min() >= 0
    assert together.max() <= 1


def test_pixel_directions():
    rays = pixel_directions(INTRINSICS, SIZE)
    assert rays.shape == (48, 64, 3)
    torch.testing.assert_close(rays.norm(dim=-1), torch.ones(48, 64))
    torch.testing.assert_close(rays[23, 40] / rays[23, 40, 2], torch.tensor([8.5 / 32, -0.5 / 32, 1.0]))
    cells = pixel_directions(INTRINSICS, SIZE, 8)
    assert cells.shape == (6, 8, 3)
    torch.testing.assert_close(cells[2, 7] / cells[2, 7, 2], torch.tensor([28 / 32, -4 / 32, 1.0]))
