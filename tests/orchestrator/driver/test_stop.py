"""The owner of signals in every phase of a launch, in processes of its own: what a signal does, code, words, order."""

import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.driver.stop import Stop
from orchestrator.store.commands import interpreter

ROOT = Path(__file__).parents[3]
PREAMBLE = """
import ctypes, os, signal, subprocess, sys, threading, time
from orchestrator.driver.stop import Stop

def send(*numbers, pause=0.0):
    def work():
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(pause)
    threading.Thread(target=work, daemon=True).start()

def deaf():
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            print("interrupted", flush=True)

def tell(line):
    os.write(1, f"{line}\\n".encode())
"""
GUARDED = """
code = 0
try:
    with stop:
        work()
except KeyboardInterrupt:
    tell("unwound")
sys.exit(stop.exit_code or code)
"""


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def steps(self) -> list[str]:
        """What was done, without what the user is told."""
        return [line for line in self.out.splitlines() if not line.startswith("stopping")]


def run(body: str, *, ignored: bool = False) -> Ended:
    """Run a launch in small: ``stop`` owns the signals around ``work``, which the body defines."""
    whole = f"{PREAMBLE}\nstop = Stop('THE COMMAND')\nstop.say = tell\n{body}\n{GUARDED}"
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", whole],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL),
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ended(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGUSR1": 143, "SIGHUP": 143}


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("waits", ["time.sleep(50)", "threading.Event().wait()", "os.read(os.pipe()[0], 1)"])
def test_before_the_trials_the_launch_unwinds_at_once(name: str, waits: str) -> None:
    ended = run(f"def work():\n    send(signal.{name})\n    {waits}")
    assert (ended.code, ended.steps) == (CODES[name], ["unwound"])
    assert ended.seconds < 30


def test_under_nohup_a_hangup_is_nobodys_matter() -> None:
    ended = run("def work():\n    send(signal.SIGHUP)\n    time.sleep(1)\n    tell('went on')", ignored=True)
    assert (ended.code, ended.out) == (0, "went on\n")


def test_a_handler_that_c_sets_takes_no_signal_away() -> None:
    body = "def work():\n    ctypes.CDLL(None).signal(15, 0)\n    send(signal.SIGTERM)\n    time.sleep(50)"
    assert run(body).code == 143  # as Ray leaves it after ``ray.shutdown``: deadly


def test_what_must_come_to_its_end_does() -> None:
    body = """
def work():
    with stop.shield():
        send(signal.SIGTERM)
        time.sleep(1)
        tell("whole")
    stop.settle()
    time.sleep(50)
"""
    ended = run(body)
    assert (ended.code, ended.steps) == (143, ["whole", "unwound"])


def test_a_context_is_never_left_half_entered() -> None:
    body = """
from contextlib import contextmanager
@contextmanager
def lease():
    send(signal.SIGTERM)
    time.sleep(1)
    try:
        yield tell("held")
    finally:
        time.sleep(1)
        tell("released")

def work():
    with stop.shielded(lease()):
        time.sleep(50)
"""
    ended = run(body)
    assert (ended.code, ended.steps) == (143, ["held", "released", "unwound"])


def test_an_interruption_that_was_swallowed_comes_again() -> None:
    body = """
def work():
    try:
        send(signal.SIGTERM)
        time.sleep(50)
    except KeyboardInterrupt:
        tell("swallowed")
    time.sleep(50)
"""
    assert run(body).steps == ["swallowed", "unwound"]


TRIALS = """
stop.settle()
for name in ("lease", "mlflow", "judge"):
    stop.lastly(lambda name=name: tell(name))

def work():
    epochs = "waiting up to 9 s for 2 epochs in flight"
    with stop.section(lambda: epochs, patience_s={patience}, limit_s={limit}, needs_ray=True):
        {sends}
        {fit}
    tell("table")
"""


def test_a_fit_that_returns_in_its_grace_is_not_interrupted() -> None:
    ended = run(TRIALS.format(patience=9, limit=20, sends="send(signal.SIGTERM)", fit="time.sleep(1.5)"))
    told = "stopping: waiting up to 9 s for 2 epochs in flight; a second signal stops now"
    assert (ended.code, ended.out) == (143, f"{told}\ntable\n")


def test_a_fit_that_takes_longer_is_interrupted_and_the_rest_is_written() -> None:
    fit = "\n        ".join(["try:", "    time.sleep(50)", "except KeyboardInterrupt:", "    tell('out of fit')"])
    ended = run(TRIALS.format(patience=1, limit=20, sends="send(signal.SIGINT)", fit=fit))
    told = "stopping: waiting up to 9 s for 2 epochs in flight; Ctrl-C again stops now"
    assert (ended.code, ended.out) == (130, f"{told}\nout of fit\ntable\n")


@pytest.mark.parametrize("name", CODES)
def test_a_fit_that_never_returns_is_left_behind(name: str) -> None:
    fit = "print(subprocess.Popen(['sleep', '77']).pid, file=sys.stderr, flush=True); deaf()"
    ended = run(TRIALS.format(patience=0.5, limit=2, sends=f"send(signal.{name})", fit=fit))
    assert ended.code == CODES[name]
    assert ended.steps == ["interrupted", "judge", "mlflow", "lease"]
    assert "nothing that finished is lost. Continue with:  THE COMMAND" in ended.err
    deadline = time.monotonic() + 10
    while _runs(int(ended.err.split()[0])):
        assert time.monotonic() < deadline, "what it started is killed"
        time.sleep(0.05)


@pytest.mark.parametrize(("first", "second"), [("SIGINT", "SIGINT"), ("SIGTERM", "SIGINT"), ("SIGHUP", "SIGTERM")])
def test_the_second_signal_ends_it_now(first: str, second: str) -> None:
    sends = f"send(signal.{first}, signal.{second}, pause=0.7)"
    ended = run(TRIALS.format(patience=99, limit=99, sends=sends, fit="deaf()"))
    assert ended.code == CODES[first]
    assert ended.steps == ["judge", "mlflow", "lease"]
    assert "Continue with:  THE COMMAND" in ended.err
    assert ended.seconds < 30


@pytest.mark.parametrize(("name", "pause"), [("SIGTERM", 0.01), ("SIGTERM", 1.2), ("SIGUSR1", 1.2), ("SIGINT", 0.01)])
def test_a_signal_to_the_command_and_to_its_group_is_one(name: str, pause: float) -> None:
    """SLURM signals the batch script, which passes it on, and the command."""
    sends = f"send(signal.{name}, signal.{name}, pause={pause})"
    ended = run(TRIALS.format(patience=99, limit=99, sends=sends, fit="time.sleep(2.5)"))
    assert (ended.code, ended.steps) == (CODES[name], ["table"])


def test_the_same_signal_later_on_is_a_second_one() -> None:
    sends = "send(signal.SIGTERM, signal.SIGTERM, pause=2.3)"
    ended = run(TRIALS.format(patience=99, limit=99, sends=sends, fit="deaf()"))
    assert (ended.code, ended.steps) == (143, ["judge", "mlflow", "lease"])


ASKS = "threading.Timer(0.3, lambda: stop.ask('its time ends', 75)).start()"


def test_the_launch_itself_may_ask_to_stop() -> None:
    ended = run(TRIALS.format(patience=99, limit=99, sends=ASKS, fit="time.sleep(1.5)"))
    assert (ended.code, ended.steps) == (75, ["table"])
    assert "stopping (its time ends): waiting up to 9 s" in ended.out


def test_a_signal_after_the_launch_itself_has_asked_is_the_first_one() -> None:
    sends = ASKS + "; threading.Timer(0.8, lambda: os.kill(os.getpid(), 10)).start()"
    ended = run(TRIALS.format(patience=99, limit=99, sends=sends, fit="time.sleep(1.5)"))
    assert (ended.code, ended.steps) == (75, ["table"])


GIVES_UP = "threading.Timer(0.3, lambda: stop.give_up('Ray is gone')).start()"


def test_without_ray_nothing_is_waited_for() -> None:
    ended = run(TRIALS.format(patience=99, limit=99, sends=GIVES_UP, fit="time.sleep(50)"))
    assert (ended.code, ended.steps) == (143, ["unwound"])
    assert "stopping (Ray is gone): no epoch in flight can end" in ended.out


def test_without_ray_a_main_thread_that_hangs_is_left() -> None:
    ended = run(TRIALS.format(patience=99, limit=99, sends=GIVES_UP, fit="deaf()"))
    assert (ended.code, ended.steps[-3:]) == (143, ["judge", "mlflow", "lease"])
    assert set(ended.steps[:-3]) == {"interrupted"}
    assert "Stopped: Ray is gone; nothing that finished is lost. Continue with:  THE COMMAND" in ended.err


@pytest.mark.parametrize(
    ("kept", "name", "code"), [(True, "SIGTERM", 143), (False, "SIGTERM", 3), (False, "SIGINT", 130)]
)
def test_a_supervised_launch_without_progress_says_so(kept: bool, name: str, code: int) -> None:
    sends = f"stop.bounded = True; stop.progressed = {kept}; send(signal.{name})"
    ended = run(TRIALS.format(patience=99, limit=99, sends=sends, fit="time.sleep(1.5)"))
    assert (ended.code, ended.steps) == (code, ["table"])


def test_what_hangs_at_the_last_moment_holds_up_nothing_else() -> None:
    hangs = "stop.lastly(deaf)\nstop.lastly(lambda: 1 / 0)\n"
    ended = run(hangs + TRIALS.format(patience=99, limit=99, sends="send(15, 2, pause=0.7)", fit="deaf()"))
    assert ended.code == 143
    assert ended.steps == ["judge", "mlflow", "lease"]
    assert "Continue with:  THE COMMAND" in ended.err


def test_after_the_trials_nothing_is_interrupted_and_once_all_is_told_the_code_stands() -> None:
    body = """
def work():
    stop.settle()
    send(signal.SIGTERM)
    time.sleep(1.5)
    tell("table and summary")
"""
    ended = run(body)
    assert ended.code == 143
    assert ended.out == "stopping: writing down what ended; a second signal stops now\ntable and summary\n"
    finished = run("def work():\n    stop.finished(3)\n    send(signal.SIGTERM)\n    time.sleep(50)")
    assert (finished.code, finished.out) == (3, "")


def test_the_signals_are_given_back() -> None:
    body = """
def work():
    inside.append((signal.getsignal(15), signal.pthread_sigmask(signal.SIG_BLOCK, [])))
inside = []
before = signal.getsignal(15), signal.getsignal(2), signal.pthread_sigmask(signal.SIG_BLOCK, [])
with stop, stop:
    work()
assert before == (signal.getsignal(15), signal.getsignal(2), signal.pthread_sigmask(signal.SIG_BLOCK, []))
assert signal.SIGTERM in inside[0][1]
tell([thread.name for thread in threading.enumerate()])
"""
    assert run(body).out == "['MainThread']\n"


def test_a_process_forked_as_ray_forks_its_own_dies_of_sigterm_only() -> None:
    show = "import os, signal; print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), flush=True)"
    body = f"""
def work():
    subprocess.run([sys.executable, "-c", {show!r}], preexec_fn=lambda: None, check=True)
"""
    assert run(body).out == f"{sorted([signal.SIGHUP, signal.SIGUSR1])}\n"


def test_in_another_thread_it_owns_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    inside: list[object] = []

    def work() -> None:
        with Stop("again") as stop, stop.shield():
            inside.extend([signal.getsignal(signal.SIGTERM), stop.requested, stop.exit_code])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [before, False, None]


def test_the_command_tells_how_to_continue_in_the_words_that_were_typed() -> None:
    code = (
        "import os, sys, time; from orchestrator import sweep, studyfile\n"
        "def load(*_, **__):\n    os.kill(os.getpid(), 15); time.sleep(50)\n"
        "studyfile.load = load; sys.exit(sweep.main(['my study.yaml', '--set', 'a=[1, 2]']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    command = f"{interpreter()} -m orchestrator.sweep 'my study.yaml' --set 'a=[1, 2]'"
    told = f"Interrupted; nothing that finished is lost. Continue with:  {command}\n"
    assert (done.returncode, done.stdout, done.stderr) == (143, "", told)


def test_what_fails_once_a_stop_was_asked_for_fails_because_of_it() -> None:
    code = (
        "import os, sys, time; from orchestrator import sweep, studyfile\n"
        "def load(*_, **__):\n    os.kill(os.getpid(), 2)\n    try:\n        time.sleep(50)\n"
        "    except KeyboardInterrupt:\n        raise ImportError('numpy failed to import')\n"
        "studyfile.load = load; sys.exit(sweep.main(['s.yaml']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr.count("\n")) == (130, 1)


def _runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]
    except FileNotFoundError:
        return False
