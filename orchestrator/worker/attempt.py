"""A worker's attempt at a trial: continue from the last good checkpoint, keep every epoch, never the same one twice.

A checkpoint is taken when an epoch ends and written by a thread while the next one runs; at most one is in flight, and
an epoch's metrics are kept once its checkpoint is. Imports torch late: a driver imports this module too.
"""

import io
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from functools import partial
from importlib import import_module
from threading import Thread, Timer

from orchestrator.errors import one_line
from orchestrator.store.artifacts import keep_artifacts
from orchestrator.store.kept_weights import bring_weights
from orchestrator.store.layout import EPOCHS, CheckpointName, TrialFiles, checkpoints, numbers
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Checkpoint, Planned, Rung, Setback
from orchestrator.studyfile.space.trees import without_places
from orchestrator.worker.beginning import inherited_state
from orchestrator.worker.epoch_outputs import EpochOutputs, Fit, FittedEpoch, draw_outputs
from orchestrator.worker.job import AttemptBegan, EpochDone, Job
from orchestrator.worker.machine_meter import MachineMeter, cpu_name, gpu_names
from trainable.config import TrialConfig, read_trial
from trainable.configfile.node import JsonObject
from trainable.evaluate.metrics.names import GPU_PEAK
from trainable.failure import TrialFailed
from trainable.team.processes import end_process, fit_on_ranks

KEPT = 2
"""Checkpoints of a running trial: the latest, and the one before it should that one be damaged."""
LONGEST_BACKOFF_S = 60.0
LONGEST_LAST_WORD_S = 3.0
"""How long a worker that lost a rank may take to write down why."""


class StorageFailed(Exception):
    """The storage does not take what the trial has to keep: its disk is full, or it may not write there."""


