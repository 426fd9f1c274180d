import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.memory.packed import PackedInts

stretches = st.lists(st.tuples(st.integers(0, 2**33), st.integers(1, 9)), max_size=12)


@given(stretches)
def test_unpacked_integers_are_the_packed_ones(parts):
    values = np.array([first + i for first, length in parts for i in range(length)], dtype=np.int64)
    packed = PackedInts.pack(values)
    np.testing.assert_array_equal(packed.unpack(), values)
    assert packed.unpack().dtype == np.int64
    assert packed.count == len(values)


@pytest.mark.parametrize(
    ("values", "most_bytes"),
    [
        (np.arange(5000), 4),  # one stretch
        (np.arange(0, 5000, 2), 2 * 2500),  # none: two bytes each
        (np.arange(0, 500_000, 200), 4 * 2500),
        (np.arange(4680).reshape(90, 52)[:, :20].reshape(-1), 4 * 90),  # rows of a cell
    ],
)
def test_rows_take_little_room(values, most_bytes):
    packed = PackedInts.pack(values.astype(np.int64))
    assert packed.starts.nbytes + (0 if packed.lengths is None else packed.lengths.nbytes) <= most_bytes
