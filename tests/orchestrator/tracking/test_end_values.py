"""What a run says of its trial as a whole: last and best epoch of each objective, once."""

import math

import pytest

from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Objective
from orchestrator.tracking.ending import final_metrics_of_study
from orchestrator.tracking.entries import final_metrics

MIOU, LOSS = Objective(metric="val/miou", mode="max"), Objective(metric="train/loss", mode="min")
TIMES = (10, 20, 30, 40)


def record(*epochs: tuple[float, float], key: str = "search-0000") -> Record:
    planned = Planned(key, "search", 0, {"train": {"epochs": 4}}, {})
    return Record(planned, tuple({"val/miou": miou, "train/loss": loss} for miou, loss in epochs))


def told(trial: Record, known: dict[str, int] | None = None) -> dict[str, tuple[float, int]]:
    return {m.key: (m.value, m.step) for m in final_metrics(known or {}, trial, (MIOU, LOSS), TIMES)}


def test_each_objective_has_its_own_best_epoch() -> None:
    trial = record((0.2, 0.9), (0.6, 0.4), (math.nan, 0.3), (0.5, 0.35)).ended(State.COMPLETE)
    assert told(trial) == {
        "val/miou/best": (0.6, 4),
        "val/miou/best_epoch": (2.0, 4),
        "val/miou/final": (0.5, 4),
        "train/loss/best": (0.3, 4),
        "train/loss/best_epoch": (3.0, 4),
        "train/loss/final": (0.35, 4),
    }


def test_a_resumed_trial_is_told_once_with_the_epochs_of_all_attempts() -> None:
    interrupted = record((0.2, 0.9), (0.6, 0.4)).ended(State.INTERRUPTED)
    assert told(interrupted) == {}, "it goes on"
    again = interrupted.with_epoch(3, {"val/miou": 0.3, "train/loss": 0.3})
    metrics = told(again.ended(State.PRUNED))
    assert metrics["val/miou/best"] == (0.6, 3)
    assert metrics["val/miou/best_epoch"] == (2.0, 3)
    assert told(again.ended(State.PRUNED), {name: step for name, (_, step) in metrics.items()}) == {}
    repeated = again.with_epoch(2, {"val/miou": 0.1, "train/loss": 0.4}).with_epoch(3, {"val/miou": 0.3})
    assert told(repeated.ended(State.PRUNED))["val/miou/best"] == (0.3, 3), "an epoch that was run again"


def test_a_trial_without_a_value_tells_none() -> None:
    assert told(record((math.nan, math.nan)).ended(State.FAILED)) == {}
    assert told(record().ended(State.FAILED)) == {}


@pytest.mark.parametrize(("objective", "winner"), [(MIOU, 0.5), (LOSS, 0.3)])
def test_the_parent_names_the_trial_whose_last_epoch_is_best(objective: Objective, winner: float) -> None:
    trials = [record((0.9, 0.2), (0.4, 0.6)), record((0.1, 0.1), (0.5, 0.3), key="search-0001")]
    metric = objective.metric
    assert final_metrics_of_study([trial.ended(State.COMPLETE) for trial in trials], objective) == {
        f"{metric}/final": winner
    }, "the best epoch of the best trial is not the best of the study"
