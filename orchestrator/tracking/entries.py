"""Records -> MLflow's metrics, parameters and tags, within its limits. Pure: nothing is sent from here."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

from orchestrator.store.addresses import redacted
from orchestrator.store.flat_config import flatten, short
from orchestrator.store.trial_record import Planned, Record
from orchestrator.studyfile import Objective
from orchestrator.tracking.study_info import DataSource, end_values
from trainable.configfile.node import JsonObject, Scalar

MAX_METRICS, MAX_PARAMS = 1000, 100
"""MLflow's limits per batch: the first is that of metrics, parameters and tags together."""
MAX_VALUE, MAX_KEY, MAX_DIGEST = 6000, 250, 36
"""Characters of a value, of a name, and of a data set's digest."""
WRITTEN_DIGITS = 7
"""Significant digits of a number that somebody wrote; what a sampler picks has more."""
T = TypeVar("T")
_REFUSED = re.compile(r"[^\w./: -]", re.ASCII)
"""What MLflow takes in no name: it would refuse the whole batch."""
MACHINE_DEPENDENT = ("data.root", "model.encoder_weights.path", "model.weights.path")
"""Settings that say where and not what: no part of a configuration's hash."""


@dataclass
class RunEntries:
    """What is to be written of a run."""

    metrics: list[Metric] = field(default_factory=list)
    params: list[Param] = field(default_factory=list)
    tags: list[RunTag] = field(default_factory=list)

    def pieces(self) -> Iterator["RunEntries"]:
        """Split it into as few pieces as MLflow's limits allow, in order; the tags, which tell what is there, last."""
        metrics, params = self.metrics, self.params
        while len(metrics) + len(params) + len(self.tags) > MAX_METRICS or len(params) > MAX_PARAMS:
            some = params[:MAX_PARAMS]
            room = MAX_METRICS - len(some)
            yield RunEntries(metrics[:room], some)
            metrics, params = metrics[room:], params[MAX_PARAMS:]
        if metrics or params or self.tags:
            yield RunEntries(metrics, params, self.tags)


def key_of(name: str) -> str:
    """The name as MLflow takes it: what it refuses is replaced, and a hash tells it from names that look alike then."""
    clean = _REFUSED.sub("_", name)
    if clean == name and len(name) <= MAX_KEY:
        return name
    return f"{clean[: MAX_KEY - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def metrics_after(
    known: Mapping[str, int], record: Record, times: Sequence[int], first: Sequence[str] = ()
) -> list[Metric]:
    """Every epoch's metrics that MLflow lacks, which holds each metric up to its ``known`` step.

    Args:
        known: Last step of each metric that MLflow holds.
        record: The trial.
        times: When each epoch ended, in milliseconds; the same for every attempt to send an epoch: MLflow knows one
            that it got twice.
        first: Metrics that a page shows first, which shows them in the order in which they arrived.
    """
    return [
        Metric(key, value, times[epoch - 1], epoch)
        for epoch, metrics in enumerate(record.epochs, start=1)
        for name, value in _with_first(metrics, first).items()
        if known.get(key := key_of(name), 0) < epoch
    ]


def _with_first(entries: Mapping[str, T], first: Sequence[str]) -> dict[str, T]:
    """The entries, some of them in front as far as they are there."""
    return {name: entries[name] for name in first if name in entries} | dict(entries)


def final_metrics(
    known: Mapping[str, int], record: Record, objectives: Sequence[Objective], times: Sequence[int]
) -> list[Metric]:
    """Each objective's last and best value and the epoch of the best, once, for a trial that has ended."""
    if not record.state.final:
        return []
    values = {name: value for objective in objectives for name, value in end_values(record, objective).items()}
    keyed, step = {key_of(name): value for name, value in values.items()}, len(record.epochs)
    return [Metric(key, value, times[-1], step) for key, value in keyed.items() if known.get(key, 0) < step]


def params(tree: JsonObject, first: Sequence[str] = ()) -> dict[str, str]:
    """Every setting of what may be shown by its dotted path, in the order in which a page shows them.

    Settings that are not set are left out, but for those that are to be ``first``; so are passwords of addresses. What
    no one writes by hand, a picked 0.8457655925, is rounded: the exact value is in ``config.yaml``.
    """
    flat = _with_first(flatten(tree), first)
    # of a file of weights the hash says which it is
    shown = {name: value for name, value in flat.items() if not name.endswith("weights.path")}
    return {
        key_of(name): redacted(_readable(value, picked=name in first))[:MAX_VALUE]
        for name, value in shown.items()
        if value is not None or name in first
    }


def _readable(value: Scalar, *, picked: bool) -> str:
    """A setting as pages and charts show it; of one that differs between trials a list of names is one name."""
    if isinstance(value, float) and float(f"{value:.{WRITTEN_DIGITS}g}") != value:
        return short(value)
    if picked and isinstance(value, str) and value.startswith('["'):
        return "+".join(map(str, json.loads(value)))
    return str(value)


def trial_params(trial: Planned, masked: Planned, first: Sequence[str] = ()) -> dict[str, str]:
    """A trial's settings, ``first`` those that differ between trials.

    Pages that compare runs take the first that differ, so the seed is not among them.
    """
    return params({name: masked.config[name] for name in trial.config if name != "seed"}, first)


def tags(texts: Mapping[str, str | None]) -> list[RunTag]:
    """Tags of what is known."""
    return [RunTag(key_of(name), value[:MAX_VALUE]) for name, value in texts.items() if value]


def trial_tags(trial: Planned) -> dict[str, str]:
    """What tells a trial's run from others, its configuration hashed as it is."""
    own = {"kind": trial.kind, "seed": str(trial.config["seed"]), "config_hash": config_hash(trial.config)}
    if trial.prefix is not None:
        own["prefix"] = trial.prefix
    return own if trial.arm is None or trial.kind == "prefix" else own | {"arm": trial.arm, "block": str(trial.block)}


def config_hash(config: JsonObject) -> str:
    """Equal for equal configurations on every machine, the seed included."""
    flat = {name: value for name, value in flatten(config).items() if name not in MACHINE_DEPENDENT}
    return hashlib.sha256(json.dumps(flat, sort_keys=True).encode()).hexdigest()[:16]


def data_input(data: DataSource) -> DatasetInput:
    """The trial's data as MLflow's pages show them."""
    described = Dataset(
        name=data.name,
        digest=data.digest[:MAX_DIGEST],
        source_type="local",
        source=json.dumps({"uri": redacted(data.source)}),
        profile=json.dumps(dict(data.settings)),
    )
    return DatasetInput(described, [InputTag("mlflow.data.context", "training")])
