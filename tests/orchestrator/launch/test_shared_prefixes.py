"""Runs that share their first epochs: the same table as without, fewer epochs trained, whatever happens on the way.

Launches run here without Ray, one trial after the other, and trials are real ones on tiny shapes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from orchestrator.launch.forecast import forecasts
from orchestrator.launch.history import fitted, read_history
from orchestrator.launch.rounds import Round
from orchestrator.launch.stages import Stages
from orchestrator.run.session import Session
from orchestrator.store.records import Store
from orchestrator.store.results_table import read_inherited, table
from orchestrator.store.shared_epochs import shared_epochs
from orchestrator.store.trial_record import Planned, Record
from orchestrator.studyfile import Study, load
from orchestrator.terminal.console import open_console
from orchestrator.worker.attempt import Attempt
from orchestrator.worker.job import EpochDone, Failed, Job
from trainable.evaluate.metrics.names import repeats
from trainable.failure import TrialFailed

Make = Callable[..., Study]
HEAD = """
study: s
objective: {metric: val/miou, mode: max}
data: {name: shapes, size: [32, 32], train_images: 6, val_images: 2}
model: {arch: linknet, encoder: tu-test_resnet, encoder_weights: null}
train: {epochs: 4, batch_size: 2}
suppression: {start: 0.5, schedule: constant, loss_ramp: constant, gate_norm: mean, p_max: 0.8}
tracking: {enabled: false}
"""
ARMS = """
ablation:
  design: arms
  seeds: 2
  arms:
    plain: plain
    encoder: {suppression.layer: encoder.3, suppression.importance: gradient}
    late: {suppression.start: 0.75, suppression.layer: encoder.3}
    input: {suppression.layer: input, suppression.mechanism: {name: erase}}
    weighted: class_weighted
    weighted_late: {train.class_weights: log_frequency}
"""
SEARCH = """
search: {sampler: grid, seeds: 2, references: [plain]}
"""


def epochs_told(study: Study) -> list[int]:
    """Epochs that a dry run says will be saved, by stage."""
    return [stage.saved for stage in forecasts(study, open_console())]


class Killed(Exception):
    """The process is gone: nobody closes or writes anything."""


class Driver:
    """A launch without Ray."""

    def __init__(self, study: Study, store: Store, fit: str = "trainable.train.engine:fit") -> None:
        self.study, self.store, self.fit = study, store, fit
        self.said: list[str] = []
        self.trained: dict[str, int] = {}
        """Epochs of each trial that this launch trained."""
        self.kill_after: int | None = None
        self.stages = Stages(study, store, read_history(study, store), self.said.append)

    def go(self) -> "Driver":
        if self.store.read_study() is None:
            self.store.write_study(self.study.resolved())
        self.rounds: list[Round] = []
        while (following := self.stages.next()) is not None:
            self.rounds.append(following)
            self.stages.register()
            session = Session(following.planner, self.store, [self.stages], following.known, self.said.append)
            while (planned := session.start()) is not None:
                self.run(session, planned)
        return self

    def run(self, session: Session, planned: Planned) -> None:
        attempt = None
        try:
            attempt = Attempt(Job(planned, self.store.storage, self.store.study, session.launch, self.fit))
            began, done = attempt.began, None
            while done is None or not done.last:
                done = attempt.next_epoch()
                done = EpochDone(done.epoch, done.metrics, done.last, began)
                began = None
                self.trained[planned.key] = self.trained.get(planned.key, 0) + 1
                if self.kill_after is not None and sum(self.trained.values()) >= self.kill_after:
                    attempt._flush()  # of the worker nothing else is left
                    raise Killed
                if not done.last:
                    session.epoch(planned.key, done)
            session.end(planned.key, done)
        except TrialFailed as error:
            session.end(planned.key, Failed(str(error)))
        finally:
            if attempt is not None and not self.killed:
                attempt.close()

    @property
    def killed(self) -> bool:
        return self.kill_after is not None and sum(self.trained.values()) >= self.kill_after

    @property
    def records(self) -> list[Record]:
        return fitted(self.study, self.stages.belonging(self.store.records()))

    @property
    def table(self) -> pa.Table:
        return table(self.records)


def rows(found: pa.Table) -> list[dict[str, Any]]:
    """All rows but those of prefixes, in every column that another training repeats."""
    kept = [row for row in found.to_pylist() if row["kind"] != "prefix"]
    return [{name: repr(value) for name, value in row.items() if repeats(name)} for row in kept]


@pytest.fixture
def study(tmp_path: Path) -> Make:
    def make(text: str, *overrides: str) -> Study:
        path = tmp_path / "s.yaml"
        path.write_text(text)
        return load(path, overrides, env={})

    return make


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "shared"), "s")


@pytest.fixture(scope="module")
def unshared(tmp_path_factory: pytest.TempPathFactory) -> Driver:
    """The ablation as it runs without sharing."""
    folder = tmp_path_factory.mktemp("unshared")
    (folder / "s.yaml").write_text(HEAD + ARMS)
    study = load(folder / "s.yaml", ["resources.share_prefixes=false"], env={})
    return Driver(study, Store(str(folder), "s")).go()


def test_rows_are_those_of_a_study_that_shares_nothing(study: Make, store: Store, unshared: Driver) -> None:
    shared = Driver(study(HEAD + ARMS), store).go()
    assert [n for n in shared.table.column_names if repeats(n)] == [
        n for n in unshared.table.column_names if repeats(n)
    ]
    assert rows(shared.table) == rows(unshared.table)
    assert not read_inherited(unshared.table)
    saved = sum(unshared.trained.values()) - sum(shared.trained.values())
    # on each seed: plain and late take over 3 of 3 epochs, the baseline and two arms 2; the weighted ones 2 of 2
    assert saved == 2 * ((3 + 3 + 2 + 2 + 2 - 3) + (2 + 2 - 2))
    assert shared_epochs(shared.records).saved == saved == sum(epochs_told(shared.study))
    inherited = read_inherited(shared.table)
    assert {key: epochs for key, (_, epochs) in inherited.items() if key.endswith("s0")} == {
        "ablation-plain-s0": 3, "ablation-late-s0": 3, "ablation-baseline-s0": 2, "ablation-encoder-s0": 2,
        "ablation-input-s0": 2, "ablation-weighted-s0": 2, "ablation-weighted_late-s0": 2,
    }  # fmt: skip
    assert [(left.label or left.stage, left.epochs) for left in shared.rounds] == [("prefix", 3), ("ablation", 4)]
    assert not [name for record in shared.records for name in shared.store.checkpoints(record.key)], "all let go"
