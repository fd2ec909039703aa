"""Launches whose Ray ends under them: they end by themselves, with everything written down, and are continued."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from orchestrator.driver.stop import Stop
from orchestrator.launch.one_launch import Target, launch
from orchestrator.store.records import Store
from orchestrator.store.trial_record import State
from orchestrator.studyfile import Study

pytestmark = pytest.mark.integration

HERE = Path(__file__).parents[1]
Make = Callable[..., Study]
SMALL = ("search.trials=2", "search.references=[]", "train.epochs=30", "tracking.enabled=false")
SCRIPT = """
import os, sys
from orchestrator import sweep
from orchestrator.launch import one_launch
from orchestrator.studyfile import load
with sweep.Stop('THE COMMAND') as stop:
    target = one_launch.Target(fit='fake_fit:slow', max_concurrent=2)
    study = load('s.yaml', sys.argv[1:])
    code = one_launch.launch(study, storage='out', target=target, command='THE COMMAND', stop=stop)
    stop.finished(code)
sys.exit(code)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return tmp_path


def epochs(place: Path) -> dict[str, int]:
    return {record.key: len(record.epochs) for record in Store(str(place / "out"), "s").records()}


def wait_for(reached: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + 120
    while not reached():
        assert time.monotonic() < end, "nothing happens"
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)


def of_session(session: int) -> list[psutil.Process]:
    """Processes of a session that still run."""
    running = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                running.append(process)
    return running


def everybody(process: psutil.Process) -> bool:  # as SLURM does
    return True


def gcs(process: psutil.Process) -> bool:
    return process.name().startswith("gcs_server")


def raylet(process: psutil.Process) -> bool:
    return process.name() == "raylet"


@pytest.mark.parametrize(
    ("number", "who", "words"),
    [
        (signal.SIGTERM, everybody, "Stopped: interrupted by SIGTERM"),
        (signal.SIGUSR1, everybody, "Interrupted."),
        (signal.SIGKILL, gcs, "Stopped: Ray is gone: "),
        (signal.SIGKILL, raylet, "Stopped: Ray is gone: "),
    ],
)
def test_it_ends_in_order_and_the_next_goes_on(
    number: signal.Signals, who: Callable[[psutil.Process], bool], words: str, study: Make, place: Path
) -> None:
    study()
    call = [sys.executable, "-c", textwrap.dedent(SCRIPT), *SMALL]
    process = subprocess.Popen(
        call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    wait_for(lambda: sum(epochs(place).values()) >= 3, process)
    for one in of_session(process.pid):
        with suppress(psutil.Error):
            if who(one):
                one.send_signal(number)
    out, _ = process.communicate(timeout=90)
    assert process.returncode == 143, out
    assert words in out
    assert "Continue with:  THE COMMAND" in out
    assert "Traceback" not in out
    assert not (place / "out/s/lease.json").exists()
    records = Store(str(place / "out"), "s").records()
    assert {record.state for record in records} == {State.INTERRUPTED}
    time.sleep(1)
    assert [one.name() for one in of_session(process.pid)] == []
    before = epochs(place)
    assert launch(study(*SMALL), storage="out", target=Target(fit="fake_fit:fit"), command="again") == 0
    assert all(count >= before[key] for key, count in epochs(place).items())
    assert set(epochs(place).values()) == {30}


def test_nodes_that_join_leave_and_are_lost_are_told_and_counted(study: Make, place: Path) -> None:
    import ray
    from ray._raylet import GcsClient
    from ray.cluster_utils import Cluster
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    stop = Stop("again", lambda _: None)
    told: list[str] = []
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        spare = cluster.add_node(num_cpus=1)
        leaving = cluster.add_node(num_cpus=1)
        from orchestrator.driver.cluster_watch import LOOK_S, ClusterWatch

        ray.init(address=cluster.address, log_to_driver=False)
        resources = study("resources.cpu=1").spec.resources
        with ClusterWatch(resources, told.append, stop.give_up, own=False) as watch:
            assert watch.slots == 3
            here = NodeAffinitySchedulingStrategy(leaving.node_id, soft=False)
            work = ray.remote(num_cpus=1)(lambda: (place / "at-work").touch() or time.sleep(600))
            work.options(scheduling_strategy=here).remote()
            end = time.monotonic() + 60
            while not (place / "at-work").exists() and time.monotonic() < end:
                time.sleep(0.1)  # a node that is idle would be gone at once
            client = GcsClient(address=cluster.address)
            assert client.drain_node(leaving.node_id, 2, "the machine is taken back", int(1e13))  # a preemption

            def reaches(slots: int) -> bool:
                end = time.monotonic() + 60
                while watch.slots != slots and time.monotonic() < end:
                    time.sleep(LOOK_S / 4)
                return watch.slots == slots

            assert reaches(2), told
            cluster.add_node(num_cpus=2)
            assert reaches(4), told
            cluster.remove_node(spare, allow_graceful=False)
            assert reaches(3), told
            assert watch.gone is None
            time.sleep(2 * LOOK_S)  # what is told follows what is counted
        assert "is about to leave and gets no new trial; 2 nodes now, 2 trials at a time" in told[0]
        assert "joined; 3 nodes now, 4 trials at a time" in told[1]
        assert "is lost" in told[2]
        assert "2 nodes now, 3 trials at a time" in told[2]
    finally:
        ray.shutdown()
        cluster.shutdown()
