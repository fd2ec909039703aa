"""What MLflow's descriptions say of every kind of study: question, answer, table, links, within MLflow's limits.

They stand here and not beside the tracker because they are made from the same studies as the reports.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from made_studies import PRESET_ARMS, MadeStudy, factorial_gains, factorial_plan, preset_plan

from orchestrator.report.answers import short_answers
from orchestrator.report.source import read_results
from orchestrator.store.stage_plan import Arm
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Objective
from orchestrator.tracking.links import Links
from orchestrator.tracking.notes import MOST_OF_RUN, is_free
from orchestrator.tracking.study_note import begun_note, experiment_note, study_note
from orchestrator.tracking.trial_note import trial_note

Make = Any  # conftest's builder of studies
MIOU, ECE = Objective(metric="val/miou", mode="max"), Objective(metric="val/ece", mode="min")


def described(made: MadeStudy, views: Sequence[str] = ("charts", "table")) -> str:
    runs = {record.key: f"id-{record.key}" for record in made.records}
    links = Links("7", "parent", runs, {title: f"#/{title}" for title in views})
    note = study_note(read_results(made.write()), links)
    assert len(note) <= MOST_OF_RUN
    assert is_free(note), "it is ours"
    return note


def rows(note: str, first: str) -> list[list[str]]:
    """Cells of the rows whose first cell holds a text."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in note.splitlines() if line[:1] == "|"]
    return [cells for cells in lines if first in cells[0]]


def test_a_search_has_its_answer_first_then_question_links_and_a_table(make: Make) -> None:
    made = make("search.trials=12")
    made.search(12, failed=1, pruned=2)
    made.references()
    note = described(made)
    answer, question, where, *_ = note.split("\n\n")
    assert answer == f"**Answer.** {' '.join(short_answers(read_results(made.store)))}"
    assert question.startswith("**Question.** Which sampling, layer, p_max, lr, alpha")
    assert "give the largest val/miou? Trained: fpn with resnet18 on shapes (64 x 64), 5 epochs" in question
    assert where.startswith("14 runs: 11 complete, 2 pruned, 1 failed. [charts](#/charts) · [table](#/table)")
    best = max(made.records[3:12], key=lambda record: record.epochs[-1]["val/miou"])
    page = f"(#/experiments/7/runs/id-{best.key}?workflowType=machine_learning)"
    assert where.endswith(f"best trial of the search: [{best.key}]{page}")
    table = rows(note, "search-")
    assert len(table) == 9, "those that were trained to their end"
    plain = next(record for record in made.records if record.key == "reference-plain").epochs[-1]["val/miou"]
    own = best.epochs[-1]["val/miou"]
    assert table[0][0] == f"[{best.key}]{page}"
    assert table[0][2:] == [f"{own:.4f}", f"{own - plain:+.4f}".replace("-", "−")]
    assert rows(note, "reference-plain")[0][1:] == ["the model without suppression", f"{plain:.4f}", "–"]
    assert "One seed per trial is no evidence" in note
    assert "`--set 'confirm={top: 1, seeds: 8}'`" in note
    assert "- val/context_gap: IoU that objects lose in the wrong context; smaller is better" in note


def test_a_metric_of_which_less_is_better_and_several_objectives(make: Make) -> None:
    made = make("objective=[{metric: val/ece, mode: min}, {metric: val/miou, mode: max}]", "search.trials=6")
    made.search(6)
    made.references()
    note = described(made)
    assert "give the smallest val/ece and largest val/miou?" in note
    assert rows(note, "trial")[0] == ["trial", "what", "val/ece ↓", "beside plain", "val/miou ↑", "beside plain"]
    best = min(made.records[:6], key=lambda record: record.epochs[-1]["val/ece"])
    assert best.key in rows(note, "search-")[0][0], "the best of the front by the first objective"


def test_a_search_without_a_complete_trial_says_so(make: Make) -> None:
    made = make("search.trials=2")
    made.search(2, failed=2)
    note = described(made)
    assert note.startswith("**Answer.** No answer yet")
    assert "2 runs: 2 failed." in note
    assert rows(note, "search-") == []


def test_an_ablation_has_means_differences_and_intervals_best_arm_first(make: Make) -> None:
    made = make()
    plan = preset_plan(6)
    made.compare(plan, PRESET_ARMS, states={("full", 0): (State.FAILED, "out of memory")})
    note = described(made)
    assert "Which arms have the largest val/miou?" in note
    arms = [cells for cells in rows(note, "**") if cells[0].startswith("**")]
    assert arms[0][:1] + arms[0][2:] == ["**plain**: the model without suppression", "baseline", "", "6"]
    assert arms[1][0] == "**full**: suppression as the file writes it"
    assert arms[1][4] == "5", "pairs"
    assert arms[1][3].startswith("[+0.0")
    assert arms[-1][0].startswith("**random\\_channels**") or arms[-1][0].startswith("**random_channels**")
    assert "One seed per trial" not in note


