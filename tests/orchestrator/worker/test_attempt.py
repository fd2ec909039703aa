"""A worker's attempt at a trial: continues where the last one ended, keeps what it measured, tells what it cannot."""

import errno
import gc
import importlib
import os
import re
import threading
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.launch.one_launch import Target, launch
from orchestrator.plan.planner import Planner
from orchestrator.store.layout import CheckpointName
from orchestrator.store.objects import Objects
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Planned, Record, Setback, State
from orchestrator.studyfile import Study, load
from orchestrator.worker import attempt as module
from orchestrator.worker.attempt import Attempt, StorageFailed
from orchestrator.worker.job import Job, RanOut
from trainable.failure import TrialFailed
from trainable.train.checkpoint import from_bytes

HERE = Path(__file__).parents[1]
Make = Callable[..., Study]

REAL = """
study: s
objective: {metric: val/miou, mode: max}
data: {name: shapes, size: [32, 32], train_images: 12, val_images: 4}
model: {arch: linknet, encoder: tu-test_resnet, encoder_weights: null}
train: {epochs: 4, batch_size: 4, lr: 6.0e-3}
suppression: {layer: encoder.4, sampling: {name: difficulty, tau: 1.0}, importance: gradient, p_max: 0.7}
search: {trials: 1, references: []}
"""


@pytest.fixture(autouse=True)
def _engines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.chdir(tmp_path)


def planned_by(study: Study, store: Store) -> Planned:
    planned = Planner(study).next()
    assert planned is not None
    store.plan(planned)
    return planned


def job(planned: Planned, store: Store, **changes: Any) -> Job:
    return replace(Job(planned, store.storage, store.study, "x", "fake_fit:fit"), **changes)


@pytest.fixture
def store() -> Store:
    return Store("out", "s")


@pytest.fixture
def planned(study: Make, store: Store) -> Planned:
    return planned_by(study("search.references=[]"), store)


def epochs(attempt: Attempt, count: int) -> list[int]:
    return [attempt.next_epoch().epoch for _ in range(count)]


@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_a_continued_real_trial_has_the_metrics_of_an_undisturbed_one(
    tmp_path: Path, store: Store, killed_after: int
) -> None:
    (tmp_path / "real.yaml").write_text(REAL)
    study = load(tmp_path / "real.yaml", env={})
    whole, broken = store, Store("broken", "s")
    fit = {"fit": "trainable.train.engine:fit"}
    undisturbed = Attempt(job(planned_by(study, whole), whole, **fit))
    assert epochs(undisturbed, 4) == [1, 2, 3, 4]
    undisturbed.close()
    planned = planned_by(study, broken)
    first = Attempt(job(planned, broken, **fit))
    epochs(first, killed_after)
    first._flush()  # and never closed: killed
    second = Attempt(job(planned, broken, **fit))
    assert epochs(second, 4 - killed_after) == list(range(killed_after + 1, 5))
    second.close()
    (one,), (other,) = whole.records(), broken.records()
    assert len(one.epochs) == len(other.epochs) == 4
    for expected, found in zip(one.epochs, other.epochs, strict=True):
        assert {k: v for k, v in expected.items() if not k.endswith(("_seconds", "_bytes"))} == {
            k: v for k, v in found.items() if not k.endswith(("_seconds", "_bytes"))
        }


def test_the_last_epoch_is_told_once_more_where_only_the_driver_missed_it(planned: Planned, store: Store) -> None:
    first = Attempt(job(planned, store))
    epochs(first, 4)
    first.close()
    second = Attempt(job(planned, store))
    again = second.next_epoch()
    assert (again.epoch, again.last) == (4, True)
    second.close()


@pytest.mark.parametrize("starts", [(), (4,)])
def test_an_ended_trial_keeps_its_weights_and_what_none_goes_on_from_is_not_written(
    tmp_path: Path, store: Store, starts: tuple[int, ...]
) -> None:
    (tmp_path / "real.yaml").write_text(REAL.replace("epochs: 4", f"epochs: {5 if starts else 4}"))
    planned = planned_by(load(tmp_path / "real.yaml", env={}), store)
    planned = replace(planned, kind="prefix", starts=starts) if starts else planned
    attempt = Attempt(job(planned, store, fit="trainable.train.engine:fit"))
    epochs(attempt, 4)
    attempt.close()
    states = {}
    for name in store.checkpoints(planned.key):
        checkpoint = store.read_checkpoint(planned.key, name)
        assert checkpoint is not None
        states[name.epoch] = from_bytes(checkpoint.state)
    assert set(states) == {3, 4}
    assert states[4]["model"].keys() == states[3]["model"].keys()
    assert "optimizer" in states[3], "the trial goes on from it where the last one is damaged"
    assert ("optimizer" in states[4]) == bool(starts), "heirs go on from the end of a prefix"


