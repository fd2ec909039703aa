"""What the trials of a study cost, for a dry run: two kinds are probed, the others taken by their arithmetic."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean

import torch

from orchestrator.driver.packing import share_of, together
from orchestrator.errors import InputError
from orchestrator.launch.forecast import Forecast
from orchestrator.launch.foreseen import foreseen, images_of
from orchestrator.launch.preflight import rehearse
from orchestrator.studyfile import ResourcesSection, Study
from orchestrator.terminal.formats import duration
from trainable.config import TrialConfig
from trainable.data.counts import frame_count
from trainable.data.errors import DataError
from trainable.failure import GIB, TrialFailed
from trainable.model.encoders import ModelError
from trainable.train.probe import Probe, probe

START_UP_S = 20.0
"""From the command to the first step of a trial: Ray, and what its workers import (15 to 25 s on two cores)."""


@dataclass(frozen=True)
class Probed:
    """A trial that was probed."""

    config: TrialConfig
    work: float
    """Operations of an epoch, up to a factor."""
    cost: Probe

    @property
    def epoch_seconds(self) -> float:
        """Of training and evaluation."""
        return self.cost.steps_per_epoch * self.cost.step_seconds + self.cost.eval_seconds

    def lines(self, remark: str) -> list[str]:
        """What was measured."""
        config, cost = self.config, self.cost
        changed = f", {duration(cost.changed_seconds)} per trial on changed frames" if cost.changed_seconds else ""
        return [
            f"model       {_kind(config)}{remark}: {cost.parameters / 1e6:.2f} M parameters",
            f"steps       {cost.steps_per_epoch} per epoch x {config.train.epochs} epochs; "
            f"{cost.step_seconds * 1e3:.0f} ms per step, {duration(cost.eval_seconds)} per evaluation{changed} (probed "
            "on this machine)",
        ]


@dataclass(frozen=True)
class Costs:
    """What trials cost, between the cheapest and the dearest of those that may be."""

    cheapest: Probed
    dearest: Probed
    work: Mapping[TrialConfig, float]
    checked: str
    """What else was checked."""

    def epoch_seconds(self, config: TrialConfig) -> float:
        """Of any trial: on the line between the two."""
        low, high = self.cheapest, self.dearest
        if high.work == low.work:
            return high.epoch_seconds
        share = (self.work[config] - low.work) / (high.work - low.work)
        return low.epoch_seconds + share * (high.epoch_seconds - low.epoch_seconds)

    def seconds(self, forecast: Forecast) -> float:
        """Of all trials of a stage, one after the other."""
        both = (self.cheapest.cost, self.dearest.cost)
        once = fmean(cost.setup_seconds + cost.changed_seconds for cost in both)
        return sum(
            runs * fmean(once + config.train.epochs * self.epoch_seconds(config) for config in configs)
            for runs, configs in forecast.groups
            if runs
        )

    def gpus(self, resources: ResourcesSection) -> float:
        """GPUs of a trial; of ``auto`` the share of this machine's that the dearest needs, a whole one if unknown."""
        peak, total = self.dearest.cost.peak_bytes, self.dearest.cost.gpu_bytes
        measured = None if peak is None or total is None or resources.gpu != "auto" else share_of(peak, total)
        return measured or resources.most_gpus

    @property
    def together(self) -> str:
        """How many trials a GPU of this machine holds at a time."""
        peaks = [probed.cost.peak_bytes for probed in (self.dearest, self.cheapest)]
        total = self.dearest.cost.gpu_bytes
        if total is None or None in peaks:
            return "gpu: auto is measured on the cluster, before the first trial of each kind: no GPU is at hand here"
        low, high = sorted(peak or 0 for peak in peaks)
        counts = dict.fromkeys(f"{together(peak, total)}" for peak in (high, low))
        sizes = dict.fromkeys(f"{peak / GIB:.2f}" for peak in (low, high))
        return f"{' to '.join(sizes)} GiB of a GPU's {total / GIB:.1f}: {' to '.join(counts)} trials on it at a time"

    @property
    def remark(self) -> str:
        """How trials are estimated that were not probed."""
        return "" if self.cheapest is self.dearest else "; kinds that were not probed by their arithmetic"

    @property
    def mean_epoch_seconds(self) -> float:
        """Of the trials that may be."""
        return fmean(map(self.epoch_seconds, self.work))

    @property
    def cache_seconds(self) -> float:
        """Of the data sets of the two, once."""
        caches = {probed.config.data: probed.cost.cache_seconds for probed in (self.cheapest, self.dearest)}
        return sum(caches.values())

    def lines(self) -> list[str]:
        """What was probed and checked."""
        if self.cheapest is self.dearest:
            return [*self.dearest.lines(""), f"checked     {self.checked}"]
        kinds = len({_kind(config) for config in self.work})
        remarks = [f" (the {which} of {kinds} kinds of trials)" for which in ("cheapest", "dearest")]
        cheap, dear = self.cheapest.lines(remarks[0]), self.dearest.lines(remarks[1])
        return [*cheap, *dear, f"checked     {self.checked}"]


def measure(study: Study, trials: Sequence[TrialConfig], *, weights_here: bool = True) -> Costs:
    """Probe the cheapest and the dearest of the trials, and try all images that a study may have on its models.

    Where pretrained weights cannot be had, random ones cost as much.

    Raises:
        InputError: A model does not take its images; a trial cannot start, or a step of it fails.
    """
    images = dict.fromkeys([*foreseen(study).images, *map(images_of, trials)])
    rehearsed = rehearse(list(images), study)
    torch.set_num_threads(study.spec.resources.threads)
    probed = _as_written if weights_here else _with_random_weights
    with _refusing(study):
        work = {trial: _work(trial, rehearsed.operations.get(images_of(trial), 0.0)) for trial in trials}
        cheapest, dearest = (choose(work, key=work.__getitem__) for choose in (min, max))
        high = Probed(dearest, work[dearest], probe(probed(dearest)))
        same = math.isclose(work[cheapest], work[dearest], rel_tol=0.05)
        low = high if same else Probed(cheapest, work[cheapest], probe(probed(cheapest)))
    return Costs(low, high, work, rehearsed.line)


def _as_written(trial: TrialConfig) -> TrialConfig:
    return trial


def _with_random_weights(trial: TrialConfig) -> TrialConfig:
    if not isinstance(trial.model.encoder_weights, str):
        return trial
    return trial.model_copy(update={"model": trial.model.model_copy(update={"encoder_weights": None})})


@contextmanager
def _refusing(study: Study) -> Iterator[None]:
    """Raise InputError for what makes a trial fail."""
    try:
        yield
    except (DataError, ModelError, TrialFailed) as error:
        raise InputError(study.places.of_trial(str(error))) from error


def _kind(trial: TrialConfig) -> str:
    """What decides what a step of a trial costs."""
    (height, width), batch = images_of(trial).size, images_of(trial).batch
    layers = f" suppressed at {', '.join(trial.suppression.layers)}" if trial.suppression else ""
    return f"{trial.model.title}{layers}, {batch} x {height} x {width} pixels"


def _work(trial: TrialConfig, operations: float) -> float:
    """Operations of an epoch: a block at an inner layer makes the rest of the network run twice."""
    data, layers = trial.data, trial.suppression.blocks if trial.suppression else ()
    frames = frame_count(data, "train")
    factor = 1.0 if not layers else 1.1 if layers == ("decoder",) else 2.0
    return operations / images_of(trial).batch * frames * factor
