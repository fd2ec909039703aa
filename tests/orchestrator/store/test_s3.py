"""A study on S3: moto's server on loopback, in a process of its own."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from orchestrator.plan.planner import Planner
from orchestrator.store.addresses import join
from orchestrator.store.lease import holder, lease
from orchestrator.store.objects import DamagedError, Objects
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Study
from orchestrator.worker.attempt import Attempt
from orchestrator.worker.job import Job

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(importlib.util.find_spec("moto") is None, reason="moto is not installed: pip install .[test]"),
]
HERE = Path(__file__).parents[1]
Make = Callable[..., Study]
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urlopen(Request(f"http://127.0.0.1:{port}/bucket", method="PUT"), timeout=5).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline, "moto does not start"
                time.sleep(0.2)
        yield f"s3://bucket/studies?endpoint_override=127.0.0.1%3A{port}&scheme=http&region=us-east-1"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def storage(server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of the test's own."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(HERE))
    return join(server, str(request.node.name))


def test_objects(storage: str) -> None:
    objects = Objects(storage)
    assert objects.read("a/b") is None
    assert objects.names("a") == []
    objects.write_json("a/b.json", {"x": 1})
    objects.write_sealed("a/c.bin", b"\0" * 7_000_000)  # more than one part
    assert objects.names("a") == ["b.json", "c.bin"]
    assert objects.read_json("a/b.json") == {"x": 1}
    assert objects.read_sealed("a/c.bin") == b"\0" * 7_000_000
    assert all(abs(moment - time.time()) < 60 for moment in objects.times("a"))
    objects.write("a/c.bin", b"\0" * 100)
    with pytest.raises(DamagedError, match=r"a/c\.bin"):
        objects.read_sealed("a/c.bin")
    objects.delete("a/c.bin")
    objects.delete("a/c.bin")
    assert objects.names("a") == ["b.json"]


def test_a_bucket_that_is_not_there_is_an_os_error(storage: str) -> None:
    objects = Objects(storage.replace("//bucket/", "//absent/"))
    with pytest.raises(OSError, match="absent"):
        objects.write("a", b"x")


def test_a_lease(storage: str) -> None:
    objects = Objects(storage)
    with lease(objects, print):
        assert holder(objects) is not None
    assert holder(objects) is None


def test_an_attempt_continues(storage: str, study: Make) -> None:
    store = Store(storage, "s")
    planned = Planner(study("search.references=[]")).next()
    assert planned is not None
    store.plan(planned)
    job = Job(planned, store.storage, "s", "x", "fake_fit:fit")
    first = Attempt(job)
    first.next_epoch()
    first.next_epoch()
    first.close()
    second = Attempt(job)
    assert [second.next_epoch().epoch for _ in range(2)] == [3, 4]
    second.close()
    (record,) = store.records()
    assert record.whole
    assert len(store.checkpoints(planned.key)) == 2
    store.judge(record.ended(State.COMPLETE), {})
    assert store.records() == [Record(planned, record.epochs, State.COMPLETE)]


def _files(store: Store, key: str) -> dict[str, bytes | None]:
    """A trial's files but its checkpoints, which only the best trial keeps."""
    names = [f"trials/{key}/{name}" for name in store.objects.names(f"trials/{key}") if not name.endswith(".bin")]
    return {name: store.objects.read(name) for name in names}


def test_a_study_goes_on_with_another_ray(storage: str, study: Make, tmp_path: Path) -> None:
    assert study().path == tmp_path / "s.yaml"
    code = (
        "import sys; from orchestrator.launch.one_launch import Target, launch;"
        "from orchestrator.studyfile import load;"
        "sys.exit(launch(load('s.yaml', ['search.trials=2', 'tracking.enabled=false']),"
        f"storage={storage!r}, target=Target(max_concurrent=2, fit='fake_fit:slow'), command=''))"
    )
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    environment = {**os.environ, "PYTHONPATH": path, "RAY_ADDRESS": ""}

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    first = start()
    store = Store(storage, "s")
    deadline = time.monotonic() + 120
    while not any(record.state.final for record in store.records()):
        assert first.poll() is None, first.communicate()[0]
        assert time.monotonic() < deadline, "no verdict in 120 s"
        time.sleep(0.3)
    os.killpg(first.pid, signal.SIGKILL)  # the command, and the Ray it started
    first.wait()
    time.sleep(2)
    before = {record.key: record for record in store.records()}
    ended = {key for key, record in before.items() if record.state.final}
    assert len(ended) < 4
    files = {key: _files(store, key) for key in ended}
    second = start()
    out, _ = second.communicate(timeout=150)
    assert second.returncode == 0, out
    after = {record.key: record for record in store.records()}
    assert len(after) == 2 + len(study().spec.search.references)
    assert {(record.state, len(record.epochs)) for record in after.values()} == {(State.COMPLETE, 4)}
    for key in ended:
        assert after[key] == before[key]
        assert _files(store, key) == files[key], "finished trials are untouched"
    assert "secret" not in out.lower()


def test_a_study_is_loaded_from_its_address(storage: str, study: Make) -> None:
    import orchestrator

    loaded = study("search.references=[]")
    store, planned = Store(storage, "s"), Planner(loaded).next()
    assert planned is not None
    store.write_study(loaded.resolved())
    store.plan(planned)
    store.judge(Record(planned, ({"val/miou": 0.5},) * 4).ended(State.COMPLETE), {})
    read = orchestrator.load_study(join(storage, "s"))
    assert read.best is not None
    assert read.best.objective == 0.5
    assert orchestrator.load_study("s", storage=storage).address == read.address
    with pytest.raises(orchestrator.InputError, match=r"no study there \(did you mean 's'\?\)"):
        orchestrator.load_study(join(storage, "S"))
