"""``--dry-run``: what a study would do, at what cost, and where it would write. Starts no Ray and writes nothing."""

import json
import os
from itertools import islice

import yaml

from orchestrator.console import open_console, say
from orchestrator.display import duration
from orchestrator.errors import InputError
from orchestrator.flat import short
from orchestrator.objects import absolute
from orchestrator.plan.planner import Planner
from orchestrator.preflight import check_models, open_store
from orchestrator.records import Planned
from orchestrator.results import threads_for
from orchestrator.spec import ResourcesSection, Study
from orchestrator.tracking import redacted, tracking_uri
from trainable.config import TrialConfig

SAMPLED = 3


def dry_run(study: Study, *, storage: str) -> int:
    """Print the resolved study, sampled configurations, the cost by a few probed steps, and the places.

    Returns:
        The command's exit code.

    Raises:
        InputError: The model or the data cannot be used.
    """
    console = open_console()
    open_store(study, storage)
    check_models(study)
    planner = Planner(study)
    say(console, yaml.safe_dump(study.resolved(), sort_keys=False, default_flow_style=None).rstrip())
    search, references = study.spec.search, ", ".join(study.spec.search.references) or "none"
    say(console, f"\ntrials      {planner.total}: {planner.budget} by {search.sampler.name}; references: {references}")
    planned = list(iter(planner.next, None)) if planner.total <= SAMPLED else _first(planner)
    for trial in [t for t in planned if t.kind == "search"][:SAMPLED]:
        say(console, f"sampled     {trial.key}: {_picks(trial)}")
    say(console, _cost(study, planned[-1], planner.total))
    say(console, f"writes      {absolute(storage)}/{study.spec.study}/ (trials/, results.parquet, best.yaml)")
    tracking = study.spec.tracking
    if tracking.enabled:
        experiment = tracking.experiment or study.spec.study
        say(console, f"tracks      {redacted(tracking_uri(tracking.uri))}, experiment {experiment}")
    say(console, "Nothing was started and nothing was written.")
    return 0


def _first(planner: Planner) -> list[Planned]:
    """The references and the first sampled trials."""
    return list(islice(iter(planner.next, None), planner.total - planner.budget + SAMPLED))


def _picks(trial: Planned) -> str:
    return ", ".join(f"{name}={short(value)}" for name, value in (trial.picks or {}).items()) or "nothing is searched"


def _cost(study: Study, trial: Planned, trials: int) -> str:
    """Parameters, steps and the run time, from a few steps of one sampled trial."""
    import torch  # late: it takes seconds to import

    from trainable.data.layout import DataError
    from trainable.failure import TrialFailed
    from trainable.model.encoders import ModelError
    from trainable.probe import probe

    config = TrialConfig.model_validate_json(json.dumps(trial.config))
    resources = study.spec.resources
    torch.set_num_threads(threads_for(resources.cpu))
    try:
        measured = probe(config)
    except (DataError, ModelError, TrialFailed) as error:
        raise InputError(f"{study.path}: {error}") from error
    epochs = config.train.epochs
    epoch_seconds = measured.steps_per_epoch * measured.step_seconds + measured.eval_seconds
    slots = _local_slots(resources)
    total = measured.cache_seconds + trials * (measured.setup_seconds + epochs * epoch_seconds) / slots
    return (
        f"model       {config.model.arch} / {config.model.encoder}: {measured.parameters / 1e6:.2f} M parameters\n"
        f"steps       {measured.steps_per_epoch} per epoch x {epochs} epochs; {measured.step_seconds * 1e3:.0f} ms per "
        f"step, {duration(measured.eval_seconds)} per evaluation (probed on this machine)\n"
        f"estimate    {duration(total)} for {trials} trials on {slots} slots of this machine, early stopping aside"
    )


def _local_slots(resources: ResourcesSection) -> int:
    import torch

    slots = max(1, int((os.cpu_count() or 1) / resources.cpu))
    if resources.gpu:
        slots = max(1, min(slots, int(torch.cuda.device_count() / resources.gpu)))
    return min(slots, resources.max_concurrent or slots)
