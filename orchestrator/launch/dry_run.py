"""``--dry-run``: what a study would do, at what cost, and where it would write. Starts no Ray and writes nothing."""

import os
from itertools import islice
from typing import assert_never

import yaml
from rich.console import Console

from orchestrator.errors import InputError
from orchestrator.launch.preflight import check_models, open_store
from orchestrator.plan.ablation import ablation
from orchestrator.plan.designs import text, walk_length
from orchestrator.plan.planner import Planner
from orchestrator.report.statistics.sign_flip import seeds_needed, smallest_p
from orchestrator.store.addresses import absolute
from orchestrator.store.flat_config import short
from orchestrator.store.results_table import threads_for
from orchestrator.store.stage_plan import Arm, StagePlan
from orchestrator.store.trial_record import Planned
from orchestrator.studyfile import ResourcesSection, Study
from orchestrator.studyfile.sections.comparison import AblationPath, Baseline, BestOf, Winner, Written
from orchestrator.terminal.console import open_console, say
from orchestrator.terminal.formats import duration
from orchestrator.tracking import redacted, tracking_uri
from trainable.config import read_trial

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
    say(console, yaml.safe_dump(study.resolved(), sort_keys=False, default_flow_style=None).rstrip() + "\n")
    probed, trials = _search(study, console) if study.spec.searched else (None, 0)
    if study.spec.confirm is not None:
        trials += _confirmation(study, console)
    if study.spec.ablation is not None:
        arms, runs = _ablation(study, console)
        probed, trials = probed or arms, trials + runs
    if probed is not None:
        say(console, _cost(study, probed, trials))
    written = "trials/, results.parquet, best.yaml" if study.spec.searched else "trials/, results.parquet"
    say(console, f"writes      {absolute(storage)}/{study.spec.study}/ ({written})")
    tracking = study.spec.tracking
    if tracking.enabled:
        experiment = tracking.experiment or study.spec.study
        say(console, f"tracks      {redacted(tracking_uri(tracking.uri))}, experiment {experiment}")
    say(console, "Nothing was started and nothing was written.")
    return 0


def _search(study: Study, console: Console) -> tuple[Planned, int]:
    """Tell what the search will try; returns a trial to probe and the number of trials."""
    planner = Planner(study)
    search, references = study.spec.search, ", ".join(study.spec.search.references) or "none"
    say(console, f"trials      {planner.total}: {planner.budget} by {search.sampler.name}; references: {references}")
    planned = list(iter(planner.next, None)) if planner.total <= SAMPLED else _first(planner)
    for trial in [t for t in planned if t.kind == "search"][:SAMPLED]:
        say(console, f"sampled     {trial.key}: {_picks(trial)}")
    return planned[-1], planner.total


def _confirmation(study: Study, console: Console) -> int:
    """Tell what is confirmed; returns the number of runs."""
    section, references = study.spec.confirm, len(study.spec.search.references)
    assert section is not None
    trials = study.spec.search.trials
    top = section.top if trials is None else min(section.top, trials)
    runs = (top + references) * section.seeds
    say(console, f"confirm     the best {top} and {references} references x {section.seeds} fresh seeds: {runs} runs")
    say(console, evidence(top + references - 1, section.seeds))
    return runs


def _ablation(study: Study, console: Console) -> tuple[Planned | None, int]:
    """Tell the arms and what they can show; returns a run to probe and the number of runs."""
    section = study.spec.ablation
    assert section is not None
    baseline = section.read_baseline(searched=study.spec.searched)
    seeds, design = section.seeds, section.design
    try:
        comparison = ablation(study, study.space.at_center(), lambda _config, _seeds: None)
    except InputError as error:
        if isinstance(baseline, Written):
            raise
        say(console, f"ablation    {design.name}: its arms are known when its baseline is ({error})")
        return None, 0
    plan = comparison.plan
    arms = walk_length(len(plan.arms) - 1) if isinstance(design, AblationPath) else len(plan.arms)
    say(console, f"ablation    {design.name}: {arms} arms x {seeds} seeds: {arms * seeds} runs; {_around(baseline)}")
    width = max(len(arm.name) for arm in plan.arms)
    for arm in plan.arms:
        mark = " (baseline)" if arm.name == plan.baseline else ""
        say(console, f"  {arm.name:<{width}}  {_levels(arm, plan)}{mark}")
    if isinstance(design, AblationPath):
        say(console, "  then on from the best of them, until the target is reached")
    for name, same in comparison.equal.items():
        say(console, f"  {name} is the same configuration as {same}; it runs once")
    for line in plan.aliases:
        say(console, f"aliased     {line}")
    say(console, evidence(arms - 1, seeds))
    return comparison.cells()[0], arms * seeds


def evidence(comparisons: int, seeds: int) -> str:
    """What so many comparisons with a baseline on so many seeds can show at best."""
    if comparisons < 1:
        return "evidence    nothing is compared"
    found = f"evidence    {seeds} seeds: no p below {smallest_p(seeds):.2g} is possible"
    needed = seeds_needed(comparisons)
    if seeds < needed:
        return f"{found}; underpowered: {comparisons} comparisons at 0.05 (Holm) need {needed} seeds or more"
    return f"{found}; {comparisons} comparisons at 0.05 (Holm) need {needed} or more"


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


def _levels(arm: Arm, plan: StagePlan) -> str:
    """What an arm sets; of factors those away from the baseline's level."""
    changed = {path: level for path, level in arm.levels.items() if plan.factors.get(path, (None,))[0] != level}
    return ", ".join(f"{path}={text(level)}" for path, level in changed.items())


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
    from trainable.train.probe import probe

    config = read_trial(trial.config)
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
