"""Metrics of many epochs take little memory, and are what they were."""

import copy
import json
import math
import pickle
import sys

from orchestrator.store.epoch_metrics import EpochMetrics, compact, compact_epoch
from orchestrator.store.trial_record import Planned, Record

METRICS = {f"metric/{index}": index / 7 for index in range(30)}


def test_values_names_and_their_order_stay() -> None:
    epoch = compact_epoch(METRICS)
    assert epoch == METRICS
    assert epoch == METRICS
    assert list(epoch.items()) == list(METRICS.items())
    assert epoch.get("unknown") is None
    assert "metric/3" in epoch
    assert json.dumps(dict(epoch)) == json.dumps(METRICS)
    assert pickle.loads(pickle.dumps(epoch)) == copy.deepcopy(epoch) == METRICS
    assert math.isnan(compact_epoch({"loss": math.nan})["loss"])


def test_a_whole_number_stays_one() -> None:
    (epoch,) = compact(({"threads": 1, "val/miou": 0.5},))
    assert type(epoch["threads"]) is int


def test_a_trial_holds_little_for_an_epoch() -> None:
    record = Record(Planned("search-0000", "search", 0, {}, None))
    for epoch in range(1, 4):
        record = record.with_epoch(epoch, pickle.loads(pickle.dumps(METRICS)))  # as a worker's result arrives
    names = {id(name) for kept in record.epochs for name in kept}
    assert len(names) == len(METRICS), "each name is held once"
    assert all(isinstance(kept, EpochMetrics) for kept in record.epochs)
    own = sum(sys.getsizeof(part) for part in (record.epochs[0], record.epochs[0]._values))  # type: ignore[attr-defined]
    assert own < 500
