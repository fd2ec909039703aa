"""Trials that run in a second, and the real data where it is there."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from trainable.config import TrialConfig

REAL_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"

TINY: dict[str, Any] = {
    "data": {"name": "shapes", "size": [32, 32], "train_images": 12, "val_images": 6},
    "model": {"arch": "linknet", "encoder": "tu-test_resnet", "encoder_weights": None},
    "train": {"epochs": 2, "batch_size": 4, "lr": 1e-3},
}

MakeTrial = Callable[..., TrialConfig]


@pytest.fixture(scope="session")
def make_trial() -> MakeTrial:
    """Build a tiny trial; a keyword replaces keys of a section, or adds a section."""

    def make(**sections: Any) -> TrialConfig:
        tree = {name: dict(section) for name, section in TINY.items()}
        for name, value in sections.items():
            merge = isinstance(value, dict) and name in tree and "name" not in value
            tree[name] = {**tree[name], **value} if merge else value
        return TrialConfig.model_validate_json(json.dumps(tree))

    return make


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """Folder of a real data set; skips where it is missing."""

    def folder(name: str) -> Path:
        if not (REAL_DATA / name).is_dir():
            pytest.skip(f"no real data at ../shared/data/{name} beside the repository")
        return REAL_DATA / name

    return folder


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads, and lose much where other processes want the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
