import pytest

from core.errors import InputError
from core.profiling.settings import (
    ProfileSettings,
    default_lengths,
    parse_budgets,
    parse_counts,
    parse_modes,
)


def problem_of(error: pytest.ExceptionInfo[InputError]) -> tuple[str, str]:
    return error.value.problem, error.value.where


def test_counts_are_ascending_and_each_once() -> None:
    assert parse_counts("90, 10,40,10", where="--chunks") == (10, 40, 90)


@pytest.mark.parametrize("text", ["", "10;20", "-3", "ten", "10,,20"])
def test_counts_that_are_none(text: str) -> None:
    with pytest.raises(InputError) as error:
        parse_counts(text, where="--chunks")
    assert problem_of(error) == (f"expected whole numbers with commas between, got {text!r}", "--chunks")


def test_modes() -> None:
    assert parse_modes("worldkv, full,worldkv") == ("worldkv", "full")
    with pytest.raises(InputError) as error:
        parse_modes("full,fulll")
    assert problem_of(error) == ("unknown memory mode 'fulll'", "--modes")
    assert error.value.hint == "choose from full, sliding, sink, worldkv"


def test_budgets() -> None:
    assert parse_budgets(None) == (None,)
    assert parse_budgets("1GiB, 2GB,1GiB") == (1 << 30, 2_000_000_000)
    for text in ("", "much", "0", "-1GiB"):
        with pytest.raises(InputError, match="expected sizes with commas between"):
            parse_budgets(text)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"lengths": (5,)}, "--chunks"),
        ({"lengths": ()}, "--chunks"),
        ({"repeats": 0}, "--repeats"),
        ({"scale": 0.5}, "--scale"),
        ({"modes": ("none",)}, "--modes"),
        ({"lengths": (6, 10), "trace": (10,)}, "--trace"),
    ],
)
def test_settings_that_make_no_sense(changes: dict, where: str) -> None:
    with pytest.raises(InputError) as error:
        ProfileSettings(**changes)
    assert error.value.where == where


def test_scaled_models_are_calibrated_apart() -> None:
    assert ProfileSettings(model="lingbot", random_weights=True).model_key == "lingbot"
    assert ProfileSettings(model="lingbot", random_weights=True, scale=0.1).model_key == "lingbot@0.1"


def test_longest_rollout_is_the_one_that_is_run() -> None:
    assert ProfileSettings(lengths=(10, 40)).num_chunks == 40
    assert default_lengths("mini") == (10, 40, 90)
    assert default_lengths("lingbot") == (10, 40)
