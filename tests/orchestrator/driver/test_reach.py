"""Addresses at which no Ray cluster answers, and where they came from."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from orchestrator.driver import address as module_address
from orchestrator.driver import cluster, reach
from orchestrator.driver.address import Address
from orchestrator.driver.reach import _Answer, check_answers
from orchestrator.driver.stop import Stop
from orchestrator.errors import InputError, MachineError
from orchestrator.studyfile import ResourcesSection
from orchestrator.sweep import main

SHAPES = str(Path(__file__).parents[3] / "search_spaces/shapes.yaml")


def silent(connection: socket.socket, kept: list[socket.socket]) -> None:
    kept.append(connection)


def closing(connection: socket.socket, _kept: list[socket.socket]) -> None:
    connection.close()


def http(connection: socket.socket, _kept: list[socket.socket]) -> None:
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    connection.close()


Greeting = Callable[[socket.socket, list[socket.socket]], None]


@pytest.fixture
def serve() -> Iterator[Callable[[Greeting], int]]:
    """Starts a server that is no Ray on all addresses of this machine; returns its port."""
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:

        def work(greet: Greeting) -> None:
            kept: list[socket.socket] = []
            with suppress(OSError):
                while True:
                    greet(server.accept()[0], kept)

        def start(greet: Greeting) -> int:
            threading.Thread(target=work, args=[greet], daemon=True).start()
            port: int = server.getsockname()[1]
            return port

        yield start
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("greet", [silent, closing, http])
def test_a_port_that_is_open_but_no_ray_is_told_in_one_line_within_seconds(
    greet: Greeting, serve: Callable[[Greeting], int], capfd: pytest.CaptureFixture[str]
) -> None:
    port, began = serve(greet), time.monotonic()
    with pytest.raises(InputError) as raised:
        check_answers(Address(f"127.0.0.1:{port}", "--address"))
    assert time.monotonic() - began < 20, "10 s on a machine that does nothing else"
    line = str(raised.value)
    assert line.startswith(f"--address 127.0.0.1:{port}: no Ray cluster answers there (")
    assert "\n" not in line
    assert capfd.readouterr() == ("", ""), "no words of Ray's own"


@pytest.mark.parametrize("host", ["[::1]", "localhost", "127.0.0.1"])
def test_a_closed_port_is_told(host: str) -> None:
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(InputError, match="Connection refused") as raised:
        check_answers(Address(f"{host}:{port}", "RAY_ADDRESS"))
    assert str(raised.value).startswith(f"RAY_ADDRESS={host}:{port}: no Ray cluster answers there (")


@pytest.mark.parametrize(
    "text",
    ["garbage", "ray://127.0.0.1:10001", "http://127.0.0.1:80", "127.0.0.1:99999", "127.0.0.1:0", "127.0.0.1:", ":6379",
     "127.0.0.1:abc", "::1:6379", "[::1:6379", "user@127.0.0.1:6379", "127.0.0.1:6379/x", " "],
)  # fmt: skip
def test_what_is_no_address_is_told_without_asking(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "_asked", lambda _: pytest.fail("asked"))
    with pytest.raises(InputError, match=r"^--address .*: not HOST:PORT of a cluster's head, such as 10\.0\.0\.1:6379"):
        check_answers(Address(text, "--address"))


HERE = {"ray": ray.__version__, "python": reach.platform.python_version(), "local": True}


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ({**HERE, "ray": "1.13.0"}, "the cluster has ray 1.13.0 and Python "),
        ({**HERE, "python": "3.9.1"}, " and Python 3.9.1, here are ray "),
        ({**HERE, "local": False}, "no node of that cluster runs on this machine"),
        ({"locked": True}, "the cluster wants its token, and there is none here: copy the token of its head"),
        ({"problem": "something else answers"}, "no Ray cluster answers there (something else answers)"),
    ],
)
def test_a_cluster_that_this_process_cannot_drive_is_told(
    answer: dict[str, str | bool], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setattr(reach, "maybe_enable_token_auth_if_token_available", lambda _: False)
    monkeypatch.setattr(reach, "_asked", lambda _: _Answer.model_validate(answer))
    with pytest.raises(InputError) as raised:
        check_answers(Address("10.0.0.1:6379", "--address"))
    assert line in str(raised.value)
    monkeypatch.setattr(reach, "_asked", lambda _: _Answer.model_validate(HERE))
    check_answers(Address("10.0.0.1:6379", "--address"))


@pytest.mark.parametrize(
    ("text", "variable", "address"),
    [
        (None, None, None),
        ("", None, None),
        ("local", "10.0.0.1:6379", None),
        ("10.0.0.2:1", "10.0.0.1:6379", "--address 10.0.0.2:1"),
        (None, "10.0.0.1:1", "RAY_ADDRESS=10.0.0.1:1"),
        ("auto", "10.0.0.1:6379", "RAY_ADDRESS=10.0.0.1:6379"),
        ("auto", "local", None),
        ("auto", None, "--address auto"),
        (None, "auto", "RAY_ADDRESS=auto"),
        (None, "local", None),
    ],
)
def test_auto_and_local_are_what_ray_means_by_them(
    text: str | None, variable: str | None, address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if variable is not None:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    known = Address.of(text)
    assert (None if known is None else str(known)) == address


@pytest.mark.parametrize(
    ("around", "address"),
    [
        (["python", "/bin/ray", "symmetric-run", "--address", "10.0.0.1:6379", "--", "sweep"], "10.0.0.1:6379"),
        (
            ["ray", "symmetric-run", "--min-nodes", "2", "--address=10.0.0.1:1", "--", "x", "--address", "y"],
            "10.0.0.1:1",
        ),
        (["bash", "job.sh", "--", "symmetric-run", "--address", "10.0.0.1:1"], None),
    ],
)
def test_the_cluster_of_a_symmetric_run_is_that_of_its_command(
    around: list[str], address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    parent = SimpleNamespace(cmdline=lambda: around)
    monkeypatch.setattr(module_address.psutil, "Process", lambda: SimpleNamespace(parents=lambda: [parent]))
    found = Address.of(None)
    assert (found.text if found else None) == address
    if found:
        assert str(found) == f"ray symmetric-run --address {address}"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.9:1")
    assert str(Address.of(None)) == "RAY_ADDRESS=10.0.0.9:1"


def test_a_token_that_exists_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    answers = iter([_Answer(locked=True), _Answer.model_validate(HERE)])
    monkeypatch.setattr(reach, "_asked", lambda _: next(answers))
    monkeypatch.setattr(reach, "maybe_enable_token_auth_if_token_available", lambda _: True)
    check_answers(Address("10.0.0.1:6379", "--address"))
    assert next(answers, None) is None


def test_a_mode_without_a_token_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray ends any process that has the mode and no token."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setattr(reach, "_has_token", lambda: False)
    monkeypatch.setattr(reach, "_asked", lambda _: _Answer(problem="something else answers"))
    with pytest.raises(InputError, match="RAY_AUTH_MODE=token is set, and there is no token here: copy that of"):
        check_answers(Address("10.0.0.1:6379", "--address"))


@pytest.mark.parametrize(
    ("mode", "why"), [("token", "another one than the one here"), ("disabled", "here is RAY_AUTH_MODE=disabled")]
)
def test_a_token_that_does_not_open_the_cluster_is_told(mode: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    monkeypatch.setattr(reach, "_asked", lambda _: _Answer(locked=True))
    with pytest.raises(InputError, match=f"the cluster wants its token.*{why}.*RAY_AUTH_TOKEN"):
        check_answers(Address("10.0.0.1:6379", "--address"))


def test_an_address_of_the_environment_is_named_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert main([SHAPES, "--set", "model.arch=fpn", "--set", "model.encoder=resnet18"]) == 2
    assert capsys.readouterr().err.startswith("RAY_ADDRESS=127.0.0.1:1: no Ray cluster answers there (")
    assert list(tmp_path.iterdir()) == []


def telling(lines: list[str]) -> Stop:
    """Nobody asks to stop; what the user is told comes into the list."""
    stop = Stop("again")
    stop.say = lines.append
    return stop


def refuse_to_start(monkeypatch: pytest.MonkeyPatch, error: Exception, cause: Exception | None = None) -> None:
    def init(**_: object) -> None:
        raise error from cause

    monkeypatch.setattr(cluster.ray, "init", init)
    monkeypatch.setattr(cluster, "check_answers", lambda _: None)


@pytest.mark.parametrize("error", [Exception("The current node timed out"), RuntimeError("Timed out"), OSError("full")])
def test_a_ray_of_our_own_that_does_not_start_says_where_its_logs_are(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_to_start(monkeypatch, error)
    lines: list[str] = []
    with pytest.raises(MachineError) as raised, cluster.cluster(None, ResourcesSection(), telling(lines)):
        pass
    assert str(raised.value).startswith(f"Ray does not start on this machine: {error}; its logs are in /")
    assert str(raised.value).endswith("/session_latest/logs")
    assert lines[0] == "Starting Ray"


def test_a_cluster_that_does_not_take_this_process_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_to_start(monkeypatch, ConnectionError("Failed to connect"), RuntimeError("No node info\nfound"))
    lines: list[str] = []
    with pytest.raises(InputError) as raised, cluster.cluster("10.0.0.1:6379", ResourcesSection(), telling(lines)):
        pass
    assert str(raised.value) == "--address 10.0.0.1:6379: No node info found"
    assert lines == ["Joining the Ray cluster of --address 10.0.0.1:6379"]
