"""What a launch says at its end: the answer, intervals, the command that confirms; and what it does not break."""

import io
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_studies import PRESET_ARMS, MadeStudy, begin, preset_plan
from rich.console import Console

from orchestrator.driver.stop import Stop
from orchestrator.launch.findings import findings_of
from orchestrator.launch.open_study import OpenStudy, open_history
from orchestrator.store.commands import again
from orchestrator.store.layout import TABLE
from orchestrator.studyfile import load
from orchestrator.sweep import parser
from orchestrator.terminal.summary import NO_EVIDENCE, NOTHING_FOUND, TO_CONFIRM, Findings, print_summary
from trainable.evaluate.metrics.names import EPOCH_SECONDS

Make = Callable[..., MadeStudy]
COMMAND = again(["s.yaml", "--set", "train.epochs=5", "--storage", "my studies"])


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return lambda *overrides: begin(tmp_path, *overrides)


def opened(made: MadeStudy, stop: Stop | None = None) -> OpenStudy:
    store = made.write()
    for record in made.records:
        store.judge(record, {})
    console = Console(file=io.StringIO(), width=120)
    study = open_history(made.study, store, console, stop or Stop("again"), retry_failed=False)
    study.stages.next()  # derives the plans
    return study


def summary(study: OpenStudy, findings: Findings, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    plans = study.stages.plans
    print_summary(console, study.study, study.stages.known, plans, seconds=1, results={}, findings=findings)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_search_ends_with_the_command_that_confirms_it(make: Make) -> None:
    made = make("search.trials=12", "search.references=[plain, official]")
    made.search(12)
    made.references()
    study = opened(made)
    findings = findings_of(study, COMMAND)
    assert findings.answers[0].startswith("No evidence (1 seed). Best of 12, ")
    assert findings.confirm == f"{COMMAND} --set 'confirm={{top: 1, seeds: 8}}'"
    words = shlex.split(findings.confirm)
    options = parser().parse_args(words[words.index("orchestrator.sweep") + 1 :])
    assert options.storage == "my studies"
    confirmed = load(made.study.path, options.set, env={}).spec.confirm
    assert confirmed is not None
    assert (confirmed.top, confirmed.seeds) == (1, 8)
    for width in (80, 120):
        text = summary(study, findings, width)
        assert text.rstrip().endswith(f"  {findings.confirm}")
        assert " ".join(TO_CONFIRM.split()) in " ".join(text.split())
        assert "plain: the model without suppression" in text
        assert " ".join(text.split()).count(NO_EVIDENCE) == 1


def test_the_command_says_how_many_runs_it_makes_and_how_long_one_took(make: Make) -> None:
    made = make("search.trials=3", "search.references=[plain, official]")
    made.search(3)
    made.references()
    for record in made.records:
        for epoch in record.epochs:
            epoch[EPOCH_SECONDS] = 150.0 / len(record.epochs)
    study = opened(made)
    said = " ".join(summary(study, findings_of(study, COMMAND)).split())
    assert "on fresh seeds (24 runs; one took 2 min 30 s on average here):" in said


@pytest.mark.parametrize("setting", ["search.references=[]", "confirm={top: 1, seeds: 2}"])
def test_what_cannot_be_confirmed_or_is_names_no_command(setting: str, make: Make) -> None:
    made = make("search.trials=3", setting)
    made.search(3)
    assert findings_of(opened(made), COMMAND).confirm is None


def test_so_many_references_need_more_seeds(make: Make) -> None:
    names = "[plain, official, plain_small, class_weighted, focal, dice, ohem]"
    made = make("search.trials=3", f"search.references={names}")
    made.search(3)
    assert "seeds: 9}" in str(findings_of(opened(made), COMMAND).confirm), "2**-8 < 0.05 / 7 < 2**-7"


def test_a_study_without_a_complete_trial_has_an_end_too(make: Make) -> None:
    made = make("search.trials=2")
    made.search(2, failed=2)
    study = opened(made)
    findings = findings_of(study, COMMAND)
    assert findings.confirm is None
    assert findings.answers == ("No answer yet: no trial of the search was trained to its end.",)
    assert "failed: search-0001: ValueError: loss is not finite" in summary(study, findings)


def test_an_ablation_has_intervals_adjusted_p_and_what_can_be_shown(make: Make) -> None:
    made = make("search.references=[plain]")
    made.compare(preset_plan(9), PRESET_ARMS)
    stages: Any = SimpleNamespace(plans={"ablation": preset_plan(9)}, known=made.records)
    study = OpenStudy(made.study, made.write(), stages, Console(file=io.StringIO()), Stop("again"))
    findings = findings_of(study, COMMAND)
    full, block = findings.judged["ablation"]["full"], findings.judged["ablation"]["two_path"]
    assert full.verdict == "better"
    assert full.low is not None
    assert full.low > 0.02
    assert block.verdict == "not shown"
    assert findings.confirm is None
    assert findings.evidence["ablation"].startswith("9 seeds: no p below 0.0039 is possible; 5 comparisons")
    for width in (80, 120):
        lines = summary(study, findings, width).splitlines()
        text = " ".join(" ".join(lines).split())
        assert all(len(line) <= width for line in lines)
        assert "95 % interval" in text
        assert full.interval.split()[0] in text, "on two lines where there is no room"
        assert f"{full.probability.split()[0]} better" in text
        assert f"evidence: {findings.evidence['ablation']}" in text


def test_what_goes_wrong_is_not_the_studys_end(make: Make) -> None:
    made = make("search.trials=2")
    made.search(2)
    study = opened(made)
    study.store.write_bytes(TABLE, b"no table")
    assert findings_of(study, COMMAND) == NOTHING_FOUND
    assert NO_EVIDENCE in " ".join(summary(study, NOTHING_FOUND).split())


def test_a_stop_does_not_wait_for_statistics(make: Make) -> None:
    made = make("search.trials=2")
    made.search(2)
    stop = Stop("again", leave=lambda _code: None)
    study = opened(made, stop)
    stop.settle()
    stop.ask("its time ends", 75)
    assert findings_of(study, COMMAND) == NOTHING_FOUND
