import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "report"))  # its made studies

from kept_made import keep
from made_studies import (
    CONFIRM_GAINS,
    MadeStudy,
    Make,
    begin,
    confirm_plan,
    factorial_gains,
    factorial_plan,
)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Begins a study in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return lambda *overrides: begin(tmp_path, *overrides)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> MadeStudy:
    """A study of every kind of trials; nobody changes it."""
    made = begin(tmp_path_factory.mktemp("whole"))
    made.search(20, failed=2, pruned=3)
    made.references()
    made.compare(confirm_plan(3), CONFIRM_GAINS)
    made.compare(factorial_plan(2), factorial_gains(factorial_plan(2)))
    return keep(made)
