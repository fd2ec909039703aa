"""Studies on several hosts: hosts that join, die and are cut off, and drivers that are continued elsewhere.

Each test says on stdout how many seconds passed (``-s``); what they may be is not asserted, machines differ.
"""

import os
import re
import secrets
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from host_studies import TOKEN, Launch, Studies
from hosts import MISSED_SECONDS, PORT, hosts, obstacle

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(bool(obstacle()), reason=obstacle() or "")]


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studies]:
    folder = tmp_path_factory.mktemp("hosts")
    home = folder / "home"
    (home / ".ray").mkdir(parents=True)
    (home / ".ray/auth_token").write_text(secrets.token_hex(32))  # as any local run leaves one
    with hosts(folder / "hosts", ["a", "b", "c"], HOME=str(home)) as members:
        yield Studies(members, folder)


def ended_well(launch: Launch, trials: int, epochs: int = 5) -> None:
    assert launch.wait() == 0, launch.output
    records = launch.records
    assert len(records) == trials
    assert all(len(record.epochs) == epochs for record in records), records
    assert {record.state.name for record in records} == {"COMPLETE"}


def told(launch: Launch) -> None:
    """Print what the launch said of nodes."""
    for line in launch.output.splitlines():
        if any(word in line for word in ("node", "joined", "lost", "gone")) and "/hosts0/" not in line:
            print(f"  {line}")


def trained_again(launch: Launch) -> int:
    """How many epochs were trained more than once."""
    return Counter(Counter((note.seed, note.epoch) for note in launch.notes).values())[2]


def test_a_host_that_joins_gets_a_trial(studies: Studies) -> None:
    """Trials outlast the start of a worker: else workers of the other hosts are free before it, and used again."""
    studies.hold("a", "b")
    launch = studies.give("a", "join", "--set", "search.trials=3", "--set", "train.epochs=30")
    launch.wait_for(lambda note: note.host == "b")
    joined = studies.join("c")
    first = launch.wait_for(lambda note: note.host == "c")
    print(f"joined: first trial after {first.began - joined:.1f} s")
    told(launch)
    launch.kill()
    assert re.search(r"node c \(.*\) joined; 3 nodes now", launch.output)


def test_a_trial_of_a_killed_host_runs_elsewhere(studies: Studies) -> None:
    studies.hold("a", "b", "c")
    launch = studies.give("a", "killed", "--set", "search.trials=5")
    seen = launch.wait_for(lambda note: note.host == "c", 2)
    killed = time.time()
    studies.kill("c")
    again = launch.wait_for(lambda note: note.seed == seen.seed and note.host != "c")
    print(f"host killed: its trial elsewhere after {again.began - killed:.1f} s, epoch {again.epoch}")
    ended_well(launch, 5)
    told(launch)
    assert again.epoch in (3, 4)
    assert re.search(r"node c \(.*\) is lost.*; 2 nodes now", launch.output)


def test_a_partition_costs_the_epoch_in_flight(studies: Studies) -> None:
    studies.hold("a", "b")
    launch = studies.give("a", "partition", "--set", "search.trials=4")
    seen = launch.wait_for(lambda note: note.host == "b", 2)
    cut = time.time()
    studies.hosts["b"].cut()
    again = launch.wait_for(lambda note: note.seed == seen.seed and note.host != "b")
    print(f"host cut off: its trial elsewhere after {again.began - cut:.1f} s, epoch {again.epoch}")
    studies.hosts["b"].mend()
    ended_well(launch, 4)
    told(launch)
    print(f"epochs trained twice: {trained_again(launch)}")
    studies.kill("b")


