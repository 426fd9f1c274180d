import pytest

from core.errors import InputError
from core.models.lingbot.size import release_size, size_of
from core.models.wan.size import parse_size


@pytest.mark.parametrize(
    ("rows", "cols", "ours", "release"),
    [
        (480, 832, (832, 480), (832, 464)),
        (832, 480, (480, 832), (480, 832)),
        (1080, 1920, (832, 464), (832, 464)),
        (720, 1280, (832, 464), (832, 464)),
        (1000, 1000, (624, 624), (624, 624)),
        (480, 640, (720, 544), (720, 544)),
    ],
)
def test_size_of_a_picture(rows, cols, ours, release):
    assert size_of(rows, cols) == ours
    assert release_size(rows, cols) == release


def test_a_strip_is_refused():
    with pytest.raises(InputError, match="long and narrow"):
        size_of(10, 5000)


def test_sizes_are_read():
    assert parse_size("832x480", where="--size") == (832, 480)


@pytest.mark.parametrize("text", ["832", "x", "832x", "axb", "830x480", "16x16", "-832x480"])
def test_other_sizes_are_refused(text):
    with pytest.raises(InputError) as caught:
        parse_size(text, where="--size")
    assert "say " in caught.value.hint