@pytest.mark.parametrize("arms", [12, 300])
def test_arms_of_any_number_and_name_fit(arms: int, make: Make) -> None:
    made = make()
    names = [f"arm | *{number}* {'long name ' * (number % 9)}" for number in range(arms)]
    plan = replace(preset_plan(2), arms=tuple(Arm(name) for name in names), baseline=names[0])
    made.compare(plan, {name: 0.001 * number for number, name in enumerate(names)})
    note = described(made)
    table = [line for line in note.splitlines() if line.startswith("| **arm \\| \\*")]
    assert 2 < len(table) <= 21
    assert ("further arms" in note) == (len(table) < arms)
    assert "What the figures mean." in note


def test_a_factorial_has_its_arms(make: Make) -> None:
    made = make()
    plan = factorial_plan()
    made.compare(plan, factorial_gains(plan))
    assert len(rows(described(made), "**arm-")) == 12


def test_a_study_that_has_begun_says_what_it_asks(make: Make) -> None:
    made = make()
    note = begun_note(made.study.resolved(), (MIOU,), Links("7", "", {}, {"charts": "#/c"}))
    assert note.startswith("**Question.** Which sampling, layer, p_max")
    assert "[charts](#/c)" in note
    assert is_free(note)


def test_an_experiment_lists_its_studies_with_their_answers(make: Make) -> None:
    made = make("search.trials=3")
    made.search(3)
    assert "This run's own metric val/miou/final is that of the best trial of the search." in described(made)
    note = experiment_note([("one", "[table](#/t)", described(made)), ("two", "[run](#/r)", "by hand")])
    assert note.startswith("**one** ([table](#/t)): No evidence (1 seed). Best of 3: ")
    assert "\n\n**two** ([run](#/r)): none yet." in note


def planned(key: str, kind: Any = "search", **more: Any) -> Planned:
    config = {"train": {"epochs": 2}, "data": {"name": "shapes"}, "seed": 3}
    return Planned(key, kind, 0, config, more.pop("picks", None), **more)


def trial(key: str, value: float, kind: Any = "search", **more: Any) -> Record:
    return Record(planned(key, kind, **more), ({"val/miou": 0.1}, {"val/miou": value})).ended(State.COMPLETE)


def test_a_trial_says_its_score_its_rival_and_what_was_picked() -> None:
    picks = {"suppression.p_max": 0.845765592, "suppression.layer": '["encoder.4","decoder"]', "train.x": None}
    note = trial_note(trial("search-0003", 0.5, picks=picks), (MIOU,), trial("reference-plain", 0.2, "reference"), None)
    first, table, _ = note.split("\n\n")
    assert first.startswith("val/miou 0.5000 (+0.3000 beside plain). Trial of the search (encoder.4+decoder, p_max 0.8")
    assert first.endswith("one seed, complete after 2 epochs.")
    assert "| suppression.p_max | 0.8458 |" in table
    assert "| suppression.layer | encoder.4 + decoder |" in table
    assert "| train.x | none |" in table


def test_runs_of_every_kind_say_what_they_are() -> None:
    arm = trial("ablation-a-s1", 0.4, "ablation", arm="a", block=1)
    baseline = trial("ablation-b-s1", 0.5, "ablation", arm="b", block=1)
    note = trial_note(arm, (MIOU,), baseline, {"suppression.alpha": 0.3})
    assert note.startswith("val/miou 0.4000 (−0.1000 beside b on the same seed). Arm a of the ablation on its seed 2,")
    assert "| suppression.alpha | 0.3 |" in note
    own = trial_note(baseline, (MIOU,), baseline, {})
    assert own.startswith("val/miou 0.5000. Arm b"), "the baseline has no rival"
    reference = trial_note(trial("reference-official", 0.1, "reference"), (MIOU,), None, None)
    assert "Reference: DropClass as published, from its small initial weights; one seed" in reference
    failed = replace(trial("search-0001", 0.1, picks={}), state=State.FAILED, reason="ValueError: the loss is nan")
    assert "failed after 2 of 2 epochs: ValueError: the loss is nan." in trial_note(failed, (MIOU,), None, None)
    running = Record(planned("search-0002", picks={"train.lr": 0.1}))
    text = trial_note(running, (MIOU, ECE), trial("reference-plain", 0.2, "reference"), None)
    assert text.startswith("Trial of the search (lr 0.1), one seed, running, 2 epochs to train.")
