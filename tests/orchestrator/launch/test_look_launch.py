"""Launches by looks, without Ray: which runs are due, what stops, what a killed or changed study makes of it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from orchestrator.errors import InputError
from orchestrator.launch.history import read_history
from orchestrator.launch.remaining import remaining
from orchestrator.launch.rounds import Round
from orchestrator.launch.stages import Stages
from orchestrator.plan.planner import derive_seed
from orchestrator.report.build import build
from orchestrator.report.sections.comparison_results import StageResults, verdict
from orchestrator.report.source import read_results
from orchestrator.status import status
from orchestrator.store.looks import KeptLooks
from orchestrator.store.records import Store
from orchestrator.store.results_table import write_table
from orchestrator.store.stage_plan import StagePlan
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Study, load

FILE = """
study: s
objective: {metric: val/miou, mode: max}
data: {name: shapes}
model: {arch: fpn, encoder: resnet18, encoder_weights: null}
train: {epochs: 1, batch_size: 20}
suppression: {alpha: 0.3, p_max: 0.5, gate_norm: mean, recalibrate: true}
ablation:
  design: one_at_a_time
  factors: {suppression.alpha: [0.3, 1, 2, 3]}
  seeds: {looks: [6, 8, 12, 16], spending: pocock}
"""
GAINS = {0.3: 0.0, 1: 0.05, 2: 0.0, 3: 0.012}
"""Of alpha's levels: one helps much, one not at all, one a little."""
BLOCKS = {derive_seed(0, f"ablation/{block}"): block for block in range(20)}


def score(config: dict[str, Any]) -> float:
    alpha, block = config["suppression"]["alpha"], BLOCKS[config["seed"]]
    noise = np.random.default_rng([int(10 * alpha), block]).normal(0, 0.01)
    return 0.5 + GAINS[alpha] + float(noise) + block / 100


def study(folder: Path, *overrides: str) -> Study:
    path = folder / "s.yaml"
    path.write_text(FILE)
    return load(path, overrides, env={})


class Launch:
    """A launch whose trials take no time; ``failing`` names runs that fail."""

    def __init__(
        self, folder: Path, *overrides: str, failing: tuple[str, ...] = (), retry_failed: bool = False
    ) -> None:
        self.said: list[str] = []
        self.store_folder = folder
        self.study, self.store = study(folder, *overrides), Store(str(folder / "out"), "s")
        history = read_history(self.study, self.store, retry_failed=retry_failed)
        self.stages = Stages(self.study, self.store, history, self.said.append)
        self.ran: list[str] = []
        self.titles: list[str] = []
        self.failing = failing

    def go(self, limit: int = 10_000) -> "Launch":
        """Run at most so many trials."""
        for left in self.rounds():
            self.titles.append(left.title)
            while (planned := left.planner.next()) is not None:
                if len(self.ran) == limit:
                    return self
                self.run(left, planned)
        return self

    def rounds(self) -> Iterator[Round]:
        if self.store.read_study() is None:
            self.store.write_study(self.study.resolved())
        while (left := self.stages.next()) is not None:
            self.stages.register()
            yield left
        self.stages.register()

    def run(self, left: Round, planned: Planned) -> None:
        self.store.plan(planned)
        if planned.key in self.failing:
            record = Record(planned, ()).ended(State.FAILED, "it fell over")
        else:
            record = Record(planned, ({"val/miou": score(planned.config)},)).ended(State.COMPLETE)
        record, attrs = left.planner.finish(record)
        self.store.judge(record, attrs)
        self.stages.update(record)
        self.ran.append(planned.key)

    @property
    def kept(self) -> KeptLooks:
        kept = KeptLooks.read(self.store.objects, "ablation")
        assert kept is not None
        return kept

    def write_table(self) -> None:
        write_table(self.store, self.stages.belonging(self.store.records()))

    def looks_said(self) -> list[str]:
        return [line for line in self.said if ": look " in line]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Launch:
    launch = Launch(tmp_path_factory.mktemp("looks")).go()
    launch.write_table()
    return launch


def decisions(kept: KeptLooks) -> list[dict[str, str]]:
    return [{arm: one.decision for arm, one in look.arms.items()} for look in kept.looks]


