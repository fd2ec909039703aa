"""A module of parts of one's own, as a user writes it beside a study file."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEXT = """
import torch
from pydantic import BaseModel
from trainable.parts import Loss, Mechanism, Metric, Sampling

class Fade(Mechanism):
    def __init__(self, strength: float, mode: str = "all") -> None:
        if strength > 1:
            raise ValueError(f"strength must be at most 1, got {strength}")
        self.strength = strength

    def channels(self, importance_CK, keep_GC, seed):
        groups = 1 if keep_GC is None else len(keep_GC)
        return torch.full((groups, importance_CK.shape[1]), 1.0 - (0 if keep_GC is None else self.strength))

class Falls(Fade):
    def channels(self, importance_CK, keep_GC, seed):
        if keep_GC is not None:
            return importance_CK.no_such_thing
        return super().channels(importance_CK, keep_GC, seed)

class Turns(Sampling):
    class Config(BaseModel):
        step: int = 1

    def __init__(self, config: Config) -> None:
        self.step = config.step

    def weights(self, labels_BHW):
        return torch.ones(6)

class Lazy(Mechanism):
    pass

class Region(Loss):
    def batch(self, logits, labels, class_weights):
        return torch.nn.functional.cross_entropy(logits, labels, ignore_index=255)

class Foreign:
    def measure(self, logits, labels): ...

class Found(Metric):
    def measure(self, logits, labels):
        return (logits.argmax(1) == labels).sum()[None].double()

    def value(self, total):
        return float(total)
"""


@contextmanager
def forgotten(name: str) -> Iterator[None]:
    """Let Python forget a module and its folder before and after a test: another one writes it elsewhere."""
    path = list(sys.path)
    sys.modules.pop(name, None)
    yield
    sys.modules.pop(name, None)
    sys.path[:] = path


def write_parts(folder: Path, name: str) -> Path:
    """Write the module."""
    path = folder / f"{name}.py"
    path.write_text(TEXT)
    return path
