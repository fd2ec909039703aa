"""One launch of a study at a time."""

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import InputError
from orchestrator.store import lease as module
from orchestrator.store.layout import LEASE
from orchestrator.store.lease import STALE_S, holder, lease
from orchestrator.store.objects import Objects


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(str(tmp_path / "out/s"))


def held_by(objects: Objects, **changes: Any) -> None:
    other = {"owner": "other", "host": "elsewhere", "pid": 1, "time": time.time()}
    objects.write_json(LEASE, other | changes)


def dead_pid() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


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
        with pytest.raises(InputError, match=told), lease(objects, print):
            pytest.fail("two launches at a time")
        assert holder(objects) is not None, "the refused one takes nothing with it"


def test_another_host_is_believed_until_its_lease_is_stale(objects: Objects) -> None:
    held_by(objects)
    with pytest.raises(InputError, match="host elsewhere, process 1"), lease(objects, print):
        pass
    held_by(objects, time=time.time() - STALE_S - 1)
    assert holder(objects) is None
    said: list[str] = []
    with lease(objects, said.append):
        held = holder(objects)
        assert held is not None
        assert held.owner != "other"
    assert len(said) == 1
    assert "taken over" in said[0]


def test_a_dead_process_of_this_host_is_taken_over_at_once(objects: Objects) -> None:
    held_by(objects, host=platform.node(), pid=dead_pid())
    said: list[str] = []
    with lease(objects, said.append):
        pass
    assert "taken over" in said[0]


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
    with pytest.raises(InputError, match="host elsewhere"), lease(objects, print):
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


def test_a_damaged_lease_is_no_lease(objects: Objects) -> None:
    objects.write(LEASE, b"{")
    assert holder(objects) is None
    with lease(objects, print):
        assert holder(objects) is not None
