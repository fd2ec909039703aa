"""What fails under a launch while trials run: the storage, Ray, its folders; without Ray."""

import errno
import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from fake_watch import searcher_of
from pydantic import JsonValue
from ray.exceptions import RayError
from ray.tune.error import TuneError

from orchestrator.driver import temporary
from orchestrator.driver.adapters import _last_failure
from orchestrator.driver.capacity import Demand
from orchestrator.driver.session import Session
from orchestrator.driver.sharing import Start
from orchestrator.driver.stop import Stop
from orchestrator.driver.tuner import _ray_failures
from orchestrator.errors import InputError, MachineError, StorageError
from orchestrator.launch.one_launch import Target, launch
from orchestrator.launch.stages import Stages
from orchestrator.plan.planner import Planner
from orchestrator.store.objects import Objects
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Study
from orchestrator.worker.job import EpochDone, Failed

Make = Callable[..., Study]
PLAIN = ("search.references=[]", "search.trials=3", "tracking.enabled=false")
STALE = OSError(errno.ESTALE, "Failed to open local file 'x'. Detail: [errno 116] Stale file handle")


class Outage:
    """Storages that may be away: then everything fails as it does behind a stale handle."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.away = False
        opened, written = Objects.__init__, Objects.write

        def init(objects: Objects, uri: str) -> None:
            opened(objects, uri)
            objects._fs = Absent(objects._fs, self)

        def write(objects: Objects, name: str, *parts: bytes, flush: bool = True) -> None:
            self.meet()
            written(objects, name, *parts, flush=flush)

        monkeypatch.setattr(Objects, "__init__", init)
        monkeypatch.setattr(Objects, "write", write)

    def meet(self) -> None:
        """Fail while the outage lasts."""
        if self.away:
            raise STALE


class Absent:
    """A filesystem of pyarrow, while there is no outage."""

    def __init__(self, filesystem: object, outage: Outage) -> None:
        self._filesystem, self._outage = filesystem, outage

    def __getattr__(self, name: str) -> object:
        self._outage.meet()
        return getattr(self._filesystem, name)


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Outage:
    return Outage(monkeypatch)


@pytest.fixture
def driven(study: Make, tmp_path: Path, outage: Outage) -> tuple[Session, Planned, Store]:
    """A session with one trial that has an epoch."""
    store = Store(str(tmp_path / "out"), "s")
    session = Session(Planner(study(*PLAIN)), store, [])
    planned = session.start()
    assert planned is not None
    session.epoch(planned.key, EpochDone(1, {"val/miou": 0.5}, last=False))
    store.write_epochs(planned.key, 1, [{"val/miou": 0.5}])
    return session, planned, store


@pytest.mark.parametrize(
    "happens",
    [
        lambda session, key: session.end(key, Failed("the loss is nan")),
        lambda session, key: session.lose(key, "its worker was lost"),
        lambda session, _: session.interrupt("interrupted by SIGTERM"),
        lambda session, _: session.abandon("Ray failed"),
    ],
    ids=["failed", "lost", "interrupted", "abandoned"],
)
def test_a_storage_that_cannot_be_read_leaves_the_trial_to_the_next_launch(
    happens: Callable[[Session, str], None], driven: tuple[Session, Planned, Store], outage: Outage
) -> None:
    session, planned, store = driven
    outage.away = True
    happens(session, planned.key)
    assert not session.running
    assert session.problem is not None
    assert "Ray failed" in session.problem or "s/trials/" in session.problem
    assert session.start() is None, "no further trial begins"
    outage.away = False
    (record,) = store.records()
    assert (record.state, record.last("val/miou")) == (State.RUNNING, 0.5), "nobody has judged it"


def test_a_failure_of_its_own_stays_one_where_the_storage_answers(driven: tuple[Session, Planned, Store]) -> None:
    session, planned, store = driven
    session.problem = "another trial met a full disk"
    session.end(planned.key, Failed("the loss is nan"))
    (record,) = store.records()
    assert (record.state, record.reason) == (State.FAILED, "the loss is nan")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "Ray failed: [Errno 28] No space left on device"),
        (TuneError("Traceback (most recent call last):\n  File x\nOSError: broken\n"), "Ray failed: OSError: broken"),
        (RayError(), "Ray failed: RayError"),
    ],
)
def test_where_ray_fails_the_session_keeps_what_is_known(
    error: Exception, line: str, driven: tuple[Session, Planned, Store]
) -> None:
    session, _, store = driven
    with _ray_failures(session):
        raise error
    (record,) = store.records()
    assert (record.state, record.reason, len(record.epochs)) == (State.INTERRUPTED, line, 1)
    assert session.problem == line


def test_where_ray_fails_before_the_first_trial_it_is_told(study: Make, tmp_path: Path) -> None:
    session = Session(Planner(study(*PLAIN)), Store(str(tmp_path), "s"), [])
    with pytest.raises(MachineError, match=r"^Ray failed: x$"), _ray_failures(session):
        raise TuneError("x")


@pytest.mark.parametrize("full", [False, True])
def test_a_worker_lost_while_ray_cannot_write_is_not_the_trials_fault(
    full: bool, driven: tuple[Session, Planned, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    session, planned, store = driven
    monkeypatch.setattr(temporary, "ROOM_BYTES", 1 << 60 if full else 1)
    monkeypatch.setattr(temporary._obstacle, "__defaults__", (temporary.ROOM_BYTES,))
    searcher = searcher_of(session, Stop("again"))
    searcher.keys["ray"], searcher._live["ray"] = planned.key, Start(planned, Demand(1, 0))
    searcher.on_trial_complete("ray", None, error=True)
    (record,) = store.records()
    assert record.reason is not None
    assert record.state is (State.INTERRUPTED if full else State.FAILED)
    assert ("MB free of" in record.reason) is full
    assert "its worker was lost" in record.reason


class FakeTrial:
    """As much of Ray's trial as is looked at."""

    def __init__(self, error_file: str | None) -> None:
        self.error_file = error_file


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "Ray does not say why"),
        (b"", "Ray does not say why"),
        (b"Failure # 1 (occurred at x)\n", "Ray does not say why"),
        (b"the worker died\n", "the worker died"),
        (b"Failure # 1 (occurred at x)\nold\nFailure # 2 (occurred at x)\n\n new \n", "new"),
        (b"Failure # 1 (occurred at x)\nTraceback\n  File y\nOSError: z\n", "OSError: z"),
        (b"\xff\xfe died", "\ufffd\ufffd died"),
    ],
)
def test_what_ray_writes_of_a_lost_worker_is_read_whatever_it_is(
    content: bytes | None, line: str, tmp_path: Path
) -> None:
    path = tmp_path / "error.txt"
    if content is not None:
        path.write_bytes(content)
    assert _last_failure(FakeTrial(str(path))) == line  # type: ignore[arg-type]
    assert _last_failure(FakeTrial(None)) == "Ray does not say why"  # type: ignore[arg-type]


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Launches run their trials here and now; the returned function says what happens before each one's end."""
    monkeypatch.chdir(tmp_path)
    happens: list[Callable[[int], None]] = []

    def run(session: Session, store: Store, **_: object) -> None:
        for count, planned in enumerate(iter(session.start, None)):
            metrics = [{"val/miou": 0.1 * epoch} for epoch in range(1, 5)]
            store.write_epochs(planned.key, 1, metrics)
            for act in happens:
                act(count)
            for epoch in (1, 2, 3):
                session.epoch(planned.key, EpochDone(epoch, metrics[epoch - 1], last=False))
            session.end(planned.key, EpochDone(4, metrics[3], last=True))

    monkeypatch.setattr("orchestrator.driver.cluster.cluster", lambda *_: nullcontext(SimpleNamespace(slots=1)))
    monkeypatch.setattr("orchestrator.driver.nodes.wait_for_a_node", lambda *_: None)
    monkeypatch.setattr("orchestrator.driver.nodes.check_nodes", lambda *_, **__: None)
    monkeypatch.setattr("orchestrator.driver.tuner.run", run)
    return happens.append


