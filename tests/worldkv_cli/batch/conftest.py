import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No WORLDKV_* of the developer's, and nothing is left in the working tree."""
    for name in [name for name in os.environ if name.startswith("WORLDKV_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
