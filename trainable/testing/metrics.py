"""The contract of metrics.

Shapes: B batch, C classes, H W frame.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainable.data.classes import IGNORE_INDEX
from trainable.evaluate.metrics.own_metrics import OwnScores
from trainable.parts.metric import Metric
from trainable.testing.batches import BATCH, tiny_labels, tiny_logits
from trainable.testing.contract import FACTS, Contract, assert_equal, run

CPU = torch.device("cpu")


class MetricContract(Contract):
    """Rules of `trainable.parts.Metric`."""

    def trial(self) -> Mapping[str, object] | None:
        """Beside the product's."""
        return {"evaluation": {"metrics": [self.section]}}

    def test_it_is_a_sum_over_images(self) -> None:
        """A batch adds what its images add one by one: so ranks and batch sizes do not matter."""
        whole, parts = (self._scores(size) for size in (BATCH, 1))
        assert whole.keys() == parts.keys()
        for name, value in whole.items():
            assert math.isclose(value, parts[name], rel_tol=1e-6), (
                f"{name}: {value} of a batch, {parts[name]} one by one"
            )

    def test_ignored_pixels_have_no_part_in_it(self) -> None:
        """Other logits there give the same value."""
        ignored_BHW = tiny_labels() == IGNORE_INDEX
        other_BCHW = torch.where(ignored_BHW[:, None], -tiny_logits(), tiny_logits())
        assert self._scores(BATCH) == self._scores(BATCH, other_BCHW), "logits of ignored pixels change the metric"

    def test_it_is_defined_or_left_out(self) -> None:
        """A split may lack classes, or any label: the value is a finite number, or NaN."""
        for labels_BHW in (torch.zeros_like(tiny_labels()), torch.full_like(tiny_labels(), IGNORE_INDEX)):
            self._scores(BATCH, labels_BHW=labels_BHW)
        assert self._scores(BATCH), "it is undefined for usual labels"

    def test_it_repeats_and_leaves_its_arguments(self) -> None:
        """Equal frames give equal values."""
        logits_BCHW, labels_BHW = tiny_logits(), tiny_labels()
        first = self._scores(BATCH, logits_BCHW, labels_BHW)
        assert first == self._scores(BATCH, logits_BCHW, labels_BHW), "equal frames give other values"
        assert_equal((logits_BCHW, labels_BHW), (tiny_logits(), tiny_labels()), "arguments")

    def _scores(
        self, size: int, logits_BCHW: Tensor | None = None, labels_BHW: Tensor | None = None
    ) -> dict[str, float]:
        part = self.make()
        assert isinstance(part, Metric), f"{self.name} is no trainable.parts.Metric"
        scores = OwnScores(self.name, part, FACTS, CPU)
        logits_BCHW = tiny_logits() if logits_BCHW is None else logits_BCHW
        labels_BHW = tiny_labels() if labels_BHW is None else labels_BHW
        with torch.inference_mode():
            for batch in zip(torch.split(logits_BCHW, size), torch.split(labels_BHW, size), strict=True):
                scores.add(*batch)
        return scores.metrics()


def check_metric(part: type, **settings: Any) -> None:
    """Run the contract of metrics; raises as `contract.run`."""
    run(MetricContract, part, settings)
