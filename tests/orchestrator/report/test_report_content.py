"""What reports say of studies of every kind, read from the Markdown of their blocks."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_studies import (
    CONFIRM_GAINS,
    PRESET_ARMS,
    confirm_plan,
    factorial_gains,
    factorial_plan,
    preset_plan,
)

from orchestrator.report.build import build, compose
from orchestrator.report.charts.drawing import save
from orchestrator.report.pages.document import Document, Table
from orchestrator.report.pages.rendering import render
from orchestrator.report.source import read_results
from orchestrator.store.masking import shown
from orchestrator.store.results_table import write_table
from orchestrator.store.stage_plan import Arm, StagePlan
from orchestrator.store.trial_record import State

Make = Any  # conftest's builder of studies


def report(made: Any, metrics: Sequence[str] | None = None, **options: Any) -> Document:
    results = read_results(made.write(**options))
    return compose(results, results.chosen_metrics(metrics))


def text(document: Document) -> str:
    return " ".join(render(document, "md", {}).replace("\\", "").split())


def table(document: Document, name: str) -> list[dict[str, str]]:
    found = next(t for t in document.tables if t.name == name)
    return [dict(zip(found.heads, (cell.text for cell in row), strict=True)) for row in found.rows]


def by_arm(document: Document, name: str) -> Mapping[str, dict[str, str]]:
    return {row["arm"]: row for row in table(document, name)}


def drawn(document: Document) -> None:
    """Every figure can be drawn and saved."""
    for picture in document.pictures:
        assert save(picture.draw(), picture.name, ["svg"])["svg"].startswith(b"<?xml")


def names(blocks: Sequence[Any]) -> list[str]:
    return [block.name for block in blocks]


def test_the_ablation_table(make: Make) -> None:
    made = make()
    made.compare(preset_plan(seeds=8), PRESET_ARMS)
    document = report(made)
    rows = by_arm(document, "ablation-val-miou")
    marks = {arm: [head for head, cell in row.items() if cell == "✓"] for arm, row in rows.items()}
    assert marks["plain"] == []
    assert marks["class_weighted"] == ["class weights"]
    assert marks["two_path"] == ["extra block", "two-path loss"]
    assert marks["full"] == ["extra block", "two-path loss", "class dropped", "suppression term", "channels by class"]
    last = {
        arm: np.array([r.epochs[-1]["val/miou"] for r in made.records if r.planned.arm == arm]) for arm in PRESET_ARMS
    }
    for arm in ("full", "random_channels"):
        difference = last[arm] - last["plain"]
        assert rows[arm]["val/miou ↑"] == f"{last[arm].mean():.4f} ± {last[arm].std(ddof=1):.4f}"
        assert rows[arm]["Δ"] == f"{difference.mean():+.4f}".replace("-", "−")
        assert rows[arm]["P(better)"] == f"{100 * (difference > 0).mean():.0f} %"
        assert rows[arm]["n"] == "8"
        assert float(rows[arm]["p"]) == pytest.approx(5 * 2 / 2**8, abs=5e-4), "Holm over five arms"
    said = text(document)
    assert "full: better than plain in val/miou (Δ" in said
    assert "random_channels: worse than plain in val/miou (Δ" in said
    silent = said.partition("A difference to plain in val/miou is not shown for ")[2].partition("].")[0]
    assert "two_path " in silent
    assert "dropped_path −" in silent, "a sentence for all of them, with their intervals"
    assert "no effect" not in said.replace("“no effect”", "")


def test_directions(make: Make) -> None:
    made = make()
    made.compare(preset_plan(seeds=8), PRESET_ARMS)
    row = by_arm(report(made, ["val/context_gap"]), "ablation-val-context-gap")["full"]
    assert row["Δ"].startswith("−")
    assert row["P(better)"] == "100 %"
    told = text(report(made, ["val/context_gap"]))
    assert "in val/context_gap" not in told, "picked afterwards: no headline"
    assert "full: better than plain in val/miou" in told, "the objective, asked for or not"


def test_metrics_by_default(make: Make) -> None:
    made = make("objective={metric: val/ece, mode: min}")
    made.compare(preset_plan(seeds=2), PRESET_ARMS)
    heads = next(t for t in report(made).tables if t.name == "ablation-overview").heads
    assert heads == (
        "arm",
        "val/ece ↓",
        "val/miou ↑",
        "val/rare_miou ↑",
        "val/context_gap ↓",
        "val/object_miou_swapped ↑",
    )


def test_two_seeds_cannot_show_anything(make: Make) -> None:
    made = make()
    made.compare(preset_plan(seeds=2), PRESET_ARMS)
    said = text(report(made))
    assert (
        "With 2 seeds the smallest possible p is 0.500, 1.000 after adjusting for 5 arms: no difference can be" in said
    )
    assert "8 seeds would be needed for 5 arms" in said
    assert "better than plain" not in said


def test_failed_and_stopped_runs_are_left_out_and_listed(make: Make) -> None:
    made = make()
    states = {("full", 1): (State.FAILED, "OutOfMemoryError: 2 GiB"), ("full", 3): (State.PRUNED, "stopped by hand"),
              ("full", 4): (State.INTERRUPTED, "the study was stopped")}  # fmt: skip
    made.compare(preset_plan(seeds=8), PRESET_ARMS, states=states, missing=[("two_path", 7)])
    document = report(made)
    rows = by_arm(document, "ablation-val-miou")
    assert rows["full"]["n"] == "5"
    assert rows["two_path"]["n"] == "7"
    good = [r.epochs[-1]["val/miou"] for r in made.records if r.planned.arm == "full" and r.state is State.COMPLETE]
    assert rows["full"]["val/miou ↑"].startswith(f"{np.mean(good):.4f}")
    said = text(document)
    assert "Left out: full, seed 101 (ablation-0010), failed: OutOfMemoryError: 2 GiB." in said
    assert "Left out: full, seed 103 (ablation-0022), stopped early: stopped by hand." in said
    assert "Left out: full, seed 104" in said
    assert "Left out: two_path, seed 107, not begun." in said
    assert "rest on fewer seeds than planned, the smallest on 5" in said
    assert "1 of 48 planned runs have not begun" in said
    assert "The study is unfinished: 1 run without an end." in said


def test_an_arm_whose_every_run_failed(make: Make) -> None:
    made = make()
    failed = {("full", block): (State.FAILED, "boom") for block in range(8)}
    made.compare(preset_plan(seeds=8), PRESET_ARMS, states=failed)
    document = report(made)
    row = by_arm(document, "ablation-val-miou")["full"]
    drawn(document)
    assert [row[head] for head in ("val/miou ↑", "Δ", "95 % interval", "p", "P(better)", "n")] == ["–"] * 5 + ["0"]
    assert "full: no pair of complete runs with plain, so nothing can be said on val/miou." in text(document)


def test_a_baseline_whose_every_run_failed(make: Make) -> None:
    made = make()
    failed = {("plain", block): (State.FAILED, "boom") for block in range(3)}
    made.compare(preset_plan(seeds=3), PRESET_ARMS, states=failed)
    document = report(made, ["val/miou"])
    assert "full: no pair of complete runs with plain" in text(document)
    drawn(document)


def test_nothing_complete_yet(make: Make) -> None:
    made = make()
    states = {(arm, block): (State.RUNNING, "") for arm in PRESET_ARMS for block in range(2)}
    made.compare(preset_plan(seeds=2), PRESET_ARMS, states=states)
    said = text(report(made))
    assert "No complete run of this stage reports val/miou" in said
    assert "The study is unfinished: 12 runs without an end." in said


def test_metrics_that_no_run_has_or_that_are_not_finite(make: Make) -> None:
    made = make()
    made.compare(preset_plan(seeds=4), PRESET_ARMS, lacking=["val/rare_miou"])
    made.records[0].epochs[-1]["val/context_gap"] = float("nan")
    document = report(made)
    assert "ablation-val-rare-miou" not in names(document.tables)
    assert {row["n"] for row in table(document, "ablation-val-context-gap")} == {"3"}, "block 0 has no pair"


def test_a_single_class_needs_no_heat_map(make: Make) -> None:
    made = make()
    made.compare(preset_plan(seeds=3), PRESET_ARMS, classes=["meadow"])
    document = report(made)
    assert "ablation-classes" not in names(document.pictures)
    assert "There is a single class (meadow)" in text(document)


@pytest.mark.parametrize("rare", [["disk_rising"], []])
def test_rare_classes_are_marked_where_they_are_known(make: Make, rare: list[str]) -> None:
    made = make()
    made.compare(preset_plan(seeds=3), PRESET_ARMS)
    document = report(made, rare=rare)
    classes = [row["class"] for row in table(document, "ablation-classes")]
    assert ("disk_rising (rare)" in classes) == bool(rare)
    assert ("none is marked" in text(document)) != bool(rare)
    assert "Exploratory" in text(document)


def test_factorial_effects(make: Make) -> None:
    made, plan = make(), factorial_plan(seeds=6)
    made.compare(plan, factorial_gains(plan))
    rows = {row["factor"]: row for row in table(report(made), "ablation-effects-val-miou")}
    expected = 0.04 * (1 - np.exp(-2.5))
    assert float(rows["suppression"]["effect"]) == pytest.approx(expected, abs=0.005)
    assert rows["suppression"]["levels"] == "none → defaults"
    assert rows["suppression"]["p"] == "<0.001"
    assert float(rows["train.class_weights"]["p"]) > 0.05
    assert rows["suppression.layer"]["effect"] == "–", "three levels have no single difference"
    assert "suppression × train.class_weights" in rows


def test_a_fraction_says_what_it_cannot_tell_apart(make: Make) -> None:
    made, plan = make(), factorial_plan(seeds=2, design="fractional")
    made.compare(plan, factorial_gains(plan))
    assert "suppression = suppression.layer:train.class_weights" in text(report(made))


def test_path(make: Make) -> None:
    levels = {"start": (0, 0), "a": (1, 0), "b": (0, 1), "b-a": (1, 1)}
    arms = tuple(Arm(name, {"suppression.p_max": p, "suppression.alpha": a}) for name, (p, a) in levels.items())
    factors = {"suppression.p_max": (0, 1), "suppression.alpha": (0, 1)}
    target = {"suppression.p_max": 1, "suppression.alpha": 1}
    plan = StagePlan(
        "ablation", "path", "start", arms, tuple(range(5)), factors, target=target, chosen=("start", "b", "b-a")
    )
    made = make()
    made.compare(plan, {"start": 0, "a": 0.01, "b": 0.05, "b-a": 0.04})
    document = report(made)
    rows = table(document, "ablation-path")
    assert [row["arm"] for row in rows] == ["start", "b", "b-a"]
    assert [row["change"] for row in rows] == ["start", "suppression.alpha: 0 → 1", "suppression.p_max: 0 → 1"]
    assert rows[1]["Δ to the step before"].startswith("+")
    assert rows[2]["Δ to the step before"].startswith("−")
    assert "It reached its target." in text(document)
    made.records.clear()
    made.compare(replace(plan, chosen=("start", "b")), {"start": 0, "a": 0.01, "b": 0.05, "b-a": 0.04})
    assert "It has not reached its target: suppression.p_max is still to change." in text(report(made))


def test_search_only(make: Make) -> None:
    made = make()
    made.references()
    made.search(30, failed=2, pruned=5)
    document = report(made)
    best = max((r for r in made.records if r.planned.kind == "search" and r.state is State.COMPLETE),
               key=lambda r: r.epochs[-1]["val/miou"])  # fmt: skip
    rows = table(document, "search-best")
    assert [row["what"] for row in rows] == ["best of the search", "reference: plain", "reference: official"]
    assert rows[0]["run"] == best.key
    assert rows[0]["val/miou ↑"] == f"{best.epochs[-1]['val/miou']:.4f}"
    picks = {row["setting"]: row[best.key] for row in table(document, "search-picks")}
    assert picks["suppression.p_max"] == f"{best.planned.config['suppression']['p_max']:.4g}"
    assert picks["suppression.sampling"] == best.planned.config["suppression"]["sampling"]["name"]
    kinds = [name.split("-")[1] for name in names(document.pictures)]
    assert kinds == ["history", "importance", "parallel", "slices", "options"]
    top = table(document, "search-top")
    assert len(top) == 10
    assert top[0]["run"] == best.key
    assert any(", tau " in row["picked"] for row in top), "what belongs to an option is said with it"
    classes = table(document, "search-classes")
    assert [row["class"] for row in classes][1] == "disk_rising (rare)"
    assert set(classes[0]) == {"class", "official", "plain", best.key, f"Δ {best.key} to plain"}
    said = text(document)
    assert "One seed each: the differences are no evidence." in said
    assert "2 runs failed (search-0000, search-0001): ValueError: loss is not finite" in said
    assert "5 runs stopped early" in said
    assert "The search has run 30 of 40 trials" in said


def test_a_short_search_says_why_importance_is_left_out(make: Make) -> None:
    made = make()
    made.search(5)
    document = report(made)
    assert "fANOVA and PED-ANOVA: left out, only 5 complete trials lie in the search space" in text(document)
    assert "search-importance-val-miou" not in names(document.pictures)


def test_importance_finds_the_setting_that_counts(make: Make) -> None:
    from orchestrator.report.sections.importance import importances
    from orchestrator.report.sections.searched_settings import read_knobs

    made = make()
    made.search(60)
    results = read_results(made.write())
    trials = results.runs("search")
    for found in importances(results, read_knobs(results, trials), trials, "val/miou"):
        assert sum(found.shares.values()) == pytest.approx(1, abs=1e-6)
        assert "suppression.sampling.inverse_frequency.tau" not in found.shares, "not all trials have it"
        assert found.shares["suppression.p_max"] > found.shares["suppression.layer"], found.method


def test_picks_are_read_back_from_the_table(make: Make) -> None:
    from orchestrator.report.sections.searched_settings import read_knobs

    made = make()
    made.references()
    made.search(30)
    results = read_results(made.write())
    picks = read_knobs(results, results.every_run).picks
    for record in made.records:
        if record.planned.kind == "search":
            config = made.study.space.trial(
                lambda name, _, key=record.key: picks[key][name], record.planned.config["seed"]
            )
            assert config.model_dump(mode="json") == record.planned.config
        else:
            assert not picks[record.key], "the references of this study were not picked"


def test_labels_are_told_apart_though_the_table_writes_text(make: Make) -> None:
    from orchestrator.report.sections.searched_settings import read_knobs

    made = make(
        "suppression.layer={choice: [decoder, encoder.4]}", "train.class_weights={choice: [null, log_frequency]}"
    )
    made.search(12)
    document = report(made)
    results = read_results(made.store)
    picks = read_knobs(results, results.every_run).picks
    for record in made.records:
        assert picks[record.key] == record.planned.picks
    assert {one["train.class_weights"] for one in picks.values()} == {None, "log_frequency"}
    drawn(document)


def test_picks_that_the_environment_hides_are_shown_by_name_and_in_no_figure(make: Make) -> None:
    made = make()
    made.search(12)
    store = made.write()
    from_env = {"suppression.layer": "${LAYER}", "train.lr": "${LR}"}
    write_table(store, [shown(record, from_env) for record in made.records])
    results = read_results(store)
    document = compose(results, ["val/miou"])
    rows = {row.pop("setting"): set(row.values()) for row in table(document, "search-picks")}
    assert (rows["suppression.layer"], rows["train.lr"]) == ({"${LAYER}"}, {"${LR}"})
    assert "1e-0" not in text(document)
    drawn(document)


def test_several_objectives(make: Make) -> None:
    made = make("objective=[{metric: val/miou, mode: max}, {metric: val/ece, mode: min}]", "search.pruner=null")
    made.search(12)
    made.compare(preset_plan(seeds=8), PRESET_ARMS)
    document = report(made)
    front = {row["run"] for row in table(document, "search-best")}
    scores = {
        r.key: (r.epochs[-1]["val/miou"], -r.epochs[-1]["val/ece"]) for r in made.records if r.planned.arm is None
    }
    expected = {
        k for k, v in scores.items() if not any(o != v and o[0] >= v[0] and o[1] >= v[1] for o in scores.values())
    }
    assert front == expected
    assert "search-pareto" in names(document.pictures)
    drawn(replace(document, blocks=tuple(b for b in document.blocks if getattr(b, "name", "") == "search-pareto")))
    said = text(document)
    assert "full: better than plain in val/miou" in said
    assert "full: better than plain in val/ece" in said


def test_all_three_stages(make: Make) -> None:
    made = make("search.trials=12")
    made.references()
    made.search(12)
    made.compare(confirm_plan(), CONFIRM_GAINS)
    made.compare(preset_plan(), PRESET_ARMS)
    document = report(made)
    said = text(document)
    assert said.index("## Ablation") < said.index("## Confirmation on fresh seeds") < said.index("## Search")
    assert "search-0007: better than plain in val/miou" in said
    assert "The confirmation, with its seeds and intervals, is what counts." in said
    assert "unfinished" not in said
    found = names([*document.tables, *document.pictures])
    assert len(found) == len(set(found)) + len({"ablation-classes", "confirm-classes"}), "a table and a figure share it"


def test_runs_without_a_plan_and_runs_the_plan_lacks(make: Make) -> None:
    made = make()
    made.compare(preset_plan(seeds=3), PRESET_ARMS)
    fewer = replace(preset_plan(seeds=2))
    fewer.write(made.store.objects)
    assert "Runs of this stage that its plan does not hold are left out: ablation-0012" in text(report(made))
    made.store.objects.delete("plan-ablation.json")
    assert "plan-ablation.json is missing, so the 18 runs of the ablation are left out." in text(report(made))


def test_a_study_without_trials(make: Make) -> None:
    assert "0 runs on shapes: none yet" in text(report(make()))


def test_many_arms(make: Make) -> None:
    made = make()
    arms = {f"arm-{number:03d}": 0.0 for number in range(60)}
    plan = preset_plan(
        seeds=2, baseline="arm-000", arms=tuple(Arm(name, {"train.lr": n / 1e4}) for n, name in enumerate(arms))
    )
    made.compare(plan, arms)
    document = report(made, ["val/miou"])
    assert len(table(document, "ablation-val-miou")) == 60
    assert max(picture.draw().get_figheight() for picture in document.pictures) < 20


def test_a_thousand_trials_take_seconds(make: Make) -> None:
    made = make("search.trials=1000")
    made.search(1000, failed=10, pruned=300)
    store = made.write()
    began = time.process_time()
    files = build(store, formats=["html"])
    assert time.process_time() - began < 20
    assert sum(map(len, files.values())) < 4_000_000, "a page that mails and loads"


def test_tables_hold_a_cell_for_every_head(make: Make) -> None:
    made = make()
    made.references()
    made.search(8)
    made.compare(confirm_plan(2), CONFIRM_GAINS)
    plan = factorial_plan(2)
    made.compare(plan, factorial_gains(plan))
    for found in report(made).tables:
        assert isinstance(found, Table)
        assert {len(row) for row in found.rows} == {len(found.heads)}, found.name


def test_the_best_epoch_stands_beside_the_last_without_a_test(make: Make) -> None:
    made = make()
    made.compare(preset_plan(seeds=3), PRESET_ARMS, states={("full", 1): (State.PRUNED, "stopped by hand")})
    peak = {"val/miou": 0.9}
    made.records = [replace(r, epochs=(r.epochs[0], r.epochs[1] | peak, *r.epochs[2:])) for r in made.records]
    document = report(made)
    row, baseline = (by_arm(document, "ablation-best-epoch-val-miou")[arm] for arm in ("full", "plain"))
    assert row["val/miou, best epoch, biased upwards"] == "0.9000 ± 0.0000"
    assert (row["Δ of best epochs"], baseline["Δ of best epochs"]) == ("0.0000", "baseline")
    assert row["which epochs"] == "2 (2 to 2)"
    main = by_arm(document, "ablation-val-miou")["full"]
    assert (row["val/miou ↑, last epoch"], row["Δ"]) == (main["val/miou ↑"], main["Δ"])
    assert not [t.name for t in document.tables if t.name.startswith("ablation-best-epoch") and "miou" not in t.name]


def test_each_objective_of_a_search_has_its_best_epoch(make: Make) -> None:
    made = make("objective=[{metric: val/miou, mode: max}, {metric: val/ece, mode: min}]")
    made.search(2)
    row = table(report(made), "search-best")[0]
    epochs = next(record.epochs for record in made.records if record.key == row["run"])
    for metric, choose, bias in (("val/miou", max, "upwards"), ("val/ece", min, "downwards")):
        values = [epoch[metric] for epoch in epochs]
        best = f"{choose(values):.4f} (epoch {values.index(choose(values)) + 1})"
        assert row[f"{metric}, best epoch, biased {bias}"] == best


def test_blocks_that_share_a_prefix_are_named_among_the_limits(make: Make) -> None:
    made = make()
    made.compare(preset_plan(seeds=6), PRESET_ARMS)
    whole = text(report(made))
    assert "share their prefix" not in whole
    heirs = []
    for run in made.records:
        taken = run.planned.arm not in ("plain", "class_weighted")
        own = replace(run.planned, prefix=f"prefix-{run.planned.block}", inherited=2) if taken else run.planned
        heirs.append(replace(run, planned=own))
    for block in range(6):
        planned = replace(heirs[0].planned, key=f"prefix-{block}", kind="prefix", arm="full", block=block, starts=(2,))
        made.records.append(replace(heirs[0], planned=planned, epochs=heirs[0].epochs[:2]))
    made.records[: len(heirs)] = heirs
    shared = text(report(made))
    told = "Blocks share their prefix: 24 runs began with the epochs of 6 plain trials instead of training them again"
    assert f"{told} (36 epochs saved)." in shared
    assert "36 runs on shapes: 36 complete." in shared, "a prefix is no run of the comparison"