def test_arms_stop_and_what_is_decided_runs_no_more(whole: Launch) -> None:
    assert whole.looks_said() == [
        "ablation: look 1 of 4 after 6 seeds: alpha=2 stops for futility; alpha=1, alpha=3 go on",
        "ablation: look 2 of 4 after 8 seeds: alpha=1 stops for success; alpha=3 goes on",
        "ablation: look 3 of 4 after 12 seeds: alpha=3 goes on",
        "ablation: look 4 of 4 after 16 seeds: alpha=3 stops for success",
    ]
    assert whole.titles[1] == "ablation: to look 2 of 4 after 8 seeds, 2 of 3 arms in play beside baseline"
    counts = {
        arm: sum(f"-{arm}-s" in key for key in whole.ran) for arm in ("baseline", "alpha-1", "alpha-2", "alpha-3")
    }
    assert counts == {"baseline": 16, "alpha-1": 8, "alpha-2": 6, "alpha-3": 16}
    assert [len(look.arms["alpha=3"].differences) for look in whole.kept.looks] == [6, 2, 4, 4]
    assert Launch(whole.store_folder).go().ran == []


def test_the_plan_registers_the_looks_before_the_first_run(whole: Launch) -> None:
    tree = whole.store.objects.read_json("plan-ablation.json")
    assert tree["looks"] == {"seeds": [6, 8, 12, 16], "spending": "pocock", "futility": 0.1, "alpha": 0.05}
    plan = StagePlan.read(whole.store.objects, "ablation")
    assert plan is not None
    assert plan.hash == whole.kept.plan
    assert (
        len({plan.hash, replace(plan, looks=None).hash, replace(plan, looks=replace(plan.looks, futility=None)).hash})
        == 3
    )


@pytest.mark.parametrize("limit", [0, 5, 23, 24, 29, 30, 41])
def test_a_launch_that_was_killed_decides_as_one_that_was_not(tmp_path: Path, whole: Launch, limit: int) -> None:
    Launch(tmp_path).go(limit)
    again = Launch(tmp_path).go()
    assert again.kept == whole.kept
    assert {record.key for record in again.store.records()} == set(whole.ran)


def test_looks_that_were_lost_are_taken_anew_from_the_records(tmp_path: Path, whole: Launch) -> None:
    Launch(tmp_path).go(30)
    (tmp_path / "out/s/looks-ablation.json").write_text("{")
    again = Launch(tmp_path).go()
    assert again.kept == whole.kept
    assert "the looks are taken anew from the records" in again.said[0]


def test_a_run_that_is_repeated_counts_from_the_next_look_on(tmp_path: Path) -> None:
    lost = "ablation-alpha-3-s2"
    first = Launch(tmp_path, failing=(lost,)).go(31)
    before = first.kept.looks[0]
    assert before.arms["alpha=3"].pairs == 5
    again = Launch(tmp_path, retry_failed=True).go()
    assert lost in again.ran
    assert again.kept.looks[0] == before, "a look is taken once"
    later = next(look for look in again.kept.looks if 2 in look.arms["alpha=3"].differences)
    assert later.number > 1
    assert later.arms["alpha=3"].pairs == later.seeds


def test_a_failed_run_is_a_missing_pair_and_a_failed_baseline_one_for_all(tmp_path: Path) -> None:
    launch = Launch(tmp_path, failing=("ablation-baseline-s0", "ablation-alpha-1-s1")).go()
    look = launch.kept.looks[0]
    assert {arm: one.pairs for arm, one in look.arms.items()} == {"alpha=1": 4, "alpha=2": 5, "alpha=3": 5}


CHANGED = ["{looks: [6, 8, 12, 16, 24]}", "{looks: [6, 10, 16]}", "{looks: [6, 8, 12, 16]}"]


@pytest.mark.parametrize("seeds", CHANGED)
def test_other_looks_are_refused_once_one_was_taken(tmp_path: Path, seeds: str) -> None:
    Launch(tmp_path).go(25)
    kept = (tmp_path / "out/s/looks-ablation.json").read_bytes()
    with pytest.raises(
        InputError, match=r"s\.yaml: ablation\.seeds: the looks are .*, and 1 of the registered \[6, 8, 12"
    ):
        Launch(tmp_path, f"ablation.seeds={seeds}").go()
    assert (tmp_path / "out/s/looks-ablation.json").read_bytes() == kept
    Launch(tmp_path, "ablation.seeds={looks: [6, 8, 12, 16], spending: pocock, futility: null}").go(1)


