"""Answers to the questions of a reproducibility checklist, each worked out from the study; "no" where that is true.

The questions follow the NeurIPS paper checklist (2024) and Pineau et al., JMLR 22, 2021, arXiv 2003.12206. What a
study's directory cannot know is left to the authors.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from orchestrator.report.answers import short_answers
from orchestrator.report.pages.escapes import escape_markdown
from orchestrator.report.pages.numbers import count
from orchestrator.report.sections.comparison_results import StageResults, stages_of
from orchestrator.report.sections.limits import underpowered
from orchestrator.report.sections.setup import machines_in_words, time_in_words, trained_runs
from orchestrator.report.source import Results
from orchestrator.store import layout
from orchestrator.studyfile.space.trees import value_at
from trainable.evaluate.metrics.names import TEST_MIOU

AUTHORS = "for the authors"


class Answer(NamedTuple):
    """An answered question."""

    question: str
    answer: str
    because: str


def checklist(results: Results) -> str:
    """The questions with their answers, as Markdown."""
    lines = [f"# Checklist of study {escape_markdown(results.study)}", ""]
    for one in answers(results):
        lines += [f"- **{one.question}** {one.answer}. {escape_markdown(one.because)}"]
    return "\n".join(lines) + "\n"


def answers(results: Results) -> list[Answer]:
    """All of them, in order."""
    stages = list(stages_of(results).values())
    return [
        _claims(results, stages),
        Answer(
            "Are limitations discussed?", "Yes", "The report lists the limits of each comparison and of the search."
        ),
        _repeatable(results),
        Answer("Are all settings given?", "Yes", "hyperparameters.csv and study.yaml hold every setting."),
        _seeds(results),
        *_statistics(stages),
        *_planned(stages),
        _selection(results),
        _tuning(results),
        _missing(results),
        _compute(results),
        _data(results),
        Answer("Code, licences, ethics, broader impact, human subjects?", AUTHORS, "The study does not know them."),
    ]


def _claims(results: Results, stages: list[StageResults]) -> Answer:
    question = "Do the claims match the evidence?"
    lines = " ".join(short_answers(results))
    if not stages:
        return Answer(question, "No claim can be made", f"Nothing was compared over seeds. {lines}")
    return Answer(question, "As far as they say no more than this", lines)


def _repeatable(results: Results) -> Answer:
    question, launches = "Is there what it takes to repeat the runs?", results.origin.launches
    if not launches:
        return Answer(question, "No", "Versions, commit and command were not kept: an older version ran the study.")
    if any(launch.dirty for launch in launches):
        return Answer(question, "No", "A launch ran code with changes that were not committed.")
    if not all(launch.commit for launch in launches):
        return Answer(question, "Partly", "Versions, command and seeds are kept; the code was no git checkout.")
    if len({launch.commit for launch in launches}) > 1:
        return Answer(question, "Partly", "The launches ran different commits; versions.csv has them all.")
    return Answer(question, "Yes", "study.yaml, seeds, versions, commit and command are in this supplement.")


def _seeds(results: Results) -> Answer:
    runs = trained_runs(results)
    seeds = len({run.seed for run in runs})
    because = f"{count(seeds, 'seed')} over {count(len(runs), 'run')}; column seed of {layout.TABLE}."
    return Answer("Are random seeds given and varied?", "Yes" if seeds > 1 else "No", because)


def _statistics(stages: list[StageResults]) -> Iterator[Answer]:
    question = "Are error bars and tests of significance reported?"
    if not stages:
        yield Answer(question, "No", "A search has one seed per configuration: there is nothing to test.")
    for stage in stages:
        hopeless = underpowered(stage)
        what = f"{stage.title}: 95 % t intervals over {count(len(stage.blocks), 'seed')}, exact paired sign-flip tests,"
        what += " adjusted for all arms by Holm's method."
        yield Answer(question, "Partly" if hopeless else "Yes", f"{what} {hopeless}" if hopeless else what)


def _planned(stages: list[StageResults]) -> Iterator[Answer]:
    question = "Was the comparison planned before its results were known?"
    for stage in stages:
        digest = stage.results.plan_hashes.get(stage.plan.stage, "unknown")
        if stage.plan.earlier:
            yield Answer(question, "No", f"{stage.title}: the plan was changed after runs had begun (now {digest}).")
        elif stage.plan.design == "path":
            yield Answer(question, "Partly", f"{stage.title}: factors and seeds were; the arms follow from results.")
        else:
            yield Answer(question, "Yes", f"{stage.title}: the plan {digest} was written before the first run.")


def _selection(results: Results) -> Answer:
    question = "Are results reported on data that chose nothing?"
    if TEST_MIOU in results.metrics:
        return Answer(question, "Yes", "The test/ metrics are of a split that chose nothing; all others are not.")
    if results.runs("search", "imported"):
        return Answer(question, "No", "The search chose on the evaluation split that is reported.")
    return Answer(question, "Partly", "Nothing was chosen by a search here, but there is no test split.")


def _tuning(results: Results) -> Answer:
    question = "Were baselines tuned with the same budget?"
    if not results.runs("search", "imported"):
        return Answer(question, "Not tuned here", "No arm was searched in this study; base settings are the file's.")
    trials = value_at(results.specification, "search.trials")
    return Answer(question, "No", f"The search spent up to {trials} trials on its space; references ran once each.")


def _missing(results: Results) -> Answer:
    runs = [run for run in results.every_run if run.kind != "prefix"]
    states = Counter(run.state for run in runs if not run.complete)
    if not states:
        return Answer("Are failed runs reported?", "Yes", f"None: all {len(runs)} runs were trained to their end.")
    listing = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    return Answer("Are failed runs reported?", "Yes", f"{listing} of {len(runs)}; they enter no mean and no test.")


def _compute(results: Results) -> Answer:
    question, said = "Is the compute given?", "; ".join(time_in_words(results))
    if not results.origin.claims:
        return Answer(question, "Partly", f"{said}; on which machines was not kept.")
    return Answer(question, "Yes", f"{said}; {machines_in_words(results)}.")


def _data(results: Results) -> Answer:
    question, name = "Are the data available?", value_at(results.specification, "data.name")
    if name == "shapes":
        return Answer(question, "Yes", "They are made by the code, from a seed.")
    return Answer(
        question, AUTHORS, f"Data set {name}; versions.csv has the fingerprint of its files where it was kept."
    )
