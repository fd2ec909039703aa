"""``--dry-run``: what a study would do, at what cost, and where it would write. Starts no Ray and writes nothing."""

import os
from dataclasses import dataclass
from itertools import islice
from typing import assert_never

from rich.console import Console

from orchestrator.errors import InputError
from orchestrator.launch.preflight import check_models, open_store
from orchestrator.plan.ablation import ablation
from orchestrator.plan.comparison import Comparison
from orchestrator.plan.designs import text, walk_length
from orchestrator.plan.planner import Planner
from orchestrator.plan.samplers import early_stopping
from orchestrator.report.statistics.sign_flip import evidence
from orchestrator.store import layout
from orchestrator.store.addresses import absolute, redacted
from orchestrator.store.trial_record import Planned
from orchestrator.studyfile import AblationSection, ConfirmSection, ResourcesSection, Study
from orchestrator.studyfile.sections.comparison import AblationPath, Baseline, BestOf, Winner, Written
from orchestrator.terminal.console import open_console, say
from orchestrator.terminal.formats import duration, picks
from orchestrator.tracking import tracking_uri
from trainable.config import read_trial
from trainable.configfile.trees import write_yaml

SAMPLED = 3


@dataclass(frozen=True)
class Forecast:
    """What a stage would run."""

    runs: int
    sample: Planned | None = None
    """A run whose cost stands for that of the others; None where none is known."""


def dry_run(study: Study, *, storage: str) -> int:
    """Print the resolved study, sampled configurations, the cost by a few probed steps, and the places.

    Returns:
        The command's exit code.

    Raises:
        InputError: The model or the data cannot be used.
    """
    console, spec = open_console(), study.spec
    open_store(study, storage)
    check_models(study)
    say(console, write_yaml(study.resolved(), short=True).rstrip() + "\n")
    stages = [_search(study, console)] if spec.searched else []
    stages += [_confirmation(study, spec.confirm, console)] if spec.confirm else []
    stages += [_ablation(study, spec.ablation, console)] if spec.ablation else []
    sample = next((stage.sample for stage in stages if stage.sample is not None), None)
    if sample is not None:
        say(console, _cost(study, sample, sum(stage.runs for stage in stages)))
    written = f"{layout.TRIALS}/, {layout.TABLE}" + (f", {layout.BEST}" if spec.searched else "")
    say(console, f"writes      {absolute(storage)}/{spec.study}/ ({written})")
    if spec.tracking.enabled:
        experiment = spec.tracking.experiment or spec.study
        say(console, f"tracks      {redacted(tracking_uri(spec.tracking.uri))}, experiment {experiment}")
    say(console, "Nothing was started and nothing was written.")
    return 0


def _search(study: Study, console: Console) -> Forecast:
    """Tell what the search will try."""
    planner = Planner(study)
    search, references = study.spec.search, ", ".join(study.spec.search.references) or "none"
    say(console, f"trials      {planner.total}: {planner.budget} by {search.sampler.name}; references: {references}")
    say(console, f"stops early {early_stopping(search.pruner, study.space)}")
    first = list(islice(iter(planner.next, None), planner.total - planner.budget + SAMPLED))
    for trial in [trial for trial in first if trial.kind == "search"][:SAMPLED]:
        say(console, f"sampled     {trial.key}: {picks(trial) or 'nothing is searched'}")
    return Forecast(planner.total, first[-1])


def _confirmation(study: Study, section: ConfirmSection, console: Console) -> Forecast:
    """Tell what is confirmed."""
    trials, references = study.spec.search.trials, len(study.spec.search.references)
    top = section.top if trials is None else min(section.top, trials)
    runs = (top + references) * section.seeds
    say(console, f"confirm     the best {top} and {references} references x {section.seeds} fresh seeds: {runs} runs")
    say(console, f"evidence    {evidence(top + references - 1, section.seeds)}")
    return Forecast(runs)


def _ablation(study: Study, section: AblationSection, console: Console) -> Forecast:
    """Tell the arms and what they can show."""
    baseline = section.read_baseline(searched=study.spec.searched)
    seeds, design = section.seeds, section.design
    try:
        comparison = ablation(study, study.space.at_center(), lambda _config, _seeds: None)
    except InputError as error:
        if isinstance(baseline, Written):
            raise
        say(console, f"ablation    {design.name}: its arms are known when its baseline is ({error})")
        return Forecast(0)
    known = len(comparison.plan.arms)
    arms = walk_length(known - 1) if isinstance(design, AblationPath) else known
    say(console, f"ablation    {design.name}: {arms} arms x {seeds} seeds: {arms * seeds} runs; {_around(baseline)}")
    _say_arms(comparison, console)
    say(console, f"evidence    {evidence(arms - 1, seeds)}")
    return Forecast(arms * seeds, comparison.cells()[0])


def _say_arms(comparison: Comparison, console: Console) -> None:
    """Tell what each arm sets; of factors those away from the baseline's level."""
    plan = comparison.plan
    width = max(len(arm.name) for arm in plan.arms)
    for arm in plan.arms:
        changed = {path: level for path, level in arm.levels.items() if plan.factors.get(path, (None,))[0] != level}
        levels = ", ".join(f"{path}={text(level)}" for path, level in changed.items())
        say(console, f"  {arm.name:<{width}}  {levels}{' (baseline)' if arm.name == plan.baseline else ''}")
    if plan.design == "path":
        say(console, "  then on from the best of them, until the target is reached")
    for name, same in comparison.equal.items():
        say(console, f"  {name} is the same configuration as {same}; it runs once")
    for line in plan.aliases:
        say(console, f"aliased     {line}")


def _around(baseline: Baseline) -> str:
    match baseline:
        case Written():
            return "the baseline is the trial as written" + (" with its values replaced" if baseline.values else "")
        case BestOf():
            return f"the baseline is the best trial of {baseline.study}, known at the launch"
        case Winner():
            return "the baseline is the winner of the search; here the trial as written stands in for it"
        case _:
            assert_never(baseline)


def _cost(study: Study, trial: Planned, trials: int) -> str:
    """Parameters, steps and the run time, from a few steps of one sampled trial."""
    import torch  # late: it takes seconds to import

    from trainable.data.layout import DataError
    from trainable.failure import TrialFailed
    from trainable.model.encoders import ModelError
    from trainable.train.probe import probe

    config, resources = read_trial(trial.config), study.spec.resources
    torch.set_num_threads(resources.threads)
    try:
        measured = probe(config)
    except (DataError, ModelError, TrialFailed) as error:
        raise InputError(f"{study.path}: {error}") from error
    epochs, slots = config.train.epochs, _local_slots(resources)
    epoch_seconds = measured.steps_per_epoch * measured.step_seconds + measured.eval_seconds
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
