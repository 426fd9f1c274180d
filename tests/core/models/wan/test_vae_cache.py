"""When does a cache say that it has settled?"""

import torch
from torch import nn

from core.models.wan.vae_cache import FeatureCache


class Network(nn.Module):
    """Two convolutions that put into the cache what they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv3d(1, 1, 1), nn.Conv3d(1, 1, 1)
        self.entries: list[object] = []

    def forward(self, x: torch.Tensor, feat_cache: list[object], feat_idx: list[int]) -> torch.Tensor:
        for index, entry in enumerate(self.entries):
            if entry is not None:
                feat_cache[index] = entry.clone() if isinstance(entry, torch.Tensor) else entry
        return x


def settles(*steps: list[object], watch: bool = True) -> list[bool]:
    network, cache, said = Network(), FeatureCache(watch=watch), []
    for entries in steps:
        network.entries = entries
        cache.run(network, torch.zeros(1))
        said.append(cache.settled)
    return said


ONE, TWO = torch.ones(2), torch.zeros(2)


def test_it_settles_when_every_entry_is_replaced_by_its_equal() -> None:
    assert settles([ONE, TWO], [ONE, TWO], [ONE, ONE], [ONE, ONE]) == [False, True, False, True]


def test_an_entry_that_was_not_replaced_proves_nothing() -> None:
    assert settles([ONE, TWO], [ONE, None]) == [False, False]


def test_entries_that_are_never_used_do_not_count() -> None:
    assert settles([ONE, None], [ONE, None]) == [False, True]


def test_words_and_shapes_count() -> None:
    assert settles(["word", ONE], [TWO, ONE], [torch.zeros(1), ONE]) == [False, False, False]
    assert settles(["word", ONE], ["word", ONE]) == [False, True]


def test_nan_never_settles() -> None:
    nan = torch.tensor([float("nan")])
    assert settles([nan, ONE], [nan, ONE]) == [False, False]


def test_it_does_not_look_unless_asked() -> None:
    assert settles([ONE, TWO], [ONE, TWO], watch=False) == [False, False]


def test_a_tensor_written_in_place_proves_nothing() -> None:
    class InPlace(Network):
        def forward(self, x: torch.Tensor, feat_cache: list[object], feat_idx: list[int]) -> torch.Tensor:
            for index in range(2):
                kept = feat_cache[index]
                feat_cache[index] = torch.zeros(2) if kept is None else kept.add_(1)
            return x

    network, cache = InPlace(), FeatureCache(watch=True)
    for _ in range(3):
        cache.run(network, torch.zeros(1))
        assert not cache.settled
