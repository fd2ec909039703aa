from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trainable.config import TrialConfig, read_trial
from trainable.team.processes import end_ranks

HERE = Path(__file__).parent
TREE = {
    "data": {"name": "shapes", "size": [32, 32], "train_images": 8, "val_images": 4},
    "model": {"arch": "linknet", "encoder": "tu-test_resnet", "encoder_weights": None},
    "train": {"epochs": 3, "batch_size": 4},
    "seed": 0,
}


@pytest.fixture
def config() -> TrialConfig:
    return read_trial(TREE)


@pytest.fixture(autouse=True)
def _engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Further processes find the tests' engines."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def strike(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Says what happens to a rank; its processes are of this test alone: they keep the environment they began in."""

    def set_strike(what: str) -> None:
        end_ranks()
        monkeypatch.setenv("STRIKE", what)

    yield set_strike
    end_ranks()
