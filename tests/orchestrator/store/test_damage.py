"""Damaged files of a trial: each truncated and altered in turn. Nothing is silently lost, believed or begun anew."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.plan.planner import Planner
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Study
from orchestrator.worker.attempt import Attempt
from orchestrator.worker.job import Job

Make = Callable[..., Study]
EPOCHS = 4
DONE = 3
"""Epochs of a trial that did not end."""
DAMAGES = 20


@pytest.fixture(autouse=True)
def _engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def job(planned: Planned, store: Store) -> Job:
    return Job(planned, store.storage, store.study, "x", "fake_fit:fit")


def make(study: Study, store: Store, state: State) -> Planned:
    """A trial's directory as a driver and a worker leave it."""
    planned = Planner(study).next()
    assert planned is not None
    store.plan(planned)
    attempt = Attempt(job(planned, store))
    epochs = [attempt.next_epoch().metrics for _ in range(EPOCHS if state is State.COMPLETE else DONE)]
    attempt.close()
    if state is not State.RUNNING:
        store.judge(Record(planned, tuple(epochs)).ended(state, "why"), {"note": 1})
    return planned


def damages(whole: bytes) -> Iterator[bytes]:
    draw = random.Random(len(whole))
    for _ in range(DAMAGES):
        yield whole[: draw.randrange(len(whole))]
    for _ in range(DAMAGES):
        place = draw.randrange(len(whole))
        yield whole[:place] + bytes([whole[place] ^ (1 << draw.randrange(8))]) + whole[place + 1 :]


def names(state: State) -> list[str]:
    shared = ["config.json", "attempt-1.json", "epochs-1.json", "log-1.txt"]
    last = EPOCHS if state is State.COMPLETE else DONE
    checkpoints = [f"checkpoint-1-{last - 1}.bin", f"checkpoint-1-{last}.bin"]
    return [*shared, *checkpoints, *(["verdict.json"] if state is not State.RUNNING else [])]


CASES = [(state, name) for state in (State.RUNNING, State.INTERRUPTED, State.COMPLETE) for name in names(state)]


@pytest.mark.parametrize(("state", "name"), CASES)
def test_one_damaged_file(study: Make, tmp_path: Path, state: State, name: str) -> None:
    small = study("search.references=[]", "search.trials=1")
    planned = make(small, Store(str(tmp_path), "s"), state)
    folder = tmp_path / "s/trials" / planned.key
    assert sorted(path.name for path in folder.iterdir()) == sorted(names(state))
    files = {path: path.read_bytes() for path in folder.iterdir()}
    (sound,) = Store(str(tmp_path), "s").records()
    assert sound.state is state
    for damaged in damages(files[folder / name]):
        (folder / name).write_bytes(damaged)
        _check(tmp_path, small, sound, name)
        for path in folder.iterdir():
            path.unlink()
        for path, content in files.items():
            path.write_bytes(content)


def _check(storage: Path, study: Study, sound: Record, name: str) -> None:
    store = Store(str(storage), "s")
    (record,) = store.records()
    assert record.planned.config == sound.planned.config, "never an empty configuration"
    assert record.planned.picks == sound.planned.picks
    believed = list(record.epochs)
    assert believed == list(sound.epochs[: len(believed)]), "never an invented epoch"
    if sound.state.final and name != "verdict.json":
        assert record == sound
        assert store.warnings == []
        return
    if sound.state.final:  # what the driver knew is lost, what the worker kept is not
        assert record.whole
        assert any(name in line for line in store.warnings) or record == sound
        return
    if name in ("config.json", "epochs-1.json", "verdict.json") and record != sound:
        assert any(name in line for line in store.warnings)
    planner = Planner(study, [record])
    planned = planner.next()
    assert planned is not None
    assert planned.key == sound.key, "handed out again under its own key"
    store.plan(planned)
    attempt = Attempt(job(planned, store))
    epoch = attempt.next_epoch().epoch
    expected = DONE if name == f"checkpoint-1-{DONE}.bin" else DONE + 1
    assert epoch == expected
    if name == f"checkpoint-1-{DONE}.bin":
        assert any(name in line for line in attempt.began.notes)
    metrics = [attempt._history[-1]]
    while len(attempt._history) < EPOCHS:
        metrics.append(attempt.next_epoch().metrics)
    attempt.close()
    after = Store(str(storage), "s")
    (again,) = after.records()
    assert [m["val/miou"] for m in again.epochs] == [m["val/miou"] for m in attempt._history]
    assert [m["val/miou"] for m in again.epochs[:DONE]] == [m["val/miou"] for m in sound.epochs]


def test_no_good_checkpoint_restarts_from_the_first_epoch_and_says_so(study: Make, tmp_path: Path) -> None:
    store = Store(str(tmp_path), "s")
    planned = make(study("search.references=[]"), store, State.RUNNING)
    folder = tmp_path / "s/trials" / planned.key
    for path in folder.glob("*.bin"):
        path.write_bytes(path.read_bytes()[:-1])
    attempt = Attempt(job(planned, store))
    epoch = attempt.next_epoch().epoch
    attempt.close()
    assert epoch == 1
    for name in (f"checkpoint-1-{DONE}.bin", f"checkpoint-1-{DONE - 1}.bin", "starts from epoch 1"):
        assert any(name in line for line in attempt.began.notes), attempt.began.notes


def test_checkpoints_that_are_gone_restart_and_say_so(study: Make, tmp_path: Path) -> None:
    store = Store(str(tmp_path), "s")
    planned = make(study("search.references=[]"), store, State.RUNNING)
    for path in (tmp_path / "s/trials" / planned.key).glob("*.bin"):
        path.unlink()
    attempt = Attempt(job(planned, store))
    epoch = attempt.next_epoch().epoch
    attempt.close()
    assert epoch == 1
    assert any("starts from epoch 1" in line for line in attempt.began.notes), "never a silent restart"


def test_a_new_trial_starts_without_a_warning(study: Make, tmp_path: Path) -> None:
    store = Store(str(tmp_path), "s")
    planned = Planner(study("search.references=[]")).next()
    assert planned is not None
    store.plan(planned)
    attempt = Attempt(job(planned, store))
    assert attempt.began.notes == []
    attempt.close()


def test_a_trial_of_which_nothing_is_readable_is_planned_anew_under_its_number(study: Make, tmp_path: Path) -> None:
    loaded = study("search.references=[]", "search.trials=3")
    store = Store(str(tmp_path), "s")
    planner = Planner(loaded)
    whole = []
    for _ in range(3):
        planned = planner.next()
        assert planned is not None
        store.plan(planned)
        metrics = tuple({"val/miou": 0.1 * epoch} for epoch in range(1, EPOCHS + 1))
        record, attrs = planner.finish(Record(planned, metrics).ended(State.COMPLETE))
        store.judge(record, attrs)
        whole.append(planned)
    lost = tmp_path / "s/trials/search-0001"
    for path in lost.iterdir():
        path.write_bytes(path.read_bytes()[:10])
    store = Store(str(tmp_path), "s")
    records = store.records()
    assert [record.key for record in records] == ["search-0000", "search-0002"]
    assert any("search-0001" in line and "begins anew" in line for line in store.warnings)
    again = Planner(loaded, records)
    planned = again.next()
    assert planned is not None
    assert (planned.key, planned.config) == ("search-0001", whole[1].config), "a random search draws by the number"
    assert again.next() is None
