"""Runs that share their first epochs: the same table as without, fewer epochs trained, whatever happens on the way.

Launches run here without Ray, one trial after the other, and trials are real ones on tiny shapes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from orchestrator.driver.session import Session
from orchestrator.launch.forecast import forecasts
from orchestrator.launch.history import fitted, read_history
from orchestrator.launch.rounds import Round
from orchestrator.launch.stages import Stages
from orchestrator.plan.prefixes import prefix_key, search_prefixes
from orchestrator.store.records import Store
from orchestrator.store.results_table import read_inherited, table
from orchestrator.store.shared_epochs import shared_epochs
from orchestrator.store.trial_record import Planned, Record, State
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
FAKE = "fake_fit:fit"
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


@pytest.fixture(autouse=True)
def _engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


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


def test_rows_are_those_of_a_study_that_shares_nothing(written: Make, store: Store, unshared: Driver) -> None:
    shared = Driver(written(HEAD + ARMS), store).go()
    columns, expected = (list(filter(repeats, run.table.column_names)) for run in (shared, unshared))
    assert columns == expected
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


def test_a_study_that_is_killed_again_and_again_ends_with_the_same_rows(
    written: Make, store: Store, unshared: Driver
) -> None:
    """In a prefix (twice), between prefixes, in heirs before and after their own first epoch."""
    trained = 0
    for kill_after in (1, 1, 2, 4, 1, 3, 6, None):
        driver = Driver(written(HEAD + ARMS), store)
        driver.kill_after = kill_after
        if kill_after is None:
            driver.go()
        else:
            with pytest.raises(Killed):
                driver.go()
        trained += sum(driver.trained.values())
    assert rows(driver.table) == rows(unshared.table)
    assert trained == sum(unshared.trained.values()) - shared_epochs(driver.records).saved, "no epoch twice"


def test_a_prefix_that_fails_costs_its_heirs_nothing(written: Make, store: Store) -> None:
    driver = Driver(written(HEAD + ARMS), store, "more_fits:failing_plain_beginning").go()
    states = {record.key: record.state for record in driver.records}
    assert {state for key, state in states.items() if key.startswith("prefix-")} == {State.FAILED}
    heirs = [record for record in driver.records if "encoder" in record.key or "input" in record.key]
    assert {(record.state, len(record.epochs)) for record in heirs} == {(State.COMPLETE, 4)}
    assert not any(record.planned.prefix for record in driver.records)
    told = [line for line in driver.said if "failed" in line]
    assert len(told) == len(set(told)) == 4, "once for each prefix"
    assert told[0].startswith("prefix-")
    assert told[0].endswith("failed (epoch 1: the plain trial fails); its 5 runs train these epochs themselves")
    again = Driver(written(HEAD + ARMS), store, "more_fits:failing_plain_beginning").go()
    assert not again.trained


def test_a_damaged_checkpoint_of_a_prefix_costs_its_heir_nothing(written: Make, store: Store) -> None:
    driver = Driver(written(HEAD + ARMS), store, FAKE)
    driver.kill_after = 9  # of the prefixes 2 x (3 + 2) are trained
    with pytest.raises(Killed):
        driver.go()
    for file in Path(store.uri).glob("trials/prefix-*/checkpoint-*"):
        file.write_bytes(b"damaged")
    again = Driver(written(HEAD + ARMS), store, FAKE).go()
    assert {record.state for record in again.records} == {State.COMPLETE}
    assert any("no good checkpoint of epoch 2; ablation-" in line for line in again.said)


def test_heirs_that_are_alone_or_begin_at_once_share_nothing(written: Make, store: Store) -> None:
    arms = "ablation: {design: arms, seeds: 2, arms: {a: {train.lr: 0.01}, b: {suppression.start: 0}}}\n"
    driver = Driver(written(HEAD + arms), store, FAKE).go()
    assert not any(key.startswith("prefix") for key in driver.trained)


def test_arms_with_other_threads_or_weights_have_prefixes_of_their_own(written: Make) -> None:
    def key(*overrides: str) -> str | None:
        loaded = written(HEAD + ARMS, *overrides)
        config = loaded.space.trial(loaded.space.center(), 1)
        return prefix_key(config, loaded.spec.resources)

    same = key("suppression.layer=encoder.3", "suppression.start=0.75", "suppression.alpha=3")
    assert key() == same == key("resources.max_concurrent=2")
    others = {
        key("resources.cpu=2"),
        key("resources.cpu=2", "resources.ranks=2"),
        key("train.lr=0.1"),
        key("model.init=small"),
        key("evaluation.flip=true"),
    }
    assert len({same, *others}) == 6
    assert key("train.compile=true", "suppression.layer=encoder.3") is None
    assert key("train.compile=true") not in (None, same)


SPACE = "suppression: {start: {choice: [0, 0.5, 0.75]}, p_max: {choice: [0.2, 0.5, 0.8]}}\n"


def searching(text: str) -> str:
    line = next(line for line in HEAD.splitlines() if line.startswith("suppression"))
    return HEAD.replace(line + "\n", text)


def test_trials_of_a_search_share_seeds_and_prefixes(written: Make, store: Store) -> None:
    loaded = written(searching(SPACE) + SEARCH)
    driver = Driver(loaded, store, FAKE).go()
    seeds = [record.planned.config["seed"] for record in driver.records if record.planned.kind == "search"]
    assert len(seeds) == 9
    assert len(set(seeds)) == 2
    prefixes = {record.key: record for record in driver.records if record.planned.kind == "prefix"}
    assert {record.planned.starts for record in prefixes.values()} == {(2, 3)}
    assert {record.planned.config["seed"] for record in prefixes.values()} == set(seeds)
    for record in driver.records:
        if record.planned.kind == "search":
            start = record.planned.config["suppression"].get("start", 0)
            assert record.planned.inherited == int(start * 4)
            assert (record.planned.prefix in prefixes) == (start > 0)
            assert driver.trained[record.key] == 4 - int(start * 4)
    assert shared_epochs(driver.records).saved == sum(epochs_told(loaded)) == 3 * 2 + 3 * 3 - 2 * 3
    assert not [name for record in prefixes.values() for name in store.checkpoints(record.key)]
    unshared = Driver(written(searching(SPACE) + SEARCH, "resources.share_prefixes=false"), store, FAKE)
    assert not unshared.go().trained, "the same study"


@pytest.mark.parametrize(
    "text",
    [
        "suppression: {start: {uniform: [0, 0.5]}, p_max: {choice: [0.2, 0.5]}}\n",
        SPACE + "preset: {choice: [full, plain]}\n",
        SPACE.replace("[0, 0.5, 0.75]", "[0, 0.1, 0.24]"),
        SPACE + "evaluation: {flip: {choice: [true, false]}}\n",
    ],
    ids=["a start that is no choice", "presets", "starts within the first epoch", "a setting that acts before"],
)
def test_a_search_shares_nothing_where_what_acts_before_the_start_differs(written: Make, text: str) -> None:
    loaded = written(searching(text) + "search: {sampler: random, trials: 8, seeds: 2, references: []}\n")
    assert search_prefixes(loaded, range(8)) == {}


def test_a_search_without_shared_seeds_shares_nothing(written: Make) -> None:
    loaded = written(searching(SPACE) + "search: {sampler: random, trials: 8, references: []}\n")
    assert search_prefixes(loaded, range(8)) == {}


def test_a_path_keeps_prefixes_for_the_arms_that_are_not_known_yet(written: Make, store: Store) -> None:
    target = "{suppression.p_max: 0.1, suppression.alpha: 3}"
    factors = "{suppression.p_max: [0.8, 0.1], suppression.alpha: [10, 3]}"
    text = f"ablation: {{design: {{name: path, target: {target}}}, factors: {factors}, seeds: 2}}\n"
    driver = Driver(written(HEAD + text), store, FAKE).go()
    runs = [record for record in driver.records if record.planned.kind == "ablation"]
    assert len(runs) == 2 * 4
    assert all(record.planned.inherited == 2 for record in runs)
    assert sum(key.startswith("prefix") for key in driver.trained) == 2
    assert not [name for record in driver.records for name in store.checkpoints(record.key)]


def test_arms_that_come_later_train_their_prefix_anew(written: Make, store: Store) -> None:
    arms = "ablation: {{design: arms, seeds: 2, arms: {{plain: plain, a: {{suppression.alpha: 3}}{more}}}}}\n"
    Driver(written(HEAD + arms.format(more="")), store, FAKE).go()
    more = ", b: {suppression.alpha: 5, suppression.start: 0.75}, c: {suppression.alpha: 7}"
    driver = Driver(written(HEAD + arms.format(more=more)), store, FAKE).go()
    runs = [record for record in driver.records if record.planned.arm in ("b", "c") and not record.planned.starts]
    assert {(record.planned.arm, record.planned.inherited) for record in runs} == {("b", 3), ("c", 2)}
    assert {len(record.epochs) for record in runs} == {4}


STAGES = """
search: {sampler: grid, references: [plain, official]}
confirm: {top: 2, seeds: 2}
ablation: {design: arms, arms: [plain, full, two_path], seeds: 2}
"""


def test_each_stage_keeps_the_prefixes_of_its_own_until_its_heirs_have_ended(written: Make, store: Store) -> None:
    """Killed in the ablation: the stages before it are derived anew, and leave its prefixes alone."""
    text = searching("suppression: {start: 0.5, p_max: {choice: [0.5, 0.8]}}\n") + STAGES
    before = Driver(written(text), store, FAKE)
    before.kill_after = 2 * 4 + 2 * 4 + 2 * 2 + 2 * (2 * 2 + 2 + 4) + 2 * 2 + 1  # in the first heir of the ablation
    with pytest.raises(Killed):
        before.go()
    after = Driver(written(text), store, FAKE).go()
    assert not [key for key in after.trained if key.startswith("prefix")], "they are still there"
    inherited = {record.key: record.planned.inherited for record in after.records if not record.planned.starts}
    assert {epochs for key, epochs in inherited.items() if key.startswith(("search", "reference"))} == {0}
    for stage, arms in (("confirm", 3), ("ablation", 4)):  # official has no start; the baseline is an arm of its own
        assert sum(epochs == 2 for key, epochs in inherited.items() if key.startswith(stage)) == 2 * arms
    assert not [name for record in after.records if record.planned.starts for name in store.checkpoints(record.key)]


def test_a_look_trains_prefixes_for_the_arms_in_play_only(written: Make, store: Store) -> None:
    looks = ["ablation.seeds={looks: [6, 8]}", "ablation.arms={a: {suppression.alpha: 1}, b: {suppression.alpha: 2}}"]
    driver = Driver(written(HEAD + ARMS, *looks), store, FAKE).go()  # arms differ by nothing: both stop for futility
    titles = [following.title for following in driver.rounds]
    assert titles[0].startswith("ablation: first 6 shared prefixes of 2 epochs")
    assert titles[1:] == ["ablation: to look 1 of 2 after 6 seeds, 2 of 2 arms in play beside baseline"]
    assert driver.said == ["ablation: look 1 of 2 after 6 seeds: a, b stop for futility"]
    assert sum(key.startswith("prefix-") for key in driver.trained) == 6
    assert not list(Path(store.address).glob("trials/*/checkpoint-*"))
