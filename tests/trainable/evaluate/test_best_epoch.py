import math

import pytest

from trainable.evaluate.metrics.best_epoch import BestEpoch, best_epoch_label

CASES = {
    "larger is better": ([0.1, 0.5, 0.3], True, BestEpoch(0.5, 2)),
    "smaller is better": ([0.4, 0.2, 0.3], False, BestEpoch(0.2, 2)),
    "the first of equal ones": ([0.1, 0.5, 0.5], True, BestEpoch(0.5, 2)),
    "the first of equal ones, smaller": ([0.2, 0.1, 0.1], False, BestEpoch(0.1, 2)),
    "nan and infinite are passed over": ([math.nan, 0.1, math.inf, 0.2, math.nan], True, BestEpoch(0.2, 4)),
    "infinite is passed over, smaller": ([0.3, -math.inf, 0.2], False, BestEpoch(0.2, 3)),
    "an epoch without a value counts": ([None, None, 0.1], True, BestEpoch(0.1, 3)),
    "one epoch": ([0.0], False, BestEpoch(0.0, 1)),
    "no value": ([math.nan, None], True, None),
    "no epoch": ([], True, None),
}


@pytest.mark.parametrize("case", CASES)
def test_the_best_epoch(case: str) -> None:
    values, greater, best = CASES[case]
    assert BestEpoch.of(values, greater=greater) == best


def test_the_label_says_where_the_bias_leads() -> None:
    assert best_epoch_label(greater=True) == "best epoch, biased upwards"
    assert best_epoch_label(greater=False) == "best epoch, biased downwards"
