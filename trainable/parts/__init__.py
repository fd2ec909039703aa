"""Parts of one's own: base classes for a mechanism, a sampling, a loss, a metric, a data set and a model.

A study file names a class as ``module:Class`` where it would name a part of the product (docs/own-parts.md). Importing
the package imports no torch; a base class is imported when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainable.parts.data import DataSet as DataSet
    from trainable.parts.facts import ClassFacts as ClassFacts
    from trainable.parts.loss import Loss as Loss
    from trainable.parts.loss import PixelLoss as PixelLoss
    from trainable.parts.mechanism import Mechanism as Mechanism
    from trainable.parts.metric import Metric as Metric
    from trainable.parts.model import Model as Model
    from trainable.parts.sampling import Sampling as Sampling

_HOMES = {
    "ClassFacts": "facts",
    "DataSet": "data",
    "Loss": "loss",
    "Mechanism": "mechanism",
    "Metric": "metric",
    "Model": "model",
    "PixelLoss": "loss",
    "Sampling": "sampling",
}

__all__ = ["ClassFacts", "DataSet", "Loss", "Mechanism", "Metric", "Model", "PixelLoss", "Sampling"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'trainable.parts' has no attribute '{name}'")
    return getattr(import_module(f"trainable.parts.{_HOMES[name]}"), name)