def test_another_host_goes_on_for_a_dead_driver_and_steals_from_none_that_lives(studies: Studies) -> None:
    """Containers often have equal names and equal numbers of processes: ``b`` has the name of the driver's host."""
    studies.hold("a", "c")
    driver = studies.give("c", "driver", "--set", "search.trials=3")
    driver.wait_for(lambda note: note.epoch > 0)
    studies.hosts["b"].start(hostname="c")
    namesake = studies.start("b", "driver", studies.command("driver", "--no-wait"))
    assert namesake.wait() == os.EX_TEMPFAIL, namesake.output
    assert driver.process.poll() is None
    driver.kill()
    killed = time.time()
    second = studies.give("a", "driver", "--set", "search.trials=3")
    goes_on = second.wait_for(lambda note: note.began > killed + 1)
    print(f"driver killed: another host goes on after {goes_on.began - killed:.1f} s")
    ended_well(second, 3)


def test_a_driver_that_is_cut_off_ends_by_itself_and_fails_no_trial(studies: Studies) -> None:
    studies.hold("a", "c")
    launch = studies.give("c", "cut", "--set", "search.trials=2")
    launch.wait_for(lambda note: note.epoch == 2)
    cut = time.time()
    studies.hosts["c"].cut()
    time.sleep(MISSED_SECONDS)
    studies.hosts["c"].mend()
    assert launch.wait() == 128 + signal.SIGTERM, launch.output
    print(f"driver cut off for {MISSED_SECONDS:g} s: ended by itself after {time.time() - cut:.1f} s")
    told(launch)
    assert {record.state.name for record in launch.records} <= {"INTERRUPTED", "COMPLETE"}, launch.output
    studies.kill("c")


def test_a_token_that_exists_is_used(studies: Studies, tmp_path: Path) -> None:
    """All tests of this file run under a home with a token, as any local run leaves one; this one runs without."""
    studies.hold("a")
    command = studies.command("token", "--address", f"{studies.hosts['a'].address}:{PORT}")
    launch = studies.start("a", "token", command, {"HOME": str(tmp_path)})
    assert launch.wait() == 2
    assert "token" in launch.output


def test_a_launch_whose_head_dies_ends_by_itself_and_fails_no_trial(studies: Studies) -> None:
    studies.hold("a", "b")
    launch = studies.give("b", "head", "--set", "search.trials=2")
    launch.wait_for(lambda note: note.epoch == 2)
    died = time.time()
    studies.kill("a")
    assert launch.wait() == 128 + signal.SIGTERM, launch.output
    print(f"head killed: the launch ended by itself after {time.time() - died:.1f} s")
    told(launch)
    assert {record.state.name for record in launch.records} <= {"INTERRUPTED", "COMPLETE"}, launch.output


def test_symmetric_run_uses_all_its_hosts(studies: Studies) -> None:
    studies.clear()
    around = ["ray", "symmetric-run", "--min-nodes", "2", "--num-cpus", "1"]
    around += ["--address", f"{studies.hosts['a'].address}:{PORT}", "--"]
    command = [*around, *studies.command("symmetric", "--set", "search.trials=3", "--set", "train.epochs=3")]
    for name in ("a", "b"):
        studies.hosts[name].start()
    launch, _ = (studies.start(name, "symmetric", command, TOKEN) for name in ("a", "b"))
    ended_well(launch, 3, epochs=3)
    assert {note.host for note in launch.notes} == {"a", "b"}


def test_a_ray_job_is_stopped_in_order_and_continued(studies: Studies) -> None:
    studies.clear()
    studies.join("a", options=["--include-dashboard=true"])
    command = studies.command("job", "--set", "search.trials=1", "--set", "train.epochs=12")
    first = studies.start("a", "job", ["ray", "job", "submit", "--submission-id", "first", "--", *command], TOKEN)
    first.wait_for(lambda note: note.epoch == 2)
    studies.hosts["a"].run(["ray", "job", "stop", "first"], environment={**studies.environment, **TOKEN})
    first.wait()
    assert {record.state.name for record in first.records} == {"INTERRUPTED"}, first.output
    second = studies.start("a", "job", ["ray", "job", "submit", "--submission-id", "second", "--", *command], TOKEN)
    ended_well(second, 1, epochs=12)
    assert trained_again(second) == 0, second.notes
