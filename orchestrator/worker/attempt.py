"""A worker's attempt at a trial: continue from the last good checkpoint, keep every epoch, never the same one twice.

A checkpoint is taken when an epoch ends and written by a thread while the next one runs; at most one is in flight, and
an epoch's metrics are kept once its checkpoint is. Imports torch late: a driver imports this module too.
"""

import io
import os
import platform
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from importlib import import_module
from threading import Timer
from typing import Any

from orchestrator.store.records import Store
from orchestrator.store.trial_record import Checkpoint, CheckpointName, Planned
from orchestrator.worker.epoch_outputs import Shown, show
from orchestrator.worker.machine_meter import MachineMeter, gpu_names
from trainable.config import read_trial
from trainable.failure import TrialFailed

KEPT = 2
"""Checkpoints of a running trial: the latest, and the one before it should that one be damaged."""
LONGEST_BACKOFF_S = 60.0


class StorageFailed(Exception):
    """The storage does not take what the trial has to keep: its disk is full, or it may not write there."""


class Attempt:
    """One worker's work on one trial; ``next_epoch`` until there is none.

    Args:
        job: ``plan``, ``storage``, ``study``, ``launch`` (id of the launch), ``fit``, ``threads``, ``timeout_s``,
            ``backoff_s``, and ``system_metrics`` where the machine is to be measured.

    Raises:
        StorageFailed: the storage cannot be used.
        TrialFailed: an earlier attempt of this launch hung.
    """

    def __init__(self, job: Mapping[str, Any]) -> None:
        self.planned = Planned(**job["plan"])
        self._job = job
        self._store = Store(job["storage"], job["study"])
        self._history: list[Mapping[str, float]] = []
        self._good: list[CheckpointName] = []
        self._log = io.StringIO()
        self._writer = ThreadPoolExecutor(1)
        self._written: Future[None] | None = None
        self._results: Iterator[Any] = iter(())
        self._meter = MachineMeter() if job.get("system_metrics") else None
        with _storage_errors():
            self._number, earlier = self._store.claim(self.planned.key, self._claim())
            state = self._last_state()
        self._check_not_hung()
        self._back_off(earlier)
        with self._watched():
            module, _, function = str(job["fit"]).partition(":")
            self._config = read_trial(self.planned.config)
            fit = getattr(import_module(module), function)
            self._results = iter(fit(self._config, threads=job["threads"], resume_from=state))

    @property
    def notes(self) -> list[str]:
        """What the user should know of the attempt's beginning: damaged files."""
        return self._store.warnings

    @property
    def earlier(self) -> list[Mapping[str, float]]:
        """Metrics of the epochs so far, which are those of the checkpoint until the next one ends."""
        return list(self._history)

    def next_epoch(self) -> tuple[int, Mapping[str, float], bool]:
        """Train an epoch; returns its number, its metrics, and whether it is the last.

        Raises:
            StorageFailed: it, or the one before it, could not be kept.
            Exception: whatever ended the trial.
        """
        if self._whole():  # a worker was lost after it had kept the last epoch
            return len(self._history), self._history[-1], True
        with self._watched():
            with self._measured() as figures:
                result = next(self._results)
            state = self._state_of(result)
            shown = show(result, self._config)
        self._history.append({**result.metrics, **figures})
        self._keep(state, shown)
        done = self._whole()
        if done:
            self._flush()
        return result.epoch, self._history[-1], done

    def keep_log(self) -> None:
        """Keep what the trial printed so far; of a failing epoch nothing else would.

        Raises:
            StorageFailed: the storage cannot be used.
        """
        with _storage_errors():
            self._write_log()

    def close(self) -> None:
        """Let go of the model, after what is in flight is kept; of a trial that was stopped early nothing is."""
        try:
            self._flush()
            if self._store.was_pruned(self.planned.key):
                self._store.drop_checkpoints(self.planned.key)
        finally:
            close = getattr(self._results, "close", None)
            if close is not None:
                close()
            self._writer.shutdown()

    def _whole(self) -> bool:
        return len(self._history) >= self.planned.epochs

    def _claim(self) -> dict[str, Any]:
        gpu = gpu_names() if self._job.get("gpu") else ""
        whose = {"launch": self._job["launch"], "host": platform.node(), "pid": os.getpid(), "time": time.time()}
        return {**whose, "gpu": gpu} if gpu else whose

    def _last_state(self) -> dict[str, Any] | None:
        """State to continue from; what the checkpoint holds wins over metrics that were kept beside it."""
        key = self.planned.key
        names = self._store.checkpoints(key)
        for name in names:
            checkpoint = self._store.read_checkpoint(key, name)
            if checkpoint is not None and _same_trial(checkpoint.planned, self.planned):
                from trainable.train.checkpoint import from_bytes

                self._history = list(checkpoint.epochs)
                self._good.append(name)
                self._say(f"attempt {self._number} continues after epoch {len(self._history)}")
                return from_bytes(checkpoint.state)
        if names or self._store.has_epochs(key):
            self._store.warnings.append(f"{self._store.path(f'trials/{key}')}: no good checkpoint; starts from epoch 1")
        self._say(f"attempt {self._number} starts from epoch 1")
        return None

    def _check_not_hung(self) -> None:
        hung = self._store.objects.read(self._hung_name)
        if hung is not None:
            raise TrialFailed(hung.decode())

    @property
    def _hung_name(self) -> str:
        """Where an attempt of this launch that takes too long leaves the reason."""
        return f"trials/{self.planned.key}/hung-{self._job['launch']}.txt"

    def _back_off(self, earlier: list[Any]) -> None:
        """Wait longer after each worker that this launch lost: what took it may still be there."""
        lost = sum(claim["launch"] == self._job["launch"] for claim in earlier)
        if lost:
            time.sleep(min(LONGEST_BACKOFF_S, float(self._job["backoff_s"]) * 2 ** (lost - 1)))

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Catch what the trial prints, and end this process if it takes too long: nothing else ends a hanging call."""
        timeout = self._job["timeout_s"]
        timer = Timer(timeout, self._give_up) if timeout else None
        if timer:
            timer.daemon = True
            timer.start()
        try:
            with ExitStack() as stack:
                stack.enter_context(redirect_stdout(self._log))
                stack.enter_context(redirect_stderr(self._log))
                yield
        finally:
            if timer:
                timer.cancel()

    def _measured(self) -> AbstractContextManager[Mapping[str, float]]:
        """What the machine does meanwhile, where that is asked for."""
        return self._meter.epoch() if self._meter else nullcontext({})

    def _give_up(self) -> None:
        reason = (
            f"epoch {len(self._history) + 1}: no result within resources.trial_timeout_s ({self._job['timeout_s']:g})"
        )
        try:
            self._store.write_text(self._hung_name, reason)
        finally:
            os._exit(1)

    def _state_of(self, result: Any) -> bytes:
        from trainable.train.checkpoint import to_bytes

        return to_bytes(result.state())

    def _keep(self, state: bytes, shown: Shown) -> None:
        self._flush()
        for line in (f"epoch {len(self._history)}: {_short(self._history[-1])}", *shown.problems):
            self._say(line)
        checkpoint = Checkpoint(self.planned, tuple(self._history), state)
        self._written = self._writer.submit(self._write, checkpoint, shown)

    def _write(self, checkpoint: Checkpoint, shown: Shown) -> None:
        shown.keep(self._store.objects, self.planned.key)  # first: an epoch that has its checkpoint is not drawn again
        key, latest = self.planned.key, CheckpointName(self._number, len(checkpoint.epochs))
        self._store.write_checkpoint(latest, checkpoint)
        self._store.write_epochs(key, self._number, checkpoint.epochs)
        self._write_log()
        self._good = [*self._good, latest][-KEPT:]
        self._store.drop_checkpoints(key, keep=self._good)

    def _flush(self) -> None:
        """Wait for what is in flight."""
        written, self._written = self._written, None
        if written is not None:
            with _storage_errors():
                written.result()

    def _say(self, line: str) -> None:
        self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def _write_log(self) -> None:
        self._store.write_text(f"trials/{self.planned.key}/log-{self._number}.txt", self._log.getvalue())


def keep_failure(job: Mapping[str, Any], trace: str) -> None:
    """Keep the traceback of a trial's own failure.

    Raises:
        StorageFailed: the storage cannot be used.
    """
    with _storage_errors():
        Store(job["storage"], job["study"]).write_traceback(job["plan"]["key"], trace)


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFailed(f"the storage failed: {' '.join(str(error).split())}") from error


def _same_trial(one: Planned, other: Planned) -> bool:
    """Whether two plans are the same but for where the data lie."""
    trees = [{**p.config, "data": {k: v for k, v in p.data.items() if k != "root"}} for p in (one, other)]
    return trees[0] == trees[1]


def _short(metrics: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in metrics.items() if "/iou/" not in name)
