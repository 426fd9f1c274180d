import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from core.memory.layout import MemoryMode, WindowLayout


def layout(mode, frames=36, **changes):
    return WindowLayout(
        **({"mode": MemoryMode(mode), "num_frames": frames, "tokens_per_frame": 15} | changes)
    )


def visible(window, chunk):
    parts = (window.sink(chunk), window.recent(chunk), window.current(chunk))
    return sorted({frame for part in parts for frame in part})


@pytest.mark.parametrize(
    ("settings", "slots"),
    [
        ({"mode": "full"}, [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]),
        ({"mode": "sliding", "recent_frames": 3}, [[0, 1, 2], [3, 4, 5], [0, 1, 2], [3, 4, 5]]),
        ({"mode": "sliding", "recent_frames": 4}, [[0, 1, 2], [3, 4, 5], [6, 0, 1], [2, 3, 4]]),
        ({"mode": "sliding", "recent_frames": 0}, [[0, 1, 2]] * 4),
        (
            {"mode": "sink", "sink_frames": 3, "recent_frames": 3},
            [[0, 1, 2], [3, 4, 5], [6, 7, 8], [3, 4, 5]],
        ),
        (
            {"mode": "sink", "sink_frames": 1, "recent_frames": 3},
            [[0, 1, 2], [3, 4, 5], [6, 1, 2], [3, 4, 5]],
        ),
    ],
)
def test_frame_slots(settings, slots):
    window = layout(**settings)
    assert [[window.frame_slot(f) for f in window.current(c)] for c in range(4)] == slots


@pytest.mark.parametrize(
    ("settings", "chunk", "candidates"),
    [
        ({"sink_frames": 3, "recent_frames": 3}, 2, []),
        ({"sink_frames": 3, "recent_frames": 3}, 3, [1]),
        ({"sink_frames": 3, "recent_frames": 3}, 5, [1, 2, 3]),
        ({"sink_frames": 3, "recent_frames": 3, "release_gap": True}, 5, [1, 2]),
        ({"sink_frames": 0, "recent_frames": 0}, 2, [0, 1]),
        ({"sink_frames": 4, "recent_frames": 3}, 5, [2, 3]),  # chunk 1 is partly sink
        ({"sink_frames": 3, "recent_frames": 4}, 5, [1, 2]),  # chunk 3 is partly recent
    ],
)
def test_candidates_lie_outside_sink_and_recent(settings, chunk, candidates):
    window = layout("worldkv", retrieve_tokens=90, **settings)
    assert list(window.candidates(chunk)) == candidates


def test_release_gap_carries_the_chunk_before_recent_until_there_is_a_candidate():
    window = layout("worldkv", sink_frames=3, recent_frames=3, retrieve_tokens=62, release_gap=True)
    assert [list(window.carried_tokens(c)) for c in range(6)] == [[], [], [], [*range(45, 90)], [], []]
    assert [list(window.candidates(c)) for c in range(6)] == [[], [], [], [], [1], [1, 2]]
    assert [list(window.outside(c)) for c in range(6)] == [[], [], [], [], [1, 2], [1, 2, 3]]
    assert window.region_tokens == 62
    # The carried frames lie where the current ones will be written.
    assert [window.frame_slot(f) for f in (3, 4, 5)] == [window.frame_slot(f) for f in window.current(3)]


def test_release_gap_makes_room_for_a_whole_carried_chunk():
    window = layout("worldkv", sink_frames=3, recent_frames=3, retrieve_tokens=20, release_gap=True)
    assert window.region_tokens == 45


