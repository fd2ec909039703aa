"""What the user reads at the end: the answer, the best configuration against the reference trials, what to do next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan

from rich.console import Console

from orchestrator.store.flat_config import flatten
from orchestrator.store.shared_epochs import shared_epochs
from orchestrator.store.stage_plan import Stage, StagePlan
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Study
from orchestrator.terminal.arms_table import Judged, arms_table
from orchestrator.terminal.console import say, tell
from orchestrator.terminal.formats import duration
from orchestrator.terminal.leaders import leaders_of, leaders_table, picks_table, references_in_words, references_of
from trainable.evaluate.metrics.efficacy import ADVICE, Efficacy, is_control
from trainable.evaluate.metrics.names import DROPPED_PROBABILITY, KEPT_PROBABILITY, TRAIN_DROPPED

NO_EVIDENCE = (
    "One seed per configuration is no evidence: the winner was picked for its score, and differences between seeds can "
    "be as large."
)
TO_REPEAT = "Repeat the winner and the references on fresh seeds before you believe it."
TO_CONFIRM = "This runs it and the references on fresh seeds"

ORDER = ("study", "table", "best", "report", "runs", "page")
"""What a launch leaves, in the order in which one looks at it: a page of MLflow's opens once its server runs."""
SERVES = "mlflow ui"
"""Whether runs are seen by a command, not at an address."""
TO_OPEN = "MLflow: start its server by the command behind runs, wait until it answers, then open the page:"


@dataclass(frozen=True)
class Findings:
    """What the statistics say of a study, and what is to be done next; empty where they cannot be had."""

    answers: Sequence[str] = ()
    """The answer in sentences."""
    judged: Mapping[Stage, Mapping[str, Judged]] = field(default_factory=dict)
    """By stage and arm."""
    evidence: Mapping[Stage, str] = field(default_factory=dict)
    """What so many arms on so many seeds can show at best."""
    confirm: str | None = None
    """The command that repeats the best trial and the references on fresh seeds; None where that is done."""
    cost: str = ""
    """How many runs that are, and how long each takes; empty where it is not known."""


NOTHING_FOUND = Findings()


def print_summary(
    console: Console,
    study: Study,
    records: Sequence[Record],
    plans: Mapping[Stage, StagePlan],
    *,
    seconds: float,
    results: Mapping[str, str | None],
    findings: Findings = NOTHING_FOUND,
) -> None:
    """Print the end of a launch of so many seconds; ``results`` say where what is to be seen, None: nowhere."""
    runs = [record for record in records if record.planned.kind != "prefix"]
    counts = ", ".join(f"{n} {state}" for state in State if (n := sum(record.state is state for record in runs)))
    say(console, f"\nStudy {study.spec.study}: {counts}; {duration(seconds)} in this launch")
    if shared := shared_epochs(records).line():
        say(console, f"prefixes: {shared}")
    for answer in findings.answers:
        tell(console, answer)
    _print_leaders(console, study, records, warn="confirm" not in plans and findings.confirm is None)
    for plan in plans.values():
        _print_arms(console, study, records, plan, findings)
    _print_trouble(console, study, records)
    _print_places(console, results)
    if findings.confirm:
        tell(console, f"\n{NO_EVIDENCE} {TO_CONFIRM}{findings.cost}:")
        say(console, f"  {findings.confirm}")


def _print_places(console: Console, results: Mapping[str, str | None]) -> None:
    """Where what a launch leaves is to be seen, in the order in which one looks at it."""
    lines = {what: where for what in dict.fromkeys([*ORDER, *results]) if (where := results.get(what))}
    width = max(map(len, lines), default=0)
    for what, where in lines.items():
        if what == "runs" and "page" in lines and SERVES in where:
            tell(console, TO_OPEN)
        say(console, f"{what:<{width}}  {where}")


def _print_leaders(console: Console, study: Study, records: Sequence[Record], *, warn: bool) -> None:
    leaders, references = leaders_of(records, study.spec.objectives), references_of(records)
    if leaders or references:
        console.print(leaders_table(study.spec.objectives, leaders, references, console.width))
    for record in leaders:
        picks = picks_table(record)
        say(console, f"{record.key}:{'' if picks else ' no domain: nothing was searched'}")
        if picks:
            console.print(picks, markup=False, highlight=False)
    for line in references_in_words(references):
        tell(console, line)
    if leaders and warn:
        tell(console, f"{NO_EVIDENCE} {TO_REPEAT}")


def _print_arms(console: Console, study: Study, records: Sequence[Record], plan: StagePlan, findings: Findings) -> None:
    say(console, f"\n{plan.stage}: differences from {plan.baseline}, over pairs of equal seed")
    objective, judged = study.spec.objectives[0], findings.judged.get(plan.stage, {})
    console.print(arms_table(records, plan, objective, judged, console.width))
    if evidence := findings.evidence.get(plan.stage):
        tell(console, f"evidence: {evidence}")
    if plan.chosen:
        tell(console, f"path: {' -> '.join(plan.chosen)}")


def _print_trouble(console: Console, study: Study, records: Sequence[Record]) -> None:
    """What did not bite, what ran out of memory, what failed."""
    compared = [record for record in records if record.planned.kind not in ("search", "imported")]
    lame = _lame([*leaders_of(records, study.spec.objectives), *compared])
    if lame:
        tell(console, f"suppression hardly bites: {'; '.join(lame)}; {ADVICE}")
    for line in _out_of_memory(records):
        tell(console, line)
    for record in records:
        if record.state is State.FAILED:
            remark = "; nothing is lost: its runs train these epochs themselves" * (record.planned.kind == "prefix")
            tell(console, f"failed: {record.key}: {record.reason}{remark}")


def _lame(records: Sequence[Record]) -> list[str]:
    """Arms and trials whose drops hardly take anything away, with the figures; a control is not meant to."""
    groups: dict[str, list[Efficacy]] = {}
    for record in records:
        efficacy = _efficacy(record)
        if record.state is State.COMPLETE and efficacy is not None:
            groups.setdefault(record.planned.arm or record.key, []).append(efficacy)
    means = {name: mean for name, several in groups.items() if (mean := Efficacy.mean(several)) is not None}
    return [f"{n}, p(z) {mean.kept:.3f} -> {mean.dropped:.3f}" for n, mean in means.items() if not mean.bites]


def _out_of_memory(records: Sequence[Record]) -> list[str]:
    """Which trials met a GPU without memory and went on, by how."""
    then = {"shared": "run again alone on a GPU", "alone": "their activations computed again"}
    groups: dict[str, list[str]] = {}
    for record in records:
        if record.setbacks and record.state is not State.FAILED:
            last = record.setbacks[-1]
            how = "others held their memory, run again" if last.by_others else then.get(last.rung, "run again")
            groups.setdefault(how, []).append(record.key)
    return [f"out of GPU memory, {how}: {', '.join(keys)}" for how, keys in groups.items()]


def _efficacy(record: Record) -> Efficacy | None:
    control = is_control(flatten(record.planned.config).get)
    names = (KEPT_PROBABILITY, DROPPED_PROBABILITY, TRAIN_DROPPED)
    kept, dropped, shares = ([epoch.get(name, nan) for epoch in record.epochs] for name in names)
    return None if control else Efficacy.of(kept, dropped, shares)