def test_two_checkpoints_stay(planned: Planned, store: Store) -> None:
    attempt = Attempt(job(planned, store))
    epochs(attempt, 3)
    attempt.close()
    assert store.checkpoints(planned.key) == [CheckpointName(1, 3), CheckpointName(1, 2)]


def test_a_worker_that_was_thought_dead_disturbs_nobody(planned: Planned, store: Store) -> None:
    old = Attempt(job(planned, store))
    epochs(old, 2)
    old._flush()
    new = Attempt(job(planned, store))
    assert epochs(new, 1) == [3]
    new._flush()
    epochs(old, 2)  # it is not dead
    old.close()
    (record,) = store.records()
    assert len(record.epochs) == 3, "the latest attempt counts"
    third = Attempt(job(planned, store))
    assert epochs(third, 1) == [4]
    third.close()
    new.close()


def test_what_a_killed_write_left_is_removed(planned: Planned, store: Store) -> None:
    partial = Path(f"out/s/trials/{planned.key}/.checkpoint-1-1.bin.0123")
    partial.write_bytes(b"half")
    attempt = Attempt(job(planned, store))
    epochs(attempt, 1)
    attempt.close()
    assert not partial.exists()


def test_what_is_known_of_a_trial_is_neither_listed_nor_read(
    planned: Planned, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("_listed", "read", "is_file"):
        whole = getattr(Objects, name)

        def counted(self: Objects, name: str, *args: Any, _whole: Any = whole, **named: Any) -> Any:
            calls.append(name)
            return _whole(self, name, *args, **named)

        monkeypatch.setattr(Objects, name, counted)
    threads = threading.active_count()
    attempt = Attempt(job(planned, store))
    epochs(attempt, 4)
    attempt.close()
    assert calls == [f"trials/{planned.key}"], "once, for what an earlier attempt may have left"
    assert threading.active_count() == threads
    assert store.checkpoints(planned.key) == [CheckpointName(1, 4), CheckpointName(1, 3)]


def test_only_what_a_trial_would_be_lost_without_waits_for_the_disk(
    planned: Planned, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    whole = Objects.write

    def write(self: Objects, name: str, *parts: bytes, flush: bool = True) -> None:
        names.extend([name.rpartition("/")[2]] if flush else [])
        whole(self, name, *parts, flush=flush)

    monkeypatch.setattr(Objects, "write", write)
    store.plan(planned)
    attempt = Attempt(job(planned, store))
    epochs(attempt, 1)
    attempt.close()
    assert names == ["checkpoint-1-1.bin", "epochs-1.json"]
    store.judge(store.records()[0].ended(State.COMPLETE), {})
    assert names[2:] == ["verdict.json"]


def test_a_power_cut_that_empties_what_the_disk_was_not_waited_for_costs_no_epoch(
    planned: Planned, store: Store
) -> None:
    attempt = Attempt(job(planned, store))
    epochs(attempt, 2)
    attempt._flush()  # and never closed: the machine is gone
    for name in ("config.json", "attempt-1.json", "log-1.txt"):
        Path(f"out/s/trials/{planned.key}/{name}").write_bytes(b"")
    (record,) = store.records()
    assert (record.planned, len(record.epochs)) == (planned, 2)
    again = Attempt(job(record.planned, store, launch="next"))
    assert epochs(again, 2) == [3, 4]
    again.close()
    assert store.records()[0].whole


def test_ray_copies_and_describes_a_job_at_no_cost(planned: Planned, store: Store) -> None:
    given = job(planned, store)
    assert deepcopy({"job": given})["job"] is given
    assert repr(given) == f"Job({planned.key!r})"


def test_each_attempt_has_a_log_with_what_the_engine_printed(planned: Planned, store: Store) -> None:
    for _ in range(2):
        attempt = Attempt(job(planned, store, fit="more_fits:noted"))
        epochs(attempt, 1)
        attempt.close()
    first, second = (Path(f"out/s/trials/{planned.key}/log-{n}.txt").read_text() for n in (1, 2))
    assert "attempt 1 starts from epoch 1" in first
    assert "an engine's own words in epoch 1" in first
    assert "epoch 1: val/miou" in first
    assert "attempt 2 continues after epoch 1" in second
    assert "an engine's own words in epoch 2" in second


def test_waits_get_longer_with_every_worker_lost_in_this_launch(
    planned: Planned, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    for _ in range(9):
        Attempt(job(planned, store, backoff_s=1.5))
    assert slept == [1.5, 3, 6, 12, 24, 48, 60, 60]
    slept.clear()
    Attempt(job(planned, store, backoff_s=1.5, launch="another"))
    assert slept == [], "another launch does not wait"


def test_a_hang_is_told_by_the_next_attempt_of_the_launch_alone(planned: Planned, store: Store) -> None:
    Attempt(job(planned, store)).close()
    store.write_text(f"trials/{planned.key}/hung-x.txt", "epoch 1: no result within 5")
    with pytest.raises(TrialFailed, match="no result within 5"):
        Attempt(job(planned, store))
    Attempt(job(planned, store, launch="another")).close()


def failing_writes(monkeypatch: pytest.MonkeyPatch, part: str, error: OSError) -> Callable[[], None]:
    """Writes to names with ``part`` fail until the returned function is called."""
    whole = Objects.write
    broken = [True]

    def write(self: Objects, name: str, *parts: bytes, flush: bool = True) -> None:
        if broken and part in name:
            raise error
        whole(self, name, *parts, flush=flush)

    monkeypatch.setattr(Objects, "write", write)
    return broken.clear


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), PermissionError(errno.EACCES, "Permission denied")],
    ids=["full", "denied"],
)
@pytest.mark.parametrize("part", ["checkpoint-1-3", "epochs-1", "log-1", "attempt-"])
def test_a_storage_that_fails_is_told_and_the_trial_continues_afterwards(
    planned: Planned, store: Store, monkeypatch: pytest.MonkeyPatch, part: str, error: OSError
) -> None:
    mend = failing_writes(monkeypatch, part, error)

    def work() -> None:
        attempt = Attempt(job(planned, store))
        try:
            epochs(attempt, 4)
        finally:
            attempt._writer.shutdown()

    with pytest.raises(StorageFailed, match=f"the storage failed: .*{error.strerror}"):
        work()
    mend()
    again = Attempt(job(planned, store))
    done = len(again.began.earlier)
    assert done == {"checkpoint-1-3": 2, "epochs-1": 1, "log-1": 1, "attempt-": 0}[part]
    assert epochs(again, 4 - done) == list(range(done + 1, 5))
    again.close()
    (record,) = store.records()
    assert [m["val/miou"] for m in record.epochs] == sorted(m["val/miou"] for m in record.epochs)
    assert record.whole


