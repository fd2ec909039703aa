"""The further processes of a trial as rank 0 sees them: started, told what to do, watched, ended. Imports no torch."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread

from trainable.failure import OutOfMemory, TrialFailed
from trainable.team.messages import Answer, Failure, Order, Task

ROOT = Path(__file__).resolve().parents[2]
"""Where a further process finds this package."""
MODULE = "trainable.team.rank_process"
UNWANTED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
CAUSE_S = 5.0
"""How long after a collective failed rank 0 waits to hear why."""

EndProcess = Callable[[str], object]
"""Ends this process; takes the reason, in one line."""


class Team:
    """Ranks 1 to ``ranks`` - 1, each a process that waits for a trial.

    A thread hears them: what they answer, what they fail of, and that one died. The processes end with this one.
    """

    def __init__(self, ranks: int) -> None:
        self.ranks = ranks
        self.gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
        """What its processes may use: that is fixed when they start."""
        self._processes: list[subprocess.Popen[bytes]] = []
        self._connections: list[Connection] = []
        self._answers: SimpleQueue[tuple[int, Answer | Failure]] = SimpleQueue()
        self._failures: dict[int, Failure] = {}
        self._failed = Event()
        """Set by a failure that is no symptom of another one's."""
        self._end: EndProcess | None = None
        self._break_off: Callable[[], bool] | None = None
        self.broken_off = False
        """Whether what waited for a failed rank was let go: this rank's own numbers then mean nothing."""
        self._problem: OSError | None = None
        started = Event()
        # the system ends a process with the *thread* that started it: this one lives as long as they do
        self._thread = Thread(target=self._live, args=(started,), name="ranks", daemon=True)
        self._thread.start()
        started.wait()
        if self._problem is not None:
            self.kill()
            raise self._problem

    def serves(self, ranks: int) -> bool:
        """Whether so many ranks can take a trial here and now."""
        return self.ranks == ranks and self.gpus == os.environ.get("CUDA_VISIBLE_DEVICES") and self._alive

    @property
    def _alive(self) -> bool:
        return not self._failures and all(process.poll() is None for process in self._processes)

    @contextmanager
    def guarding(self, end: EndProcess, break_off: Callable[[], bool]) -> Iterator[None]:
        """From here on the loss of a process ends this one, and a failure breaks off what waits for its rank."""
        self._end, self._break_off = end, break_off
        try:
            if not self._alive:
                self.lose("a rank died before the trial began")
            yield
        finally:
            self._end = self._break_off = None

    def tell(self, order: Order | Callable[[int], Task]) -> None:
        """Send an order to every rank; a function makes each its own."""
        for rank, connection in enumerate(self._connections, start=1):
            with suppress(OSError):  # it died: the thread hears of it
                connection.send(order if isinstance(order, Order) else order(rank))

    def hear(self, expected: Answer, timeout_s: float) -> None:
        """Wait until every rank has given this answer.

        Raises:
            TrialFailed: a rank could not go on; whatever else ended its part is raised as it is.
        """
        silent, deadline = set(range(1, self.ranks)), time.monotonic() + timeout_s
        while silent:
            try:
                rank, answer = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                reason = f"rank {min(silent)} of {self.ranks} did not answer within {timeout_s:g} s"
                self.lose(reason)
                raise TimeoutError(reason) from None
            if isinstance(answer, Failure):
                raise self.cause(answer.error())
            if answer != expected:
                raise RuntimeError(f"rank {rank} answers {answer} where {expected} was expected")
            silent.discard(rank)

    def cause(self, error: Exception) -> Exception:
        """Why a collective failed with this error: the failure of another rank; without one this process ends."""
        self._failed.wait(CAUSE_S)
        for rank, failure in list(self._failures.items()):
            if not failure.symptom:
                return _of_rank(failure, rank, self.ranks)
        self.lose(f"the ranks lost each other: {' '.join(str(error).split())}")
        return error

    def lose(self, reason: str) -> None:
        """End the other processes, then this one, if a trial is in progress."""
        if self._end is not None:
            self._kill()
            self._end(reason)

    def rests(self, answer: Answer, timeout_s: float) -> bool:
        """Whether every rank leaves the trial in time."""
        try:
            self.hear(answer, timeout_s)
        except Exception:  # of a trial that is over
            return False
        return self._alive

    def kill(self) -> None:
        """End all processes, and wait until they are gone."""
        self._kill()
        self._thread.join()

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()

    def _live(self, started: Event) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, UNWANTED)  # a process inherits it: no moment at which it could be hit
        try:
            for _ in range(1, self.ranks):
                self._start()
        except OSError as error:
            self._problem = error
        finally:
            started.set()
        ranks = {connection: rank for rank, connection in enumerate(self._connections, start=1)}
        while ranks:
            for connection in wait(list(ranks)):
                assert isinstance(connection, Connection)
                try:
                    self._take(ranks[connection], connection.recv())
                except (EOFError, OSError):
                    self._take_death(ranks.pop(connection))

    def _start(self) -> None:
        ours, theirs = Pipe()
        path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
        process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", "-m", MODULE, str(theirs.fileno()), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            pass_fds=[theirs.fileno()],
        )
        theirs.close()  # the other end closes with the process
        self._processes.append(process)
        self._connections.append(ours)

    def _take(self, rank: int, answer: Answer | Failure) -> None:
        if isinstance(answer, Failure):
            self._failures[rank] = answer
            if not answer.symptom:
                self._failed.set()
                if self._break_off is not None:
                    self.broken_off = self._break_off()
        self._answers.put((rank, answer))

    def _take_death(self, rank: int) -> None:
        process = self._processes[rank - 1]
        try:
            code = process.wait(CAUSE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if rank not in self._failures:
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            self.lose(f"rank {rank} of {self.ranks} died ({how})")


def _of_rank(failure: Failure, rank: int, ranks: int) -> Exception:
    """A rank's exception, as rank 0 raises it."""
    error = failure.error()
    error.add_note(f"in rank {rank} of {ranks}:\n{failure.trace}")
    if isinstance(error, OutOfMemory):
        error.where = f"rank {rank} of {ranks}: {error.where}"
    elif isinstance(error, TrialFailed):
        error.args = (f"rank {rank} of {ranks}: {error}", *error.args[1:])
    return error