@pytest.mark.parametrize(
    ("sink", "opening", "carried"),
    [
        (1, 3, [[], [], [1, 2], [3, 4, 5], [], []]),  # chunk 3 sees the last 9 frames: 1 and 2 are gone
        (1, 5, [[], [], [1, 2], [1, 2, 3, 4, 5], [], []]),
        (4, 4, [[], [], [], [4, 5], [5, 6, 7, 8], []]),
        (4, 18, [[], [], [], [4, 5], [4, 5, 6, 7, 8], []]),
    ],
)
def test_before_the_first_candidate_the_release_sees_as_many_frames_as_it_will_retrieve(
    sink, opening, carried
):
    window = layout(
        "worldkv",
        sink_frames=sink,
        recent_frames=3,
        retrieve_tokens=15,
        release_gap=True,
        opening_frames=opening,
    )
    frames = [sorted({t // 15 for t in window.carried_tokens(c)}) for c in range(6)]
    assert frames == carried
    assert window.region_tokens == 15 * max(len(f) for f in carried)
    assert not any(set(window.outside(c)) & {f // 3 for f in frames[c]} for c in range(6))


def test_the_first_release_lets_recent_grow_into_what_retrieval_leaves_free():
    changes = {"release_gap": True, "opening_frames": 6, "release_fill": True}
    window = layout("worldkv", sink_frames=3, recent_frames=3, retrieve_tokens=62, **changes)
    assert window.carried_tokens(4, 31) == range(9 * 15 - 59, 9 * 15)
    assert window.carried_tokens(8, 62) == range(21 * 15 - 28, 21 * 15)
    assert window.carried_tokens(8, 90) == range(21 * 15, 21 * 15)
    assert window.region_tokens == 90


@pytest.mark.parametrize("mode", ["full", "sliding"])
def test_a_window_can_be_cut_to_its_newest_keys(mode):
    window = layout(mode, recent_frames=8).limited_to(100)
    assert (window.mode, window.recent_frames, window.extra_tokens) == (MemoryMode.SLIDING, 3, 10)
    assert window.window_tokens == 100
    assert window.carried_tokens(4) == range(8 * 15 + 5, 9 * 15)
    assert list(window.outside(4)) == [0, 1]
    assert window.limited_to(100) is window


@pytest.mark.parametrize(
    ("settings", "keys", "problem"),
    [
        ({"mode": "sink", "sink_frames": 3, "recent_frames": 3}, 134, "134 keys cut off the sink"),
        (
            {"mode": "worldkv", "sink_frames": 3, "recent_frames": 3, "retrieve_tokens": 9},
            143,
            "cut off the sink: the window has 144",
        ),
        ({"mode": "full"}, 44, "44 keys cut off the current chunk"),
    ],
)
def test_keys_that_a_window_needs_cannot_be_cut_off(settings, keys, problem):
    with pytest.raises(InputError, match=problem) as error:
        layout(**settings).limited_to(keys)
    assert error.value.where == "window.max_attention_keys"


@given(
    mode=st.sampled_from(list(MemoryMode)),
    chunks=st.integers(1, 12),
    sink=st.integers(0, 8),
    recent=st.integers(0, 8),
    chunk_frames=st.integers(1, 4),
)
def test_the_slab_holds_exactly_the_visible_frames_in_a_prefix(mode, chunks, sink, recent, chunk_frames):
    window = WindowLayout(
        mode=mode,
        num_frames=chunks * chunk_frames,
        chunk_frames=chunk_frames,
        tokens_per_frame=1,
        sink_frames=sink if mode in ("sink", "worldkv") else 0,
        recent_frames=recent,
        retrieve_tokens=1 if mode == "worldkv" else 0,
    )
    slab: dict[int, int] = {}
    for chunk in range(chunks):
        for frame in window.current(chunk):
            slab[window.frame_slot(frame)] = frame
        end = (chunk + 1) * chunk_frames
        if mode is MemoryMode.FULL:
            expected = list(range(end))
        else:
            first = chunk * chunk_frames - recent
            expected = [f for f in range(end) if f < window.sink_frames or f >= first]
        assert visible(window, chunk) == expected
        prefix = window.visible_native_slots(chunk)
        assert sorted(slab) == list(range(prefix))
        assert sorted(slab.values()) == expected
        assert prefix <= window.native_frames
        past = [c for c in range(chunk) if not set(window.current(c)) & set(expected)]
        assert list(window.candidates(chunk)) == past


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"mode": "sink", "sink_frames": -1}, "window.sink_frames"),
        ({"mode": "sink", "recent_frames": -3}, "window.recent_frames"),
        ({"mode": "sink", "retrieve_tokens": 5}, "window.retrieve_tokens"),
        ({"mode": "worldkv"}, "window.retrieve_tokens"),
        ({"mode": "sliding", "sink_frames": 3}, "window.sink_frames"),
        ({"mode": "full", "sink_frames": 3}, "window.sink_frames"),
        ({"mode": "sink", "frames": 10}, "window.num_frames"),
        ({"mode": "sink", "frames": 0}, "window.num_frames"),
        ({"mode": "sink", "release_gap": True}, "window.release_gap"),
        (
            {"mode": "worldkv", "retrieve_tokens": 5, "release_gap": True, "recent_frames": 4},
            "window.recent_frames",
        ),
        (
            {"mode": "worldkv", "retrieve_tokens": 5, "release_gap": True, "opening_frames": 2},
            "window.opening_frames",
        ),
        ({"mode": "worldkv", "retrieve_tokens": 5, "release_fill": True}, "window.release_fill"),
        ({"mode": "sink", "extra_tokens": 5}, "window.extra_tokens"),
        ({"mode": "sliding", "extra_tokens": -5}, "window.extra_tokens"),
        ({"mode": "sink", "tokens_per_frame": 0}, "window"),
    ],
)
def test_impossible_windows_are_refused(settings, where):
    with pytest.raises(InputError) as error:
        layout(**settings)
    assert error.value.where == where
