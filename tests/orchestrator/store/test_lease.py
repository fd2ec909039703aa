"""One launch of a study at a time."""

import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.errors import InputError, StorageError, TryAgain
from orchestrator.store import holder as identity
from orchestrator.store import lease as module
from orchestrator.store.holder import Holder
from orchestrator.store.layout import LEASE
from orchestrator.store.lease import FORGOTTEN_S, GLANCE_S, HEARTBEAT_S, STALE_S, holder, lease, wait_until_free
from orchestrator.store.objects import Objects

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys, time
from orchestrator.store import lease as module
from orchestrator.store.objects import Objects
module.HEARTBEAT_S = 0.1
with module.lease(Objects(sys.argv[1]), print):
    print("held", flush=True)
    time.sleep(100)
"""


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(str(tmp_path / "out/s"))


def held_by(objects: Objects, **changes: Any) -> None:
    other = {"owner": "other", "host": "elsewhere", "pid": 1, "time": time.time()}
    objects.write_json(LEASE, other | changes)


def dead_process() -> dict[str, Any]:
    """What a lease says of a process of this machine that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return asdict(Holder.here()) | {"owner": "other", "pid": done.pid}


@contextmanager
def holding(objects: Objects, *before: str) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the study; ``before`` is what starts it."""
    call = [*before, sys.executable, "-c", HOLDER, objects.uri]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


class Clock:
    """Time that passes only while somebody sleeps; ``meanwhile`` is what happens then."""

    def __init__(self, meanwhile: Callable[[float], object] = lambda _: None) -> None:
        self.slept, self._meanwhile = 0.0, meanwhile
        self._began = time.time()

    def time(self) -> float:
        return self._began + self.slept

    def monotonic(self) -> float:
        return 1000 + self.slept

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self._meanwhile(self.slept)


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Clock]:
    def make(meanwhile: Callable[[float], object] = lambda _: None) -> Clock:
        clock = Clock(meanwhile)
        monkeypatch.setattr(module, "time", clock)
        return clock

    return make


def beating(
    objects: Objects, until: float, *, skew: float = 0.0, every: float = HEARTBEAT_S
) -> Callable[[float], None]:
    """What another launch does meanwhile: it gives heartbeats, by its own clock."""

    def beat(slept: float) -> None:
        if slept <= until and slept % every < module.POLL_S:
            held_by(objects, time=time.time() + slept + skew)

    return beat


@pytest.mark.parametrize("content", [{}, [], {"owner": "x", "host": "h", "pid": "x", "time": 0.0}])
def test_a_lease_of_another_shape_holds_nobody(content: object, tmp_path: Path) -> None:
    objects = Objects(str(tmp_path))
    objects.write_json("lease.json", content)
    assert module.holder(objects) is None


def test_it_is_held_and_released(objects: Objects, tmp_path: Path) -> None:
    said: list[str] = []
    assert holder(objects) is None
    with lease(objects, said.append):
        held = holder(objects)
        assert held is not None
        assert (held.pid, held.host) == (os.getpid(), platform.node())
        objects.write("study.json", b"")
    assert holder(objects) is None
    assert said == []
    assert objects.names("") == ["study.json"]


def test_a_study_that_never_began_leaves_nothing(objects: Objects, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="refused"), lease(objects, print):
        raise InputError("refused")
    assert list(tmp_path.iterdir()) == []


def test_a_second_launch_is_refused_and_says_who_holds_it(objects: Objects) -> None:
    with lease(objects, print):
        told = rf"another launch runs this study.*process {os.getpid()}, last heartbeat"
        with pytest.raises(TryAgain, match=told), lease(objects, print):
            pytest.fail("two launches at a time")
        assert holder(objects) is not None, "the refused one takes nothing with it"


def test_another_host_is_believed_until_its_lease_is_forgotten(objects: Objects) -> None:
    held_by(objects)
    with pytest.raises(TryAgain, match="host elsewhere, process 1"), lease(objects, print):
        pass
    held_by(objects, time=time.time() - STALE_S - 1)
    assert holder(objects) is None, "as far as the clocks say"
    with pytest.raises(TryAgain, match="host elsewhere, process 1"), lease(objects, print):
        pytest.fail("a clock that is wrong gives nobody's study away")
    held_by(objects, time=time.time() - FORGOTTEN_S - 1)
    said: list[str] = []
    with lease(objects, said.append):
        held = holder(objects)
        assert held is not None
        assert held.owner != "other"
    assert said == ["The launch at elsewhere, process 1, gives no sign of life any more: its study is taken over."]


def test_a_dead_process_of_this_machine_is_taken_over_at_once(objects: Objects, passing: Callable[..., Clock]) -> None:
    clock = passing()
    held_by(objects, **dead_process())
    assert holder(objects) is None
    said: list[str] = []
    with lease(objects, said.append, wait_until_free(objects, said.append)):
        assert clock.slept == module.SETTLE_S
    assert len(said) == 1
    assert "is no more: its study is taken over" in said[0]


def test_a_process_that_has_another_ones_id_now_is_not_it(objects: Objects) -> None:
    this = asdict(Holder.here())
    assert Holder(**this).lives() is True
    reused = Holder(**this | {"started": this["started"] - 1})
    assert reused.lives() is False
    held_by(objects, **asdict(reused))
    with lease(objects, print):
        pass


def test_a_killed_process_that_nobody_waited_for_is_dead(objects: Objects) -> None:
    with holding(objects) as process:
        held = holder(objects)
        assert held is not None
        assert held.lives() is True
        process.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 10
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert held.lives() is False


@pytest.mark.parametrize(
    "changes",
    [
        {"boot": None, "pid_namespace": None, "started": None},
        {"boot": "00000000-0000-0000-0000-000000000000"},
        {"pid_namespace": 1},
        {"started": None},
    ],
    ids=["an older version's", "another machine", "another container", "an unknown start"],
)
@pytest.mark.parametrize("pid", ["living", "dead"])
def test_of_another_place_only_the_heartbeat_tells(
    changes: dict[str, Any], pid: str, objects: Objects, passing: Callable[..., Clock]
) -> None:
    elsewhere = (asdict(Holder.here()) if pid == "living" else dead_process()) | {"owner": "other"} | changes
    assert Holder(**elsewhere).lives() is None
    if changes.get("boot", "") is None:
        elsewhere = {key: value for key, value in elsewhere.items() if key not in changes}
    objects.write_json(LEASE, elsewhere)
    assert holder(objects) is not None
    clock = passing()
    assert wait_until_free(objects, print) is not None
    assert STALE_S <= clock.slept < STALE_S + 2


def test_without_proc_only_the_heartbeat_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Holder.here()
    monkeypatch.setattr(identity, "_place", lambda: None)
    this = Holder.here()
    assert (this.boot, this.pid_namespace, this.started) == (None, None, None)
    assert (this.lives(), there.lives()) == (None, None)


def test_a_process_that_is_hidden_from_this_user_is_not_held_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    this = Holder.here()
    monkeypatch.setattr(identity, "_stat", lambda _pid: None)
    assert this.lives() is None


def test_a_heartbeat_that_stands_still_is_watched_by_this_clock_alone(
    objects: Objects, passing: Callable[..., Clock]
) -> None:
    held_by(objects, time=time.time() + 1e6)  # its clock is days ahead
    clock = passing(beating(objects, until=100, skew=1e6))
    said: list[str] = []
    silent = wait_until_free(objects, said.append)
    assert silent is not None
    assert 100 + STALE_S <= clock.slept <= 101 + STALE_S
    assert len(said) == 1
    for words in ("host elsewhere, process 1", "waiting until", "Ctrl-C leaves", "--no-wait refuses at once"):
        assert words in said[0]
    with lease(objects, said.append, silent):
        assert holder(objects) is not None
    assert "gives no sign of life any more: its study is taken over" in said[1]


def test_a_living_study_is_not_stolen_by_a_clock_that_is_ahead(objects: Objects, passing: Callable[..., Clock]) -> None:
    held_by(objects, time=time.time() - 300)
    slow = GLANCE_S - 2
    clock = passing(beating(objects, until=6 * slow, skew=-300, every=slow))
    assert wait_until_free(objects, print) is not None
    assert clock.slept >= 6 * slow + STALE_S, "once it was seen to beat, its clock counts no more"


def test_a_lease_that_looks_stale_is_watched_for_a_moment(objects: Objects, passing: Callable[..., Clock]) -> None:
    held_by(objects, time=time.time() - STALE_S - 1)
    clock = passing()
    assert wait_until_free(objects, print) is not None
    assert HEARTBEAT_S < GLANCE_S <= clock.slept <= GLANCE_S + 1


def test_a_living_process_that_slept_is_watched_however_old_its_lease(
    objects: Objects, passing: Callable[..., Clock]
) -> None:
    held_by(objects, **asdict(Holder.here()) | {"time": time.time() - 2 * FORGOTTEN_S})
    clock = passing()
    assert wait_until_free(objects, print) is not None
    assert GLANCE_S <= clock.slept <= GLANCE_S + 1, "the whole machine may have been suspended"


def test_a_lease_that_has_got_another_heartbeat_is_not_taken_over(objects: Objects) -> None:
    held_by(objects, time=1.5)
    silent = wait_until_free(objects, print)
    held_by(objects)
    with pytest.raises(TryAgain, match="host elsewhere"), lease(objects, print, silent):
        pytest.fail("it has woken up")


def test_the_launch_that_takes_over_is_waited_for_too(objects: Objects, passing: Callable[..., Clock]) -> None:
    held_by(objects)
    quicker = {"owner": "third", "host": "third", "pid": 3, "time": time.time() + 30}
    clock = passing(lambda slept: objects.write_json(LEASE, quicker) if slept == 30 else None)
    said: list[str] = []
    silent = wait_until_free(objects, said.append)
    assert silent is not None
    assert silent.owner == "third"
    assert clock.slept == 30 + STALE_S
    assert ["host elsewhere" in said[0], "host third" in said[1]] == [True, True]


def test_while_the_storage_is_away_no_heartbeat_stands_still(
    objects: Objects, passing: Callable[..., Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, away = Objects.read_json, [True]

    def reading(self: Objects, name: str) -> Any:
        if away[0] and 10 < clock.slept <= 50:
            raise StorageError("away")
        return read(self, name)

    held_by(objects)
    clock = passing()
    monkeypatch.setattr(Objects, "read_json", reading)
    assert wait_until_free(objects, print) is not None
    assert 50 + STALE_S <= clock.slept <= 51 + STALE_S


def test_a_storage_that_stays_away_ends_the_waiting(
    objects: Objects, passing: Callable[..., Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: Objects, _name: str) -> Any:
        raise StorageError("away")

    held_by(objects)
    clock = passing(lambda slept: monkeypatch.setattr(Objects, "read_json", refuse) if slept > 10 else None)
    with pytest.raises(StorageError, match="away"):
        wait_until_free(objects, print)
    assert 60 < clock.slept < 80


def test_who_does_not_wait_is_refused_at_once(objects: Objects, passing: Callable[..., Clock]) -> None:
    clock, said = passing(beating(objects, until=99, skew=-300)), []
    held_by(objects)
    with pytest.raises(TryAgain, match="host elsewhere, process 1, last heartbeat"):
        wait_until_free(objects, said.append, wait=False)
    assert (clock.slept, said) == (0, [])
    held_by(objects, time=time.time() - 300)
    with pytest.raises(TryAgain, match="host elsewhere"):
        wait_until_free(objects, said.append, wait=False)
    assert 0 < clock.slept <= HEARTBEAT_S, "a dead one is told from a clock that is behind"
    assert len(said) == 1
    assert "Ctrl-C" not in said[0]


def test_a_launch_that_ends_is_followed_within_two_seconds(objects: Objects) -> None:
    ended: list[float] = []

    def end(line: str) -> None:
        """What is said first is that this one waits."""
        if not ended:
            ended.append(time.monotonic())
            process.send_signal(signal.SIGINT)  # upon which it releases the lease
        else:
            said.append(line)

    said: list[str] = []
    with holding(objects) as process:
        assert wait_until_free(objects, end) is None
        assert time.monotonic() - ended[0] < 5
    assert said == ["The other launch has ended: this one goes on."]


def test_a_process_that_is_killed_is_followed_at_once(objects: Objects) -> None:
    with holding(objects) as process:
        with pytest.raises(TryAgain, match=f"process {process.pid}, "):
            wait_until_free(objects, print, wait=False)
        process.kill()
        process.wait()
        began = time.monotonic()
        said: list[str] = []
        with lease(objects, said.append, wait_until_free(objects, said.append)):
            assert time.monotonic() - began < 5
    assert "is no more: its study is taken over" in said[-1]


def test_a_frozen_process_is_taken_over_and_stops_when_it_wakes_up(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALE_S", 1.5)
    monkeypatch.setattr(module, "POLL_S", 0.1)
    with holding(objects) as process:
        process.send_signal(signal.SIGSTOP)
        said: list[str] = []
        with lease(objects, said.append, wait_until_free(objects, said.append)):
            assert "gives no sign of life any more" in said[-1]
            process.send_signal(signal.SIGCONT)
            assert process.wait(10) == -signal.SIGTERM
            assert process.stdout is not None
            assert f"(host {platform.node()}, process {os.getpid()}): this one stops" in process.stdout.read()
            held = holder(objects)
            assert held is not None
            assert held.pid == os.getpid()


def may_unshare() -> str:
    """Why no process can be started in another namespace of process ids; empty where one can."""
    if shutil.which("unshare") is None:
        return "unshare is missing"
    done = subprocess.run(["unshare", "-p", "-f", "--mount-proc", "true"], capture_output=True, text=True, check=False)
    return done.stderr.strip()


@pytest.mark.cluster
def test_a_container_of_the_same_host_name_is_not_stolen_from(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := may_unshare():
        pytest.skip(f"no namespace of process ids of its own: {reason}")
    monkeypatch.setattr(module, "STALE_S", 2.0)
    monkeypatch.setattr(module, "POLL_S", 0.1)
    with holding(objects, "unshare", "-p", "-f", "--kill-child", "--mount-proc") as process:
        held = holder(objects)
        assert held is not None
        assert (held.host, held.pid, held.lives()) == (platform.node(), 1, None)
        assert held.boot == Holder.here().boot
        with pytest.raises(TryAgain, match="process 1, "):
            wait_until_free(objects, print, wait=False)
        objects.write_json(LEASE, asdict(held) | {"pid": dead_process()["pid"]})
        with pytest.raises(TryAgain), lease(objects, print):
            pytest.fail("such a process is not here, but may be there")
        process.kill()
        process.wait()
        began = time.monotonic()
        said: list[str] = []
        with lease(objects, said.append, wait_until_free(objects, said.append)):
            assert time.monotonic() - began >= 2.0
    assert "gives no sign of life any more" in said[-1]


def test_the_heartbeat_renews_it(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.02)
    with lease(objects, print):
        first = objects.read_json(LEASE)["time"]
        deadline = time.monotonic() + 5
        while objects.read_json(LEASE)["time"] == first:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_of_two_in_the_same_moment_the_one_that_was_overwritten_gives_up(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLE_S", 0)
    write = Objects.write_json

    def overtaken(self: Objects, name: str, value: Any) -> None:
        write(self, name, value)
        write(self, name, {"owner": "other", "host": "elsewhere", "pid": 1, "time": time.time()})

    monkeypatch.setattr(Objects, "write_json", overtaken)
    with pytest.raises(TryAgain, match="host elsewhere"), lease(objects, print):
        pytest.fail("both hold it")
    held = holder(objects)
    assert held is not None
    assert held.owner == "other", "the winner's lease stays"


def test_a_launch_that_was_taken_over_stops_and_does_not_take_it_back(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.02)
    received: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    said: list[str] = []
    try:
        with lease(objects, said.append):
            held_by(objects)  # this process slept too long
            time.sleep(0.3)
            assert objects.read_json(LEASE)["owner"] == "other"
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert received == [signal.SIGTERM]
    assert "this one stops" in said[0]
    assert objects.read_json(LEASE)["owner"] == "other", "nor does it release it"


def test_a_launch_that_slept_while_another_came_and_went_stops(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.3)
    received: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    said: list[str] = []
    try:
        with lease(objects, said.append):
            objects.delete(LEASE)
            monkeypatch.setattr(module, "STALE_S", 0.1)
            deadline = time.monotonic() + 5
            while not received:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            assert objects.read_json(LEASE) is None
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert "its lease is gone since: it stops" in said[0]


def test_a_lease_that_was_deleted_by_hand_is_written_anew(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.02)
    with lease(objects, print):
        objects.delete(LEASE)
        deadline = time.monotonic() + 5
        while holder(objects) is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_damaged_lease_is_no_lease(objects: Objects) -> None:
    objects.write(LEASE, b"{")
    assert holder(objects) is None
    with lease(objects, print):
        assert holder(objects) is not None
