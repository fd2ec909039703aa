"""The description of a study's parent run in MLflow: question, answer, table, links, what the figures mean.

A colleague opens this page first. It is made from the study's table, as the report is, so that both say the same.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from math import inf, isfinite
from typing import TYPE_CHECKING

from pydantic import JsonValue

from orchestrator.report.answers import best_trial, complete_trials, short_answers
from orchestrator.report.pages.numbers import NOTHING, count, interval, listed, number, setting, signed
from orchestrator.report.source import Results, Run
from orchestrator.store import layout
from orchestrator.store.ranking import undominated
from orchestrator.store.short_picks import FIRST, short_names, short_picks
from orchestrator.store.stage_plan import Arm
from orchestrator.store.trial_record import State, reference_key, reference_name
from orchestrator.studyfile import Objective
from orchestrator.studyfile.space.notation import is_domain
from orchestrator.studyfile.space.trees import value_at
from orchestrator.tracking.links import Links
from orchestrator.tracking.notes import MOST_OF_EXPERIMENT, MOST_OF_RUN, escaped, sign, table
from trainable.configfile.node import JsonObject
from trainable.evaluate.metrics.efficacy import ADVICE, Efficacy, is_control
from trainable.evaluate.metrics.glossary import with_direction
from trainable.evaluate.metrics.names import (
    CONTEXT_GAP,
    DROPPED_PROBABILITY,
    FINAL,
    KEPT_PROBABILITY,
    MIOU,
    RARE_MIOU,
    TRAIN_DROPPED,
)
from trainable.presets import preset_in_words

if TYPE_CHECKING:
    from orchestrator.report.sections.comparison_results import StageResults

ANSWER, QUESTION = "**Answer.**", "**Question.**"
ROWS = (20, 10, 5, 2)
"""Trials or arms of a table; fewer where the description would be too long."""
MOST_SETTINGS = 8
"""Settings that the question names."""
CONFIRM = "--set 'confirm={top: 1, seeds: 8}'"
"""What makes evidence of a search."""


def study_note(results: Results, links: Links) -> str:
    """The description of a study with results, as it is signed."""
    text = ""
    for rows in ROWS:
        text = "\n\n".join(_paragraphs(results, links, rows))
        if len(text) < MOST_OF_RUN - 200:
            break
    return sign(text, MOST_OF_RUN)


def _paragraphs(results: Results, links: Links, rows: int) -> Iterator[str]:
    yield f"{ANSWER} {' '.join(map(escaped, short_answers(results)))}"
    yield question(results.specification, results.objectives, set(results.plans))
    yield f"{_counted(results)} {_links(results, links)}"
    for plan in results.plans.values():
        from orchestrator.report.sections.comparison_results import StageResults  # late: only comparisons need it

        yield from _of_stage(StageResults(results, plan), rows)
    if results.runs("search", "imported", "reference"):
        yield from _of_search(results, links, rows)
    if lame := _lame(results):
        yield f"**Suppression hardly bites** in {escaped(listed(lame))}: {ADVICE}."
    yield _words(results)


def question(
    specification: Mapping[str, JsonValue], objectives: Sequence[Objective], planned: Collection[str] = ()
) -> str:
    """What the study asks, of what is trained how on which data; ``planned`` are its comparing stages."""
    tree = dict(specification)
    goals = " and ".join(f"{'largest' if o.mode == 'max' else 'smallest'} {escaped(o.metric)}" for o in objectives)
    asked = [f"{_searched(tree)} give the {goals}?"] if tree.get("search") else []
    stages = {"confirm": "Do the best of it keep that on fresh seeds?", "ablation": f"Which arms have the {goals}?"}
    asked += [text for stage, text in stages.items() if tree.get(stage) or stage in planned]
    return f"{QUESTION} {' '.join(asked)} {_trained(tree)}"


def _searched(tree: Mapping[str, JsonValue]) -> str:
    names = sorted(_domains(tree, ""), key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    short = [escaped(name) for name in short_names(names).values()]
    return f"Which {listed(short, MOST_SETTINGS)}" if names else "What does the trial as written"


def _domains(tree: object, path: str) -> Iterator[str]:
    if is_domain(tree):
        yield path
    elif isinstance(tree, Mapping):
        for key, child in tree.items():
            if path or key in ("preset", "data", "model", "train", "suppression", "evaluation"):
                yield from _domains(child, f"{path}.{key}" if path else key)


def _trained(tree: Mapping[str, JsonValue]) -> str:
    at = partial(_written, tree)
    size = at("data.size").replace(" + ", " x ")
    return (
        f"Trained: {at('model.arch')} with {at('model.encoder')} on {at('data.name')} ({size}), "
        f"{at('train.epochs')} epochs, batches of {at('train.batch_size')}."
    )


def _written(tree: Mapping[str, JsonValue], path: str) -> str:
    value = value_at(tree, path)
    return "(searched)" if is_domain(value) else escaped(setting(value))


def _counted(results: Results) -> str:
    """How many runs ended how."""
    runs = [run for run in results.every_run if run.kind != "prefix"]
    states = ", ".join(f"{n} {state}" for state in State if (n := sum(run.state is state for run in runs)))
    return f"{count(len(runs), 'run')}: {states}."


def _links(results: Results, links: Links) -> str:
    shown = [f"[{title}]({address})" for title, address in links.views.items()]
    if results.objects is not None and results.objects.files(layout.REPORT):
        shown.append(f"[report]({links.artifact(f'{layout.REPORT}/report.html')})")
    trials = complete_trials(results)
    if trials and not results.plans:  # else what they confirmed counts
        best = best_trial(results, trials, results.objectives[0])
        shown.append(f"best trial of the search: {links.run(best.key)}")
    return " · ".join(shown)


def _of_stage(stage: "StageResults", rows: int) -> Iterator[str]:
    for metric in stage.results.objective_metrics:
        differences, values = stage.differences(metric), stage.values(metric)
        direction = 1 if stage.results.greater_is_better(metric) else -1
        arms = sorted(stage.others, key=lambda arm: -direction * _or_worst(differences[arm].arm_mean, direction))
        baseline = stage.plan.baseline
        words = {arm.name: _arm(arm, stage.results) for arm in stage.arms}
        lines = [(words[baseline], number(_mean(values[baseline])), "baseline", "", str(len(values[baseline])))]
        for arm in arms[:rows]:
            paired = differences[arm]
            own = number(_mean(values[arm]))
            lines.append((words[arm], own, signed(paired.difference), interval(paired.low, paired.high), str(paired.n)))
        heads = (f"arm ({stage.noun})", escaped(stage.results.arrow(metric)), "difference", "95 % interval", "seeds")
        yield table(heads, lines)
        if len(arms) > rows:
            yield f"{len(arms) - rows} further arms: the views and the report have them."


def _or_worst(value: float, direction: int) -> float:
    return value if isfinite(value) else -direction * inf


def _mean(values: Mapping[int, float]) -> float | None:
    return sum(values.values()) / len(values) if values else None


def _arm(arm: Arm, results: Results) -> str:
    """An arm's name with what it is: a preset in words, a configuration of the search by what was picked."""
    picks = next((run.picks for run in results.runs("search", "imported") if run.key == arm.name), None)
    words = preset_in_words(arm.name) if arm.levels.get("preset") == arm.name else escaped(short_picks(picks))
    return f"**{escaped(arm.name)}**" + (f": {words}" if words else "")


