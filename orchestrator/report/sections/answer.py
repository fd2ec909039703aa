"""The first lines of a report: which arm helps the objective, what that costs, what explains it, what is not shown."""

from collections.abc import Iterator, Sequence

from orchestrator.report.answers import complete_trials, search_answers
from orchestrator.report.pages.document import Block, Bullets, Heading
from orchestrator.report.pages.numbers import listed, number
from orchestrator.report.sections.comparison_results import ALPHA, StageResults, stages_of, verdict
from orchestrator.report.sections.headline import evidence, headline, ranked, with_difference, with_intervals
from orchestrator.report.source import Results
from orchestrator.report.statistics.sign_flip import seeds_needed
from trainable.evaluate.metrics.glossary import in_words
from trainable.evaluate.metrics.names import CONTEXT_GAP, CONTEXT_RARE_RELIANCE, CONTEXT_RELIANCE
from trainable.presets import COMPONENTS, Preset

REWEIGHTING: Preset = "class_weighted"
"""What may raise rare classes without taking anything away: a control of every arm."""
CONTEXT_METRICS = (CONTEXT_RELIANCE, CONTEXT_RARE_RELIANCE, CONTEXT_GAP)
"""How far a network leans on context; less is better."""


def answer_blocks(results: Results, metrics: Sequence[str]) -> Iterator[Block]:
    """The answer of each comparison, or why there is none yet; nothing where no run is complete."""
    stages = list(stages_of(results).values())
    lines = [line for stage in stages for line in _of_stage(stage, metrics, named=len(stages) > 1)]
    lines += _of_search(results)
    if lines:
        lines += [f"{metric}: {words}." for metric in results.objective_metrics if (words := in_words(metric))]
        yield Heading("Answer")
        yield Bullets(tuple(lines))


def _of_stage(stage: StageResults, metrics: Sequence[str], *, named: bool) -> Iterator[str]:
    for objective in stage.results.objective_metrics:
        differences = stage.differences(objective)
        if not any(paired.n for paired in differences.values()):
            yield f"{stage.title}: no pair of complete runs has {objective} yet: nothing can be said."
            continue
        where = f"{stage.title}: " if named else ""
        better, worse, silent = (ranked(stage, objective, kind) for kind in ("better", "worse", "not shown"))
        yield where + headline(stage, objective)
        if better:
            yield from _explained(stage, objective, better[0])
            yield _price(stage, objective, better[0], metrics)
        if worse:
            yield f"Does harm to {objective}: {listed([with_difference(differences[arm]) for arm in worse])}."
        if silent and better:  # else the headline names those that come closest, and the tables all
            yield f"Not shown in {objective}, which is not absent: {with_intervals(differences, silent)}."


def _explained(stage: StageResults, objective: str, arm: str) -> Iterator[str]:
    """What its controls leave of the gain, and whether the network leans less on context."""
    controls = [control for control in _controls(stage, arm) if control != stage.plan.baseline]
    for control in controls:
        paired = stage.difference_between(arm, control, objective)
        gains = paired.better and paired.p is not None and paired.p <= ALPHA
        word = "does not explain it" if gains else "is not told apart from it"
        yield f"{control} {word}: {arm} minus {control} is {evidence(paired, adjusted=False)} (exploratory)."
    if not controls:
        yield "No arm is a control of it besides the baseline: what explains the gain was not asked."
    context = [metric for metric in CONTEXT_METRICS if stage.differences(metric)[arm].n]
    for metric in context:
        paired = stage.differences(metric)[arm]
        means = f"{number(paired.baseline_mean)} to {number(paired.arm_mean)}"
        word = {"better": "less", "worse": "more", "not shown": "not shown to be less or more"}[verdict(paired)]
        yield f"Reliance on context: {word} ({metric} from {means}, {evidence(paired)})."
    if not context:
        yield "Whether the network leans less on context was not measured (evaluation.context)."


def _controls(stage: StageResults, arm: str) -> list[str]:
    """Arms that hold a part of what an arm does, and class weights."""
    presets = {one.name: one.levels.get("preset") for one in stage.arms}
    components = {str(preset): set(parts) for preset, parts in COMPONENTS.items()}
    parts = {name: components[str(preset)] for name, preset in presets.items() if preset in components}
    own = parts.get(arm, set())
    part_of_it = [name for name, held in parts.items() if held and held < own]
    weighted = [name for name, preset in presets.items() if preset == REWEIGHTING and name != arm]
    return list(dict.fromkeys([*weighted, *part_of_it]))


def _price(stage: StageResults, objective: str, arm: str, metrics: Sequence[str]) -> str:
    others = [m for m in metrics if m != objective and m not in CONTEXT_METRICS and stage.differences(m)[arm].n]
    if not others:
        return "Its price was not measured: no other metric was reported."
    paired = {metric: stage.differences(metric)[arm] for metric in others}
    told = {
        word: [f"{m} {evidence(p)}" for m, p in paired.items() if verdict(p) == word] for word in ("worse", "better")
    }
    price = f"Its price: {'; '.join(told['worse'])}." if told["worse"] else f"No price is shown in {listed(others)}."
    return f"{price} It gains {'; '.join(told['better'])}." if told["better"] else price


def _of_search(results: Results) -> Iterator[str]:
    """A search compares nothing: it runs one seed per configuration."""
    if not results.runs("search", "imported"):
        return
    yield from search_answers(results)
    if complete_trials(results) and "confirm" not in results.plans:
        yield f"One seed each shows nothing: {_how_to_confirm(results)}."


def _how_to_confirm(results: Results) -> str:
    """What runs the best again, with as many seeds as can show a difference."""
    compared = max(1, len(results.runs("reference")))  # the best and the references but one, which is the baseline
    section = f"confirm={{top: 1, seeds: {seeds_needed(compared, ALPHA)}}}"
    launch = results.origin.latest
    if launch is None or not launch.command:
        return f"--set '{section}' on the same study runs the best again on fresh seeds"
    return f"run the best again on fresh seeds with  {launch.command} --set '{section}'"
