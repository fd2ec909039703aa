"""What the stages of a study would run, told for a dry run."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from statistics import fmean
from typing import assert_never

from rich.console import Console

from orchestrator.errors import InputError
from orchestrator.launch.look_forecast import say_evidence
from orchestrator.plan.ablation import ablation
from orchestrator.plan.comparison import Comparison
from orchestrator.plan.confirmation import few_leaders
from orchestrator.plan.designs import text, walk_length
from orchestrator.plan.planner import Planner
from orchestrator.plan.prefixes import inherited, search_prefixes, shared_prefixes
from orchestrator.plan.samplers import early_stopping
from orchestrator.store.masking import shown_plan
from orchestrator.studyfile import AblationSection, Choice, ConfirmSection, Domain, Study, Value, reference
from orchestrator.studyfile.sections.comparison import AblationPath, Baseline, BestOf, Winner, Written
from orchestrator.studyfile.sections.looks import most_seeds
from orchestrator.studyfile.space.space import Pick
from orchestrator.terminal.console import say
from orchestrator.terminal.formats import picks
from trainable.config import TrialConfig

SHOWN = 3
"""Trials of the search that are shown as samples."""
SAMPLES = 100
"""Trials that are drawn from a search space to see what its trials cost on average."""


@dataclass(frozen=True)
class Forecast:
    """What a stage runs: so many trials each of configurations that cost what those of a list do on average."""

    stage: str
    groups: tuple[tuple[int, Sequence[TrialConfig]], ...]
    block: int = 1
    """Runs that are of use together only: all arms on a seed."""
    saved: int = 0
    """Epochs that need not be trained, as prefixes are shared."""

    @property
    def runs(self) -> int:
        """Trials of the stage."""
        return sum(runs for runs, _ in self.groups)

    @property
    def mean_epochs(self) -> float:
        """Epochs of a trial on average."""
        each = ((runs, fmean(config.train.epochs for config in configs)) for runs, configs in self.groups if runs)
        return sum(runs * epochs for runs, epochs in each) / max(1, self.runs)


def forecasts(study: Study, console: Console) -> list[Forecast]:
    """What each stage would run, said in some lines.

    Raises:
        InputError: An arm is no valid trial around the written baseline.
    """
    spec = study.spec
    search = [_search(study, console)] if spec.searched else []
    confirm = [_confirmation(study, spec.confirm, console)] if spec.confirm else []
    return [*search, *confirm, *([_ablation(study, spec.ablation, console)] if spec.ablation else [])]


def _search(study: Study, console: Console) -> Forecast:
    """Tell what the search will try."""
    planner = Planner(study)
    search, references = study.spec.search, ", ".join(study.spec.search.references) or "none"
    say(console, f"trials      {planner.total}: {planner.budget} by {search.sampler.name}; references: {references}")
    say(console, f"stops early {early_stopping(search.pruner, study.space)}")
    if planner.cap:
        say(console, f"capped      {planner.cap}")
    first = list(islice(iter(planner.next, None), planner.total - planner.budget + SHOWN))
    for trial in [trial for trial in first if trial.kind == "search"][:SHOWN]:
        say(console, f"sampled     {trial.key}: {picks(trial) or 'nothing is searched'}")
    saved = _search_saves(study, planner.budget, console)
    return Forecast("search", ((planner.budget, sampled(study)), _references(study, 1)), saved=saved)


def _search_saves(study: Study, budget: int, console: Console) -> int:
    """Tell what trials of the search will share, as far as that is known before they are picked; the epochs saved."""
    prefixes = search_prefixes(study, range(budget)) if study.spec.resources.share_prefixes else {}
    if not prefixes:
        return 0
    first = next(iter(prefixes.values())).planned
    whole = study.space.size() == budget
    configs = [study.space.trial(_cell(each), 0) for each in study.space.cells()] if whole else sampled(study)
    heirs = round(sum(inherited(config, first.starts) > 0 for config in configs) / len(configs) * budget)
    saved = round(fmean(inherited(config, first.starts) for config in configs) * budget) - first.epochs * len(prefixes)
    beginning = f"{len(prefixes)} shared prefixes of {first.epochs} epochs for about {heirs} trials"
    say(console, f"prefixes    {beginning}: about {saved} epochs saved")
    return saved


def _cell(picks: Mapping[str, Value]) -> Pick:
    return lambda name, _: picks[name]


def _references(study: Study, seeds: int) -> tuple[int, Sequence[TrialConfig]]:
    names = study.spec.search.references
    return len(names) * seeds, [reference(study, name, 0) for name in names]


def _confirmation(study: Study, section: ConfirmSection, console: Console) -> Forecast:
    """Tell what is confirmed."""
    searched, references = Planner(study).budget, len(study.spec.search.references)
    top = min(section.top, searched)
    if top < section.top:
        say(console, f"capped      {few_leaders(section.top, top)}")
    seeds = most_seeds(section.seeds)
    runs = (top + references) * seeds
    say(console, f"confirm     the best {top} and {references} references x {seeds} fresh seeds: {runs} runs")
    say_evidence(top + references - 1, section.seeds, console)
    groups = ((top * seeds, sampled(study)), _references(study, seeds))
    return Forecast("confirm", groups, block=top + references)


def _ablation(study: Study, section: AblationSection, console: Console) -> Forecast:
    """Tell the arms and what they can show."""
    baseline = section.read_baseline(searched=study.spec.searched)
    seeds, design = most_seeds(section.seeds), section.design
    try:
        comparison = ablation(study, study.space.at_center(), lambda _config, _seeds: None)
    except InputError as error:
        if isinstance(baseline, Written):
            raise
        say(console, f"ablation    {design.name}: its arms are known when its baseline is ({error})")
        return Forecast("ablation", ())
    known = len(comparison.plan.arms)
    arms = walk_length(known - 1) if isinstance(design, AblationPath) else known
    say(console, f"ablation    {design.name}: {arms} arms x {seeds} seeds: {arms * seeds} runs; {_around(baseline)}")
    _say_arms(replace(comparison, plan=shown_plan(comparison.plan, study.from_env)), console)
    say_evidence(arms - 1, section.seeds, console)
    saved = _ablation_saves(study, comparison, console)
    return Forecast("ablation", ((arms * seeds, tuple(comparison.configs.values())),), block=arms, saved=saved)


def _ablation_saves(study: Study, comparison: Comparison, console: Console) -> int:
    """Tell which prefixes the arms share; the epochs that this saves."""
    if not study.spec.resources.share_prefixes:
        return 0
    prefixes = list(shared_prefixes(comparison.cells(), study.spec.resources).values())
    saved = sum(prefix.saved for prefix in prefixes)
    if prefixes:
        trained, heirs = sum(prefix.planned.epochs for prefix in prefixes), sum(len(p.heirs) for p in prefixes)
        beginning = f"{len(prefixes)} shared prefixes of {trained} epochs in all, with which {heirs} runs begin"
        say(console, f"prefixes    {beginning}: {saved} epochs saved")
    return saved


def _say_arms(comparison: Comparison, console: Console) -> None:
    """Tell what each arm sets; of factors those away from the baseline's level."""
    plan = comparison.plan
    width = max(len(arm.name) for arm in plan.arms)
    for arm in plan.arms:
        changed = {p: level for p, level in arm.levels.items() if p not in plan.factors or plan.factors[p][0] != level}
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


def sampled(study: Study) -> list[TrialConfig]:
    """Trials as a search without experience would try them; one where nothing is searched."""
    draw = random.Random(study.spec.search.seed)
    count = SAMPLES if study.space.domains() else 1
    return [study.space.trial(partial(_picked, draw), 0) for _ in range(count)]


def _picked(draw: random.Random, _name: str, domain: Domain) -> Value:
    if isinstance(domain, Choice):
        return draw.choice(domain.labels)
    if domain.log:
        return domain.snap(math.exp(draw.uniform(math.log(domain.low), math.log(domain.high))))
    return domain.snap(draw.uniform(domain.low, domain.high))