def _of_search(results: Results, links: Links, rows: int) -> Iterator[str]:
    metrics = results.objective_metrics
    plain = next((run for run in results.runs("reference") if run.key == reference_key("plain") and run.complete), None)
    trials = _ranked(results)
    lines = [
        (links.run(run.key), escaped(short_picks(run.picks)), *_scores(results, run, plain)) for run in trials[:rows]
    ]
    for run in results.runs("reference"):
        words = preset_in_words(reference_name(run.key)) or "reference"
        lines.append((links.run(run.key), words, *_scores(results, run, plain)))
    heads = [name for metric in metrics for name in (escaped(results.arrow(metric)), "beside plain")]
    yield table(("trial", "what", *heads), lines)
    if len(trials) > rows:
        yield f"{len(trials) - rows} further complete trials: the views have them."
    if not results.plans:
        yield (
            "One seed per trial is no evidence: the winner was picked for its score. To confirm it on fresh seeds, add "
            f"`{CONFIRM}` to the command that launched the study."
        )


def _ranked(results: Results) -> list[Run]:
    """Complete trials, the Pareto front first, then the best by the first objective."""
    trials, signs = complete_trials(results), [1 if o.mode == "max" else -1 for o in results.objectives]

    def scores(run: Run) -> list[float]:
        return [s * (results.last(run, m) or 0.0) for s, m in zip(signs, results.objective_metrics, strict=True)]

    front = undominated(trials, scores) if len(signs) > 1 else []
    return [*front, *sorted((run for run in trials if run not in front), key=scores, reverse=True)]