def test_other_looks_before_the_first_and_a_number_later_are_told(tmp_path: Path) -> None:
    Launch(tmp_path).go(5)
    second = Launch(tmp_path, "ablation.seeds={looks: [6, 10], futility: null}").go(20)
    before = "looks after 6, 8, 12, 16 seeds (pocock, futility 0.1)"
    changed = f"16 seeds, now 10, {before}, now looks after 6, 10 seeds (obrien_fleming, no futility)"
    assert second.said[0] == f"The registered plan of the ablation has changed: {changed}"
    third = Launch(tmp_path, "ablation.seeds=8").go()
    assert "now no looks" in third.said[0]
    third.write_table()
    page = build(third.store, formats=["md"])["report.md"].decode()
    assert "p values are nominal" in page


def test_an_arm_that_is_added_is_looked_at_with_the_others_anew(tmp_path: Path, whole: Launch) -> None:
    levels = "ablation.factors={suppression.alpha: [0.3, 1, 2, 3]}"
    Launch(tmp_path, levels.replace(", 3]", "]")).go()
    again = Launch(tmp_path, levels).go()
    assert again.said[0] == "The registered plan of the ablation has changed: +alpha=3"
    assert decisions(again.kept) == decisions(whole.kept)


def test_less_can_be_better(tmp_path: Path, whole: Launch) -> None:
    launch = Launch(tmp_path, "objective.mode=min").go()
    other = {"better": "worse", "worse": "better"}
    flipped = [{arm: other.get(word, word) for arm, word in look.items()} for look in decisions(whole.kept)]
    assert decisions(launch.kept) == flipped
    assert "alpha=1 stops for harm" in launch.looks_said()[1]


def test_without_futility_only_success_stops(tmp_path: Path) -> None:
    launch = Launch(tmp_path, "ablation.seeds={looks: [6, 8], futility: null}").go()
    assert decisions(launch.kept)[0] == {"alpha=1": "on", "alpha=2": "on", "alpha=3": "on"}
    assert sum("alpha-2" in key for key in launch.ran) == 8


def test_the_report_says_what_the_looks_decided(whole: Launch) -> None:
    results = read_results(whole.store)
    stage = StageResults(results, results.plans["ablation"])
    paired = stage.differences("val/miou")
    assert {arm: verdict(one) for arm, one in paired.items()} == {
        "alpha=1": "better", "alpha=2": "not shown", "alpha=3": "better"
    }  # fmt: skip
    last = {arm: one for look in whole.kept.looks for arm, one in look.arms.items()}
    assert {arm: one.p for arm, one in paired.items()} == {arm: one.sequential_p for arm, one in last.items()}
    assert {arm: one.n for arm, one in paired.items()} == {"alpha=1": 8, "alpha=2": 6, "alpha=3": 16}
    page = build(whole.store, formats=["md", "tex"])["report.md"].decode()
    assert "is not finished" not in page
    assert "Left out" not in page
    assert "The arms take 46 of 64 runs: 18 are spared" in page
    assert "To be expected before any result were" in page
    assert "2 (8) | alpha=1" in page


def test_the_report_needs_no_file_of_looks(tmp_path: Path) -> None:
    launch = Launch(tmp_path).go(30)
    launch.write_table()
    before = build(launch.store, formats=["md"])["report.md"]
    (tmp_path / "out/s/looks-ablation.json").unlink()
    assert build(launch.store, formats=["md"])["report.md"] == before
    assert b"The ablation is not finished" in before


def test_status_and_dry_run_know_what_is_spared(tmp_path: Path) -> None:
    launch = Launch(tmp_path).go(31)
    console = Console(width=160)
    with console.capture() as capture:
        console.print(status(str(tmp_path / "out"), "s"))
    text = " ".join(capture.get().split())
    assert "ablation: 2 of 4 looks taken; stopped for success after so many seeds: alpha=1 (8); " in text
    assert "stopped for futility after so many seeds: alpha=2 (6); in play to 12 seeds: alpha=3" in text
    assert "6/6" in text
    said: list[str] = []
    left = remaining(launch.study, str(tmp_path / "out"), said.append, retry_failed=False)
    assert left.left("ablation", 64) == 46 - 31