GRID = ("search.references=[]", "suppression.alpha=1.0", "suppression.sampling={name: uniform}", "search.sampler=grid")
FOUR = (*GRID, "suppression.p_max={choice: [0.75, 0.25, 0.4]}", "search.trials=3", "tracking.enabled=false")


def run(study: Study, fit: str) -> int:
    return launch(study, storage="out", target=Target(max_concurrent=2, fit=fit), command="again")


@pytest.mark.integration
def test_a_full_disk_interrupts_a_trial_and_the_same_command_finishes_it(
    study: Make, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = tmp_path / "full"
    full.write_text("")
    monkeypatch.setenv("FULL", str(full))
    assert run(study(*FOUR), "more_fits:full_disk") == 3
    out = capsys.readouterr().out
    found = {record.key: record for record in store.records()}
    stuck = found["search-0000"]
    assert stuck.state is State.INTERRUPTED
    assert "No space left on device" in (stuck.reason or "")
    assert found["search-0001"].state is State.COMPLETE, "the other one goes on"
    assert "continue with:  again" in out
    assert "No space left on device" in out
    full.unlink()
    assert run(study(*FOUR), "more_fits:full_disk") == 0
    after = {record.key: record for record in store.records()}
    assert len(after) == 3
    assert {(record.state, len(record.epochs)) for record in after.values()} == {(State.COMPLETE, 4)}
    assert after["search-0001"] == found["search-0001"]
    scores = [metrics["val/miou"] for metrics in after["search-0000"].epochs]
    assert scores == [0.75 * epoch / 4 for epoch in range(1, 5)]
    log = Path("out/s/trials/search-0000/log-2.txt").read_text()
    assert "continues after epoch 1" in log


@pytest.mark.integration
def test_a_trial_that_hangs_is_ended_and_counts_as_failed_and_runs_again_where_asked(
    study: Make, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    timed = study(*FOUR, "resources.trial_timeout_s=12", "resources.retry_backoff_s=0.1")
    began = time.monotonic()
    assert run(timed, "more_fits:hanging") == 3
    assert time.monotonic() - began < 60
    found = {record.key: record for record in store.records()}
    assert found["search-0000"].state is State.FAILED
    assert found["search-0000"].reason == "epoch 2: no result within resources.trial_timeout_s (12)"
    assert len(found["search-0000"].epochs) == 1
    assert {found[key].state for key in ("search-0001", "search-0002")} == {State.COMPLETE}
    assert "--retry-failed" in capsys.readouterr().out
    target = Target(max_concurrent=2, fit="fake_fit:fit", retry_failed=True)
    assert launch(timed, storage="out", target=target, command="again") == 0
    after = {record.key: record for record in store.records()}
    assert after["search-0000"].state is State.COMPLETE
    assert len(after["search-0000"].epochs) == 4
    assert after["search-0001"] == found["search-0001"]


def test_a_node_of_other_versions_that_joined_later_runs_no_trial(planned: Planned, tmp_path: Path) -> None:
    from orchestrator.worker.job import Interrupted
    from orchestrator.worker.ray_trial import RayTrial
    from orchestrator.worker.versions import versions

    actor = RayTrial.__new__(RayTrial)
    job = Job(planned, str(tmp_path), "s", "launch", "fake_fit:fit", versions={**versions(), "torch": "1.0"})
    actor.setup({"job": job})
    outcome = actor.step()["outcome"]
    assert isinstance(outcome, Interrupted)
    assert re.search(r"node .*, which joined later, has torch 2.* \(here 1\.0\); install the same", outcome.reason)
    assert list(tmp_path.rglob("attempt*")) == []
    actor.setup({"job": replace(job, versions=versions())})
    assert actor.step()["done"] is False
    actor.cleanup()


def test_a_worker_without_memory_keeps_its_epochs_and_says_so(planned: Planned, store: Store) -> None:
    from orchestrator.worker.ray_trial import RayTrial

    marks = Path("marks")
    marks.mkdir()
    os.environ["OUT_OF_MEMORY"] = str(marks)
    config = {**planned.config, "suppression": {"p_max": 0.9}}
    trial = replace(planned, config=config)
    actor = RayTrial.__new__(RayTrial)
    actor.setup({"job": job(trial, store, fit="more_fits:out_of_memory")})
    outcomes = [actor.step() for _ in range(3)]
    assert [outcome["done"] for outcome in outcomes] == [False, False, True]
    last = outcomes[-1]["outcome"]
    assert isinstance(last, RanOut)
    assert (last.setback.attempt, last.setback.where, last.setback.peak) == (1, "epoch 3, step 2", 13 * 2**30)
    assert store.checkpoints(planned.key)[0] == CheckpointName(1, 2), "what was in flight is kept first"
    record = store.record(planned.key)
    assert record is not None
    assert record.setbacks == (last.setback,)
    assert record.remark == str(last.setback)
    assert "OutOfMemory" in Path(store.path(f"trials/{planned.key}/traceback.txt")).read_text()
    actor.reset_config({"job": job(trial, store, fit="more_fits:out_of_memory", rung="alone", gpu=0)})
    assert [actor.step()["done"] for _ in range(2)] == [False, True]
    actor.cleanup()
    assert len(store.records()[0].epochs) == 4


def test_a_worker_loads_modules_without_the_collector_and_has_it_in_trials(planned: Planned, store: Store) -> None:
    from orchestrator.worker import without_collector
    from orchestrator.worker.ray_trial import RayTrial

    try:
        importlib.reload(without_collector)
        assert not gc.isenabled()
        RayTrial.__new__(RayTrial).setup({"job": job(planned, store)})
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        gc.enable()


def test_on_the_last_rung_a_trial_computes_its_activations_again(planned: Planned, store: Store) -> None:
    allowed = replace(planned, config={**planned.config, "train": {**planned.config["train"], "memory": "exact"}})  # type: ignore[dict-item]
    for rung, memory in (("shared", "exact"), ("alone", "exact"), ("recompute", "recompute")):
        attempt = Attempt(job(allowed, store, rung=rung))
        assert attempt._config.train.memory == memory
        assert attempt._planned.config["train"]["memory"] == "exact", "what is kept is what was planned"  # type: ignore[index, call-overload]
        attempt.close()


def test_a_setback_stays_with_the_verdict(planned: Planned, store: Store) -> None:
    record = Record(planned, ({"val/miou": 0.5},) * 4, State.COMPLETE)
    store.judge(record, {})
    assert "setbacks" not in Path(store.path(f"trials/{planned.key}/verdict.json")).read_text(), "as older versions"
    assert store.record(planned.key) == record
    setback = Setback(1, "shared", 0.5, "epoch 1, step 2", peak=3, cap=2, free=1, total=4)
    store.judge(replace(record, setbacks=(setback,)), {})
    assert store.record(planned.key) == replace(record, setbacks=(setback,))
