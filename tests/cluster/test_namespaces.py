"""Hosts in namespaces are hosts: they have names, numbers and networks of their own, and leave nothing behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from host_studies import wait_until
from hosts import Host, hosts, obstacle, pid_of

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(bool(obstacle()), reason=obstacle() or "")]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    with hosts(tmp_path / "hosts", ["a", "b"]) as members:
        for host in members.values():
            host.start()
        yield members["a"], members["b"]


def answers(host: Host, other: Host) -> bool:
    """Whether the other host says within a second that nobody listens at a port of it: it is reached."""
    asks = f"timeout 1 bash -c '(exec 3<>/dev/tcp/{other.address}/9)' 2>/dev/null; [ $? != 124 ] && echo yes || echo no"
    return host.run(["bash", "-c", asks]) == "yes\n"


def test_a_host_has_a_name_numbers_and_a_network_of_its_own(pair: tuple[Host, Host]) -> None:
    a, b = pair
    assert a.run(["hostname"]) == "a\n"
    assert b.run(["bash", "-c", "getent hosts a | cut -d' ' -f1; cat /proc/1/comm"]).split()[0] == a.address
    assert int(b.run(["bash", "-c", "ls -d /proc/[0-9]* | wc -l"])) < 10
    assert "lo" in b.run(["ip", "-brief", "link"])
    assert answers(a, b)


def test_a_cut_cable_is_silent_until_it_is_mended(pair: tuple[Host, Host]) -> None:
    a, b = pair
    b.cut()
    assert not answers(a, b)
    b.mend()
    assert any(answers(a, b) for _ in range(20))  # a link takes a moment to be up, and to be found again


def test_a_killed_host_takes_all_its_processes_along_and_may_start_anew(
    pair: tuple[Host, Host], tmp_path: Path
) -> None:
    a, b = pair
    process = b.popen(["bash", "-c", "sleep 1000 & sleep 1000"], tmp_path / "log.txt")
    inside = pid_of(process)
    b.kill()
    assert process.returncode == -signal.SIGKILL
    assert not inside.is_running()
    b.start(hostname="a")
    assert b.run(["hostname"]) == "a\n"
    assert answers(a, b)


def test_hosts_die_with_the_process_that_holds_them(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from hosts import hosts, pid_of\n"
        "folder = Path(sys.argv[1])\n"
        "with hosts(folder / 'hosts', ['a']) as members:\n"
        "    members['a'].start()\n"
        "    process = members['a'].popen(['sleep', '1000'], folder / 'log.txt')\n"
        "    print(os.getpid(), pid_of(process).pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "benchmarks")}
    command = [sys.executable, "-c", script, str(tmp_path)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    holder, inside = map(int, ended.stdout.split())
    wait_until(lambda: not psutil.pid_exists(inside), lambda: f"{inside} lives on")
    with hosts(tmp_path / "others", []):  # the names of networks go when the next ones come
        networks = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    assert f"hosts-{holder}-" not in networks
