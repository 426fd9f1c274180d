import numpy as np
import pytest

from core.contact_sheet import SheetRow, contact_sheet
from core.errors import InputError


def flat(*colours: tuple[int, int, int]) -> list[np.ndarray]:
    return [np.full((48, 64, 3), colour, np.uint8) for colour in colours]


RED, GREEN, BLUE = (250, 0, 0), (0, 250, 0), (0, 0, 250)


def test_frames_stand_in_their_cells() -> None:
    rows = [SheetRow("truth", flat(RED, GREEN)), SheetRow("sliding", flat(BLUE, RED), note="17.5 dB")]
    sheet = np.array(contact_sheet(rows, ["t = 0", "t = 12"], tile_width_px=128))
    for colour, cells in [(RED, 2), (GREEN, 1), (BLUE, 1)]:
        assert (sheet == colour).all(-1).sum() == cells * 128 * 96
    first_red = np.argwhere((sheet == RED).all(-1))[0]
    first_blue = np.argwhere((sheet == BLUE).all(-1))[0]
    assert first_red[1] == first_blue[1]  # one column
    assert first_red[0] + 96 < first_blue[0]  # one row below, with a gap


def test_pixels_stay_what_the_model_made() -> None:
    frame = np.random.default_rng(0).integers(0, 120, (48, 64, 3), dtype=np.uint8)
    sheet = np.array(contact_sheet([SheetRow("a", [frame])], [""], tile_width_px=192))
    row, column = np.argwhere((sheet == frame[0, 0]).all(-1))[0]
    tile = sheet[row : row + 144, column : column + 192]
    np.testing.assert_array_equal(tile[::3, ::3], frame)
    np.testing.assert_array_equal(tile[2::3, 1::3], frame)


def test_labels_are_drawn() -> None:
    bare = np.array(contact_sheet([SheetRow(" ", flat(RED))], [" "]))
    labelled = np.array(contact_sheet([SheetRow("worldkv", flat(RED), note="n")], ["t = 0"], title="Title"))
    dark = [(sheet.max(-1) < 120).sum() for sheet in (bare, labelled)]
    assert dark[0] == 0
    assert dark[1] > 300
    assert labelled.shape[0] > bare.shape[0]


def test_highlight_marks_a_column() -> None:
    rows = [SheetRow("a", flat(RED, RED))]
    plain, marked = (np.array(contact_sheet(rows, ["1", "2"], highlight=mark)) for mark in ((), (1,)))
    changed = np.argwhere((plain != marked).any(-1))
    assert changed[:, 1].min() > plain.shape[1] / 2


@pytest.mark.parametrize("rows", [[], [SheetRow("a", flat(RED))]])
def test_rows_must_fit_the_columns(rows: list[SheetRow]) -> None:
    with pytest.raises(InputError):
        contact_sheet(rows, ["1", "2"])