def _scores(results: Results, run: Run, plain: Run | None) -> Iterator[str]:
    for metric in results.objective_metrics:
        value = results.last(run, metric) if run.complete else None
        other = results.last(plain, metric) if plain is not None else None
        yield number(value) if run.complete else f"({run.state})"
        yield NOTHING if value is None or other is None or run is plain else signed(value - other)


def _lame(results: Results) -> list[str]:
    """Arms and trials whose drops hardly take anything away; a control is not meant to."""
    leaders = _ranked(results)[:1]
    groups: dict[str, list[Efficacy]] = {}
    for run in [*leaders, *results.runs("reference", "confirm", "ablation")]:
        curves = [results.curve(run, name).tolist() for name in (KEPT_PROBABILITY, DROPPED_PROBABILITY, TRAIN_DROPPED)]
        known = Efficacy.of(*curves) if run.complete and not is_control(partial(results.setting, run)) else None
        if known is not None:
            groups.setdefault(run.arm or run.key, []).append(known)
    means = {name: mean for name, several in groups.items() if (mean := Efficacy.mean(several)) is not None}
    return [f"{n} (p(z) {mean.kept:.3f} to {mean.dropped:.3f})" for n, mean in means.items() if not mean.bites]


def _words(results: Results) -> str:
    names = dict.fromkeys([*results.objective_metrics, MIOU, RARE_MIOU, CONTEXT_GAP])
    lines = [
        f"- {escaped(name)}: {words}" for name in names if name in results.metrics and (words := with_direction(name))
    ]
    figures = "Every figure is the last epoch's: the best epoch's would be too good."
    if complete_trials(results):
        own = escaped(f"{results.objective_metrics[0]}{FINAL}")
        figures += f" This run's own metric {own} is that of the best trial of the search."
    return f"What the figures mean. {figures}\n\n" + "\n".join(lines) if lines else figures


def begun_note(specification: JsonObject, objectives: Sequence[Objective], links: Links) -> str:
    """The description of a study that has no results yet, as it is signed."""
    views = " · ".join(f"[{title}]({address})" for title, address in links.views.items())
    lines = [question(specification, objectives), views, "The results are written here when a launch ends."]
    return sign("\n\n".join(lines), MOST_OF_RUN)


def experiment_note(studies: Sequence[tuple[str, str, str]]) -> str:
    """The description of an experiment, as it is signed: of each study its name, links to it, and its own description.

    One that was written by hand is left to its own page.
    """
    paragraphs = []
    for name, links, note in studies:
        answer = next((line for line in note.split("\n\n") if line.startswith(ANSWER)), f"{ANSWER} none yet.")
        paragraphs.append(f"**{escaped(name)}** ({links}): {answer.removeprefix(ANSWER).strip()}")
    return sign("\n\n".join(paragraphs), MOST_OF_EXPERIMENT)