class Attempt:
    """One worker's work on one trial; ``next_epoch`` until there is none.

    Raises:
        StorageFailed: the storage cannot be used.
        TrialFailed: an earlier attempt of this launch hung.
    """

    def __init__(self, job: Job) -> None:
        self._job, self._planned = job, job.planned
        self._store = Store(job.storage, job.study)
        self._history: list[Mapping[str, float]] = []
        self._good: list[CheckpointName] = []
        self._checkpoints: list[CheckpointName] = []
        self._log = io.StringIO()
        self._writer = ThreadPoolExecutor(1)
        self._written: Future[None] | None = None
        self._meter = MachineMeter() if job.system_metrics else None
        with _storage_errors():
            claimed = self._store.claim(self._planned.key, self._claim())
            self._number = claimed.number
            state = self._last_state(claimed.names)
        if self._number > 1:
            self._check_not_hung()
            self._back_off(claimed.earlier)
        self.number = self._number
        """Which attempt at the trial it is, from 1."""
        with self._watched():
            module, _, function = job.fit.partition(":")
            self._config = _on_rung(read_trial(self._planned.config), job.rung)
            with _storage_errors():
                bring_weights(self._store, self._config.model)
            fit: Fit = getattr(import_module(module), function)
            if job.ranks > 1:
                fit = partial(fit_on_ranks, ranks=job.ranks, fit=job.fit, end=self._lose_rank)
            self._results = fit(self._config, threads=job.threads, resume_from=state)

    @property
    def began(self) -> AttemptBegan:
        """The epochs before the next one, and what the user should know of the attempt's beginning: damaged files."""
        return AttemptBegan(self._history[: self._planned.epochs - 1], self._store.warnings, platform.node())

    def next_epoch(self) -> EpochDone:
        """Train an epoch and keep it.

        Raises:
            StorageFailed: it, or the one before it, could not be kept.
            Exception: whatever ended the trial.
        """
        if self._whole():  # a worker was lost after it had kept the last epoch
            return EpochDone(len(self._history), self._history[-1], last=True)
        with self._watched():
            with self._measured() as figures:
                result = next(self._results)
            state = _state_of(result, self._planned)
            outputs = draw_outputs(result, self._config)
        self._history.append({**result.metrics, **figures, **self._peak()})
        self._keep(state, outputs)
        return EpochDone(result.epoch, self._history[-1], last=self._whole())

    def close(self) -> None:
        """Let go of the model, after what is in flight is kept; of a trial that was stopped early nothing is."""
        try:
            self._flush()
            with _storage_errors():
                if not self._whole() and self._store.was_pruned(self._planned.key):
                    self._store.drop_checkpoints(self._planned.key)
        finally:
            self._results.close()
            self._writer.shutdown()

    def _whole(self) -> bool:
        return len(self._history) >= self._planned.epochs

    def _claim(self) -> JsonObject:
        gpu = gpu_names() if self._job.gpu else ""
        whose: JsonObject = {"launch": self._job.launch, "host": platform.node(), "pid": os.getpid()}
        whose["time"] = time.time()
        whose["cpu"] = cpu_name()
        if self._job.ranks > 1:
            whose |= {"ranks": self._job.ranks, "gpus": int(self._job.gpu)}
        if self._job.gpu:
            whose |= {"share": self._job.gpu, "rung": self._job.rung}
        devices = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        return {**whose, "gpu": gpu, "devices": devices} if gpu else whose

    def _last_state(self, files: Sequence[str]) -> Mapping[str, object] | None:
        """State to continue from; what the checkpoint holds wins over metrics that were kept beside it."""
        key = self._planned.key
        self._checkpoints = checkpoints(files)
        for name in self._checkpoints:
            checkpoint = self._store.read_checkpoint(key, name)
            if checkpoint is not None and _same_trial(checkpoint.planned, self._planned):
                self._good.append(name)
                return self._continued(checkpoint)
        beginning = inherited_state(self._store, self._planned)
        if self._checkpoints or numbers(EPOCHS, files):
            address, first = self._store.path(TrialFiles(key).folder), len(beginning.epochs) + 1 if beginning else 1
            self._store.warnings.append(f"{address}: no good checkpoint; starts from epoch {first}")
        if beginning is not None:
            return self._continued(beginning, f" of {self._planned.prefix}")
        self._say(f"attempt {self._number} starts from epoch 1")
        return None

    def _continued(self, checkpoint: Checkpoint, whose: str = "") -> Mapping[str, object]:
        """Take a checkpoint's epochs as the trial's own; returns the state after them."""
        from trainable.train.checkpoint import from_bytes

        self._history = list(checkpoint.epochs)
        self._say(f"attempt {self._number} continues after epoch {len(self._history)}{whose}")
        return from_bytes(checkpoint.state)

    def _check_not_hung(self) -> None:
        hung = self._store.read_hung(self._planned.key, self._job.launch)
        if hung is not None:
            raise TrialFailed(hung)

    def _back_off(self, earlier: Sequence[JsonObject]) -> None:
        """Wait longer after each worker that this launch lost: what took it may still be there."""
        lost = sum(claim.get("launch") == self._job.launch for claim in earlier)
        if lost:
            time.sleep(min(LONGEST_BACKOFF_S, self._job.backoff_s * 2 ** (lost - 1)))

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Catch what the trial prints, and end this process if it takes too long: nothing else ends a hanging call."""
        with redirect_stdout(self._log), redirect_stderr(self._log), ExitStack() as stack:
            if self._job.timeout_s:
                timer = Timer(self._job.timeout_s, self._give_up)
                timer.daemon = True
                timer.start()
                stack.callback(timer.cancel)
            yield

    def _measured(self) -> AbstractContextManager[Mapping[str, float]]:
        """What the machine does meanwhile, where that is asked for."""
        return self._meter.epoch() if self._meter else nullcontext({})

    def _peak(self) -> Mapping[str, float]:
        """The most GPU memory that the attempt has held so far; nothing without a GPU."""
        if self._job.gpu == 0:
            return {}
        from trainable.train.gpu_memory import peak_bytes

        peak = peak_bytes()
        return {} if peak is None else {GPU_PEAK: float(peak)}

    def _give_up(self) -> None:
        limit = f"resources.trial_timeout_s ({self._job.timeout_s:g})"
        reason = f"epoch {len(self._history) + 1}: no result within {limit}"
        try:
            self._store.write_text(TrialFiles(self._planned.key).hung(self._job.launch), reason)
        finally:
            os._exit(1)

    def _lose_rank(self, reason: str) -> None:
        """End this process, as a machine would that dies: another worker goes on from the last epoch kept."""
        self._say(reason)
        logged = Thread(target=self._write_log, daemon=True)
        logged.start()
        logged.join(LONGEST_LAST_WORD_S)
        end_process(reason)

    def _keep(self, state: bytes, outputs: EpochOutputs) -> None:
        self._flush()
        for line in (f"epoch {len(self._history)}: {_short(self._history[-1])}", *outputs.problems):
            self._say(line)
        checkpoint = Checkpoint(self._planned, tuple(self._history), state)
        if self._whole():  # no epoch runs beside it
            with _storage_errors():
                self._write(checkpoint, outputs)
        else:
            self._written = self._writer.submit(self._write, checkpoint, outputs)

    def _write(self, checkpoint: Checkpoint, outputs: EpochOutputs) -> None:
        key, latest = self._planned.key, CheckpointName(self._number, len(checkpoint.epochs))
        # first: an epoch that has its checkpoint is not drawn again
        matrices = (outputs.confusion, outputs.cosines, outputs.reliance, outputs.calibration)
        keep_artifacts(self._store.objects, key, outputs.pictures, *matrices)
        self._store.write_checkpoint(latest, checkpoint)
        self._store.write_epochs(key, self._number, checkpoint.epochs)
        self._write_log()
        self._good = [*self._good, latest][-KEPT:]
        there = [*self._checkpoints, latest]
        self._checkpoints = [name for name in there if name in self._good or name.epoch in self._planned.starts]
        for name in there:
            if name not in self._checkpoints:
                self._store.drop_checkpoint(key, name)

    def _flush(self) -> None:
        """Wait for what is in flight."""
        written, self._written = self._written, None
        if written is not None:
            with _storage_errors():
                written.result()

    def _say(self, line: str) -> None:
        self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def _write_log(self) -> None:
        self._store.write_log(self._planned.key, self._number, self._log.getvalue())


def keep_failure(job: Job, attempt: Attempt | None, trace: str) -> None:
    """Keep the traceback of a trial's own failure, and what the failing epoch printed.

    Raises:
        StorageFailed: the storage cannot be used.
    """
    with _storage_errors():
        if attempt is not None:
            attempt._write_log()
        Store(job.storage, job.study).write_text(TrialFiles(job.planned.key).traceback, trace)


def keep_setback(job: Job, setback: Setback) -> None:
    """Keep why the memory of a GPU ended an attempt.

    Raises:
        StorageFailed: the storage cannot be used.
    """
    with _storage_errors():
        Store(job.storage, job.study).write_setback(job.planned.key, setback)


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFailed(f"the storage failed: {one_line(error)}") from error


def _state_of(result: FittedEpoch, planned: Planned) -> bytes:
    from trainable.train.checkpoint import to_bytes

    ended = result.epoch == planned.epochs and not planned.starts  # from the end of a prefix its heirs go on
    return to_bytes(result.state(), ended=ended)


def _on_rung(config: TrialConfig, rung: Rung) -> TrialConfig:
    """The trial, its activations computed again where it comes to that: which gives exactly the same."""
    if rung != "recompute":
        return config
    return config.model_copy(update={"train": config.train.model_copy(update={"memory": "recompute"})})


def _same_trial(one: Planned, other: Planned) -> bool:
    """Whether two plans are the same but for where data and weights lie."""
    return without_places(one.config) == without_places(other.config)


def _short(metrics: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in metrics.items() if "/iou/" not in name)
