"""Metrics of one's own over the evaluation split: their code is called and what it gives is checked.

Shapes: B batch, C classes, H W frame.
"""

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from trainable.evaluate.config import OwnMetric
from trainable.evaluate.metrics.names import own_name, own_name_of
from trainable.parts.facts import ClassFacts
from trainable.parts.loading import PartFailed, build, own_code
from trainable.parts.metric import Metric
from trainable.parts.section import short_name
from trainable.ranks.group import summed, world


class OwnScores:
    """Collects what a metric measures, batch after batch."""

    def __init__(self, name: str, part: Metric, facts: ClassFacts, device: torch.device) -> None:
        """Begin without batches; raises `PartFailed`."""
        self.name, self.part, self.facts, self.device = name, part, facts, device
        self.metric = own_name(short_name(name))
        self.total: Tensor | None = None
        with own_code(self.name):
            self.part.begin(facts)

    @classmethod
    def of(cls, section: OwnMetric, facts: ClassFacts, device: torch.device) -> Self:
        """Make the metric that a section names; raises `PartFailed`."""
        return cls(section.name, build(section, Metric), facts, device)

    def add(self, logits_BCHW: Tensor, labels_BHW: Tensor) -> None:
        """Take a batch."""
        with own_code(self.name):
            measured = self.part.measure(logits_BCHW, labels_BHW.long())
        if not isinstance(measured, Tensor):
            raise PartFailed(f"{self.name}: measure() gave a {type(measured).__name__}, not a tensor")
        measured = measured.detach().to(device=self.device, dtype=torch.float64)
        if self.total is not None and self.total.shape != measured.shape:
            shapes = f"{list(measured.shape)} for a batch, {list(self.total.shape)} for an earlier one"
            raise PartFailed(f"{self.name}: measure() gave shape {shapes}; it must be the same for all")
        self.total = measured if self.total is None else self.total + measured

    def gather(self) -> None:
        """Add what the other ranks collected; one without a frame has measured nothing."""
        if world() == 1:
            return
        dims = torch.tensor([0 if self.total is None else self.total.ndim + 1], device=self.device)
        torch.distributed.all_reduce(dims, torch.distributed.ReduceOp.MAX)
        shape = torch.zeros(int(dims) - 1, dtype=torch.int64, device=self.device)
        if self.total is not None:
            shape += torch.tensor(self.total.shape, dtype=torch.int64, device=self.device)
        torch.distributed.all_reduce(shape, torch.distributed.ReduceOp.MAX)
        nothing = torch.zeros(shape.tolist(), dtype=torch.float64, device=self.device)
        self.total = summed(nothing if self.total is None else self.total)

    def metrics(self) -> dict[str, float]:
        """Values by name; undefined ones are left out."""
        assert self.total is not None  # a split has a frame
        total = self.total.cpu()
        with own_code(self.name):
            value, per_class = self.part.value(total), self.part.per_class(total)
        values = {self.metric: self._number(value, "value()")}
        values |= self._of_classes(per_class)
        return {name: number for name, number in values.items() if not math.isnan(number)}

    def _of_classes(self, per_class: Sequence[float] | None) -> dict[str, float]:
        if per_class is None:
            return {}
        names = self.facts.names
        if len(per_class) != len(names):
            raise PartFailed(f"{self.name}: per_class() gave {len(per_class)} values for {len(names)} classes")
        values = zip(names, per_class, strict=True)
        return {own_name_of(self.metric, name): self._number(value, "per_class()") for name, value in values}

    def _number(self, value: object, where: str) -> float:
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, RuntimeError) as error:
            raise PartFailed(f"{self.name}: {where} gave a {type(value).__name__}, not a number") from error
        if math.isinf(number):
            raise PartFailed(f"{self.name}: {where} gave {number}; a metric is finite, or NaN where undefined")
        return number
