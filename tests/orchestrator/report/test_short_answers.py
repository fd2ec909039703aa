"""The sentences that the report, MLflow and the terminal say alike."""

import subprocess
import sys
from typing import Any

from made_studies import CONFIRM_GAINS, PRESET_ARMS, confirm_plan, preset_plan

from orchestrator.report.answers import NO_RUN, NO_TRIAL, short_answers
from orchestrator.report.source import read_results
from orchestrator.store.short_picks import short_picks

Make = Any  # conftest's builder of studies


def said(made: Any) -> tuple[str, ...]:
    return short_answers(read_results(made.write()))


def last(made: Any, key: str, metric: str = "val/miou") -> float:
    return float(next(record for record in made.records if record.key == key).epochs[-1][metric])


def test_a_search_says_first_that_it_is_no_evidence_and_how_far_it_is_from_plain(make: Make) -> None:
    made = make("search.trials=12")
    made.search(12)
    made.references()
    best = max((r for r in made.records if r.planned.kind == "search"), key=lambda r: r.epochs[-1]["val/miou"])
    best.epochs[-1]["val/rare_miou"], own = 0.9, best.epochs[-1]["val/miou"]
    plain, official = last(made, "reference-plain"), last(made, "reference-official")
    (line,) = said(made)
    picks = short_picks(best.planned.picks)
    expected = (
        f"No evidence (1 seed). Best of 12, {own - plain:+.4f} over plain: {picks}: val/miou {own:.4f}; "
        f"plain {plain:.4f}, official {official:.4f} ({own - official:+.4f})."
    )
    assert line == expected


def test_what_a_gain_costs_is_said_as_observed(make: Make) -> None:
    made = make(
        "objective={metric: val/context_gap, mode: min}", "search.trials=3", "search.references=[official, plain]"
    )
    made.search(3)
    made.references()
    for record in made.records:
        gap, rare, miou = (0.3, 0.9191, 0.9) if record.planned.kind == "reference" else (0.2, 0.7223, 0.91)
        record.epochs[-1].update({"val/context_gap": gap, "val/rare_miou": rare, "val/miou": miou})
    best, price = said(made)
    assert "Best of 3, −0.1000 under plain (better): " in best
    assert best.endswith("val/context_gap 0.2000 (smaller is better); plain 0.3000, official 0.3000 (−0.1000).")
    assert price == "Price (observed, not shown): val/rare_miou 0.7223, plain 0.9191 (−0.1968)."
    for record in made.records:
        record.epochs[-1].update({"val/context_gap": 0.3})
    best, price = said(made)
    assert "Best of 3, equal to plain: " in best
    assert price.startswith("Worse too (observed, not shown): val/rare_miou ")


def test_smaller_is_better_and_a_best_that_is_worse(make: Make) -> None:
    made = make("objective={metric: val/ece, mode: min}", "search.trials=3")
    made.search(3)
    made.references()
    for record in made.records:
        record.epochs[-1].update({"val/ece": 0.1 if record.planned.kind == "reference" else 0.2, "val/rare_miou": 0.5})
        record.epochs[-1]["val/miou"] = 0.5
    (line,) = said(made)
    assert "Best of 3, +0.1000 over plain (worse): " in line
    assert "val/ece 0.2000 (smaller is better); plain 0.1000, official 0.1000 (+0.1000, worse)." in line


def test_references_stand_in_the_order_of_the_study_file(make: Make) -> None:
    made = make("search.trials=3", "search.references=[plain, official]")
    made.search(3)
    made.references()
    assert [run.key for run in read_results(made.write()).runs("reference")] == [
        "reference-plain",
        "reference-official",
    ]


def test_several_objectives(make: Make) -> None:
    made = make("objective=[{metric: val/miou, mode: max}, {metric: val/ece, mode: min}]", "search.trials=6")
    made.search(6)
    front, *best = said(made)
    assert front.startswith("No evidence (1 seed). ")
    assert front.endswith(" of 6 trials are on the Pareto front of val/miou and val/ece.")
    assert [line.split(" of 6: ")[0] for line in best] == ["Best val/miou", "Best val/ece"]
    assert not any("; " in line for line in best), "there are no references"


def test_nothing_complete(make: Make) -> None:
    made = make()
    made.search(3, failed=3)
    assert said(made) == (NO_TRIAL,)
    made = make("study=bare")
    made.references()
    assert said(made) == (NO_RUN,)


def test_a_comparison_answers_with_its_headline(make: Make) -> None:
    made = make()
    made.compare(preset_plan(9), PRESET_ARMS)
    (line,) = said(made)
    assert line.startswith("full helps: val/miou goes from 0.5")
    assert "adjusted p 0.020, against plain." in line


def test_where_nothing_is_shown_the_closest_arms_are_named(make: Make) -> None:
    made = make()
    made.compare(preset_plan(3), PRESET_ARMS)
    (line,) = said(made)
    said_first = "No arm is shown to help val/miou over plain on 3 seeds, too few to show any difference; closest: full"
    assert line.startswith(f"{said_first} +0.0")
    assert line.count("[") == 2, "two intervals, not a list of all arms"


def test_a_confirmation_names_what_was_picked(make: Make) -> None:
    made = make("search.trials=30")
    made.search(30)
    made.compare(confirm_plan(9), CONFIRM_GAINS)
    confirmed, searched = said(made)
    helps = next(record for record in made.records if record.key in confirmed and record.planned.kind == "search")
    assert confirmed.startswith(f"{short_picks(helps.planned.picks)} ({helps.key}) helps: ")
    assert searched.startswith("No evidence")


def test_one_pair_has_no_interval(make: Make) -> None:
    made = make()
    made.compare(preset_plan(1), PRESET_ARMS)
    (line,) = said(made)
    assert "on 1 seed, too few" in line
    assert "–" not in line


def test_a_search_answers_without_heavy_imports() -> None:
    """A terminal and MLflow say it after every launch."""
    check = "import sys; import orchestrator.report.answers; print([m for m in %r if m in sys.modules])"
    heavy = ["matplotlib", "scipy", "statsmodels", "optuna", "torch", "mlflow", "ray"]
    output = subprocess.run([sys.executable, "-c", check % heavy], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