def launched(study: Study) -> int:
    return launch(study, storage="out", target=Target(), command="again")


def test_a_storage_that_goes_away_ends_the_launch_with_its_summary_and_the_next_finishes(
    study: Make, without_ray: Callable[..., None], outage: Outage, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = study(*PLAIN)

    def leave(count: int) -> None:
        outage.away = count == 1

    without_ray(leave)
    assert launched(loaded) == 3
    out = capsys.readouterr().out
    assert "Study s: 1 complete" in out or "Study s: 2 complete" in out, "what is known is told"
    assert "No results are written: " in out
    assert "Stopped: the storage failed: " in out
    assert "Stale file handle. Once that is mended, continue with:  again" in out
    outage.away = False
    Path("out/s/lease.json").unlink()  # it could not be released, and this process lives on
    without_ray(lambda _: setattr(outage, "away", False))
    assert launched(loaded) == 0
    rows = pq.read_table("out/s/results.parquet").to_pylist()
    assert sorted((row["trial"], row["epoch"]) for row in rows) == [
        (f"search-000{trial}", epoch) for trial in range(3) for epoch in range(1, 5)
    ]


@pytest.mark.parametrize("moment", ["the table", "the next stage"])
def test_a_storage_that_fails_after_the_last_trial_is_told_at_the_end(
    moment: str,
    study: Make,
    without_ray: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = {"the table": "results.write_table", "the next stage": "stages.Stages.next"}[moment]
    original = {"the table": None, "the next stage": Stages.next}[moment]
    calls = []

    def refuse(*arguments: object) -> object:
        calls.append(1)
        if original is not None and len(calls) == 1:
            return original(*arguments)
        raise MachineError("x: Read-only file system")

    monkeypatch.setattr(f"orchestrator.launch.{name}", refuse)
    assert launched(study(*PLAIN)) == 3
    out = capsys.readouterr().out
    assert "Study s: 3 complete" in out
    assert "Stopped: x: Read-only file system. Once that is mended, continue with:  again" in out


def test_a_verdict_that_could_not_be_written_is_shown_as_it_is_known(
    study: Make,
    without_ray: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = Store.judge

    def judge(store: Store, record: Record, *rest: Mapping[str, JsonValue]) -> None:
        if record.key == "search-0001":
            raise StorageError("verdict.json: No space left on device")
        whole(store, record, *rest)

    monkeypatch.setattr(Store, "judge", judge)
    assert launched(study(*PLAIN)) == 3
    assert "Study s: 2 complete; " in capsys.readouterr().out
    assert Store("out", "s").records()[1].state is State.RUNNING


def test_trials_that_vanish_are_told(
    study: Make, without_ray: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without_ray(lambda count: shutil.rmtree(tmp_path / "out/s/trials/search-0000") if count == 2 else None)
    assert launched(study(*PLAIN)) == 3
    assert "1 of 3 trials are no longer there" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (STALE, r"^this machine: .*Stale file handle$"),
        (MachineError("TMPDIR=/full: No space left on device"), r"^TMPDIR=/full: No space left on device$"),
    ],
)
def test_before_the_first_trial_it_is_one_line_that_blames_no_storage(
    error: OSError, line: str, study: Make, without_ray: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("orchestrator.driver.tuner.run", refuse)
    with pytest.raises(InputError, match=line):
        launched(study(*PLAIN))
