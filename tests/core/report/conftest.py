from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Browser, browser
from tests.core.report.runs import NASTY, real_run


@pytest.fixture(scope="session")
def worldkv_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return real_run(tmp_path_factory.mktemp("worldkv") / "made", name=NASTY)


@pytest.fixture(scope="session")
def key_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    how = {"strategy": "pose", "prune": "key", "keep_ratio": 0.25}
    return real_run(tmp_path_factory.mktemp("key") / "made", **how)


@pytest.fixture(scope="session")
def sliding_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return real_run(tmp_path_factory.mktemp("sliding") / "made", memory="sliding")


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as opened:
        opened.resize(1280, 900)
        yield opened
