"""Stages of a study, without Ray: what runs when, on which seeds, and what a later launch makes of the records."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import InputError
from orchestrator.launch.history import fitted, read_history
from orchestrator.launch.rounds import Round
from orchestrator.launch.stages import Stages
from orchestrator.plan.planner import derive_seed
from orchestrator.store.ranking import best
from orchestrator.store.records import Store
from orchestrator.store.results_table import table
from orchestrator.store.stage_plan import StagePlan
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Study

ALONE = """
study: s
objective: {metric: val/miou, mode: max}
data: {name: shapes}
model: {arch: fpn, encoder: resnet18, encoder_weights: null}
train: {epochs: 2, batch_size: 20}
suppression: {alpha: 0.3, p_max: 0.5, gate_norm: mean, recalibrate: true}
"""
ARMS = "ablation: {design: arms, arms: [plain, two_path, full], seeds: 3}\n"
FACTORS = """
ablation:
  design: one_at_a_time
  factors: {suppression.p_max: [0.5, 0.1], suppression.layer: [decoder, encoder.4]}
  seeds: 2
"""
PATHWAY = """
ablation:
  design: {name: path, target: {suppression.p_max: 0.1, suppression.layer: encoder.4, suppression.alpha: 3}}
  factors: {suppression.p_max: [0.5, 0.1], suppression.layer: [decoder, encoder.4], suppression.alpha: [0.3, 3]}
  seeds: 2
"""
WHOLE = (
    ALONE.replace("p_max: 0.5", "p_max: {uniform: [0, 1]}")
    + "search: {sampler: random, trials: 5}\nconfirm: {top: 2, seeds: 3}\n"
    + FACTORS
)

Make = Callable[..., Study]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "out"), "s")


def score(config: dict[str, Any]) -> float:
    """The best p_max is 0.3; layers and alpha count too; a seed shifts all arms alike."""
    suppression = config["suppression"] or {"p_max": 0.9, "layer": "decoder", "alpha": 0}
    deep = 0.05 if suppression["layer"] == "encoder.4" else 0.0
    return 1 - abs(suppression["p_max"] - 0.3) - deep - suppression["alpha"] / 100 + config["seed"] % 7 / 1000


class Launch:
    """A launch whose trials take no time."""

    def __init__(self, study: Study, store: Store) -> None:
        self.said: list[str] = []
        self.study, self.store = study, store
        history = read_history(study, store)
        self.stages = Stages(study, store, history, self.said.append)
        self.ran: list[str] = []

    def rounds(self) -> Iterator[Round]:
        store_new = self.store.read_study() is None
        while (left := self.stages.next()) is not None:
            if store_new:
                self.store.write_study(self.study.resolved())
            self.stages.register()
            yield left
        self.stages.register()

    def go(self, limit: int = 10_000) -> list[str]:
        """Run at most ``limit`` trials; returns their keys."""
        for left in self.rounds():
            while (planned := left.planner.next()) is not None:
                if len(self.ran) == limit:
                    return self.ran
                self.run(left, planned)
        return self.ran

    def run(self, left: Round, planned: Planned) -> None:
        self.store.plan(planned)
        value = score(planned.config)
        record = Record(planned, ({"val/miou": value / 2}, {"val/miou": value})).ended(State.COMPLETE)
        record, attrs = left.planner.finish(record)
        self.store.judge(record, attrs)
        self.stages.update(record)
        self.ran.append(planned.key)

    @property
    def results(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = table(fitted(self.study, self.stages.belonging(self.store.records()))).to_pylist()
        return rows


def test_an_ablation_alone_runs_every_arm_once_on_every_seed(written: Make, store: Store) -> None:
    launch = Launch(written(ALONE + ARMS), store)
    assert launch.go() == [f"ablation-{arm}-s{block}" for block in range(3) for arm in ("plain", "two_path", "full")]
    assert {(row["kind"], row["arm"], row["block"]) for row in launch.results} == {
        ("ablation", arm, block) for arm in ("plain", "two_path", "full") for block in range(3)
    }
    seeds = {row["block"]: {r["seed"] for r in launch.results if r["block"] == row["block"]} for row in launch.results}
    assert seeds == {block: {derive_seed(0, f"ablation/{block}")} for block in range(3)}, "paired"
    assert Launch(written(ALONE + ARMS), store).go() == []


def test_the_baseline_is_the_arm_that_equals_it(written: Make, store: Store) -> None:
    launch = Launch(written(ALONE + ARMS), store)
    launch.go()
    assert launch.stages.plans["ablation"].baseline == "full"
    other = Launch(written(ALONE + ARMS, "ablation.baseline={preset: plain}"), store)
    assert other.go() == [], "the same runs"
    assert other.stages.plans["ablation"].baseline == "plain"
    assert other.said == [
        "The registered plan of the ablation has changed: baseline full, now plain, the baseline's configuration"
    ]


def test_a_study_searches_then_confirms_on_fresh_seeds_then_ablates_around_the_winner(
    written: Make, store: Store
) -> None:
    launch = Launch(written(WHOLE), store)
    kinds = [key.split("-")[0] for key in launch.go()]
    expected = ["reference"] * 3 + ["search"] * 5 + ["confirm"] * 15 + ["ablation"] * 8
    assert kinds == expected  # the winner's own p_max is a level too
    records = launch.stages.known
    chosen = {r.planned.config["seed"] for r in records if r.planned.kind in ("search", "reference")}
    judged = {r.planned.config["seed"] for r in records if r.planned.kind == "confirm"}
    assert len(judged) == 3
    assert not chosen & judged, "winners are not judged on the seeds that chose them"
    leaders = sorted((r for r in records if r.planned.kind == "search"), key=lambda r: -score(r.planned.config))[:2]
    plan = launch.stages.plans["confirm"]
    assert [arm.name for arm in plan.arms] == ["plain", "plain_small", "official", *(r.key for r in leaders)]
    winner = launch.stages.champion()
    assert winner is not None
    assert winner.key in {r.key for r in leaders}
    baseline = next(r for r in records if r.planned.arm == "baseline")
    assert baseline.planned.config["suppression"] == winner.planned.config["suppression"]
    top = best(records, written(WHOLE).spec.objectives[0])
    assert top is not None
    assert top.planned.kind == "search", "comparisons are no candidates"


@pytest.mark.parametrize(
    "text", [ALONE + ARMS, ALONE + FACTORS, ALONE + PATHWAY, WHOLE], ids=["arms", "factors", "path", "whole"]
)
@pytest.mark.parametrize("every", [1, 4])
def test_a_study_that_is_continued_ends_as_an_undisturbed_one(
    written: Make, store: Store, tmp_path: Path, text: str, every: int
) -> None:
    loaded = written(text)
    undisturbed = Launch(loaded, Store(str(tmp_path / "other"), "s"))
    keys = undisturbed.go()
    done: list[str] = []
    while ran := (launch := Launch(loaded, store)).go(limit=every):
        done += ran
        assert [line for line in launch.said if "changed" in line or "left out" in line] == []
    assert done == keys
    assert launch.results == undisturbed.results
    assert launch.stages.plans == undisturbed.stages.plans


def test_a_path_takes_the_better_flip_first(written: Make, store: Store) -> None:
    launch = Launch(written(ALONE + PATHWAY), store)
    launch.go()
    plan = launch.stages.plans["ablation"]
    assert plan.chosen == (
        "baseline",
        "p_max=0.1",  # nothing is lost: 0.1 and 0.5 are as far from 0.3
        "p_max=0.1 + alpha=3",
        "p_max=0.1 + layer=encoder.4 + alpha=3",
    )
    assert len(plan.arms) == 7
    assert StagePlan.read(store.objects, "ablation") == plan


def test_the_plan_is_kept_before_the_first_run_and_its_hash_does_not_follow_the_results(
    written: Make, store: Store
) -> None:
    launch = Launch(written(ALONE + PATHWAY), store)
    rounds = launch.rounds()
    first = next(rounds)
    before = StagePlan.read(store.objects, "ablation")
    assert before is not None
    assert store.records() == []
    while (planned := first.planner.next()) is not None:
        launch.run(first, planned)
    next(rounds)
    after = StagePlan.read(store.objects, "ablation")
    assert after is not None
    assert len(after.arms) > len(before.arms)
    assert after.hash == before.hash


def test_more_seeds_add_blocks_and_keep_what_has_run(written: Make, store: Store) -> None:
    first = Launch(written(ALONE + ARMS), store)
    first.go()
    more = Launch(written(ALONE + ARMS, "ablation.seeds=4"), store)
    assert more.go() == ["ablation-plain-s3", "ablation-two_path-s3", "ablation-full-s3"]
    assert "The registered plan of the ablation has changed: 3 seeds, now 4" in more.said
    assert [row["trial"] for row in more.results if row["arm"] == "full"][::2] == [
        f"ablation-full-s{i}" for i in range(4)
    ]


def test_an_added_arm_runs_and_a_removed_one_counts_for_nothing(written: Make, store: Store) -> None:
    Launch(written(ALONE + ARMS), store).go()
    changed = Launch(written(ALONE + ARMS, "ablation.arms=[plain, block, full]"), store)
    assert changed.go() == [f"ablation-block-s{block}" for block in range(3)]
    assert "The registered plan of the ablation has changed: +block, -two_path" in changed.said
    assert (
        "ablation: 3 earlier runs do not belong to the plan as it is now written, and count for nothing" in changed.said
    )
    assert {row["arm"] for row in changed.results} == {"plain", "block", "full"}


def test_equal_configurations_under_another_name_are_not_run_again(written: Make, store: Store) -> None:
    Launch(written(ALONE + ARMS), store).go()
    renamed = Launch(written(ALONE + ARMS, "ablation.arms={none: plain, no drop: two_path, DropClass: full}"), store)
    assert renamed.go() == []
    assert {(row["trial"], row["arm"]) for row in renamed.results if row["block"] == 0} == {
        ("ablation-plain-s0", "none"), ("ablation-two_path-s0", "no drop"), ("ablation-full-s0", "DropClass")
    }  # fmt: skip


def test_another_baseline_leaves_out_the_runs_around_the_old_one(written: Make, store: Store) -> None:
    Launch(written(ALONE + FACTORS), store).go()
    changed = Launch(written(ALONE + FACTORS, "suppression.alpha=1"), store)
    keys = changed.go()
    assert len(keys) == 6
    assert set(keys).isdisjoint({"ablation-baseline-s0"}), "the folder of the old run is not overwritten"
    assert (
        "ablation: 6 earlier runs do not belong to the plan as it is now written, and count for nothing" in changed.said
    )
    assert len({row["trial"] for row in changed.results}) == 6
    back = Launch(written(ALONE + FACTORS), store)
    assert back.go() == [], "they are found again"


def test_a_removed_section_leaves_out_its_runs(written: Make, store: Store) -> None:
    Launch(written(WHOLE), store).go()
    launch = Launch(written(WHOLE.replace(FACTORS, "")), store)
    assert launch.go() == []
    assert launch.said == [
        "ablation: 8 earlier runs do not belong to the plan as it is now written, and count for nothing"
    ]
    assert {row["kind"] for row in launch.results} == {"search", "reference", "confirm"}


def test_equal_arms_of_a_factorial_run_once(written: Make, store: Store) -> None:
    preset, layer = "preset: [full, plain]", "suppression.layer: [decoder, encoder.4]"
    text = f"{ALONE}ablation: {{design: factorial, seeds: 2, factors: {{{preset}, {layer}}}}}\n"
    launch = Launch(written(text), store)
    assert len(launch.go()) == 6
    assert launch.said == [
        "ablation: preset=plain, layer=encoder.4 is the same configuration as preset=plain; it runs once"
    ]


def test_a_run_that_ended_while_no_driver_lived_is_not_run_again(written: Make, store: Store) -> None:
    loaded = written(ALONE + ARMS)
    launch = Launch(loaded, store)
    launch.go(limit=8)
    left = launch.stages.next()
    assert left is not None
    last = left.planner.next()
    assert last is not None
    store.plan(last)
    store.write_epochs(last.key, 1, [{"val/miou": 0.1}, {"val/miou": 0.2}])
    again = Launch(loaded, store)
    assert again.go() == []
    record = store.record(last.key)
    assert record is not None
    assert record.state is State.COMPLETE


def test_an_interrupted_run_goes_on_first_under_its_own_key(written: Make, store: Store) -> None:
    loaded = written(ALONE + ARMS)
    launch = Launch(loaded, store)
    left = next(launch.rounds())
    begun = [left.planner.next() for _ in range(5)]
    assert begun[4] is not None
    store.plan(begun[4])
    store.write_epochs(begun[4].key, 1, [{"val/miou": 0.1}])
    assert Launch(loaded, store).go()[0] == begun[4].key


def test_a_failed_run_fails_its_pair_alone(written: Make, store: Store) -> None:
    launch = Launch(written(ALONE + PATHWAY), store)
    for left in launch.rounds():
        while (planned := left.planner.next()) is not None:
            if planned.arm == "p_max=0.1":
                store.plan(planned)
                record = Record(planned).ended(State.FAILED, "boom")
                store.judge(record, {})
                launch.stages.update(record)
            else:
                launch.run(left, planned)
    assert launch.stages.plans["ablation"].chosen[1] != "p_max=0.1", "an arm without a value is not chosen"


def test_the_best_trial_of_another_study_is_the_baseline(written: Make, store: Store, tmp_path: Path) -> None:
    Launch(written(WHOLE), store).go()
    searched = Launch(written(WHOLE), store)
    searched.go()
    champion = searched.stages.champion()
    assert champion is not None
    around = written(ALONE + FACTORS, "study=around", "ablation.baseline={best: s}")
    launch = Launch(around, Store(str(tmp_path / "out"), "around"))
    launch.go()
    baseline = next(r for r in launch.stages.known if r.planned.arm == "baseline")
    assert baseline.planned.config["suppression"] == champion.planned.config["suppression"]


def test_a_study_that_is_not_there_or_has_nothing_is_no_baseline(written: Make, store: Store, tmp_path: Path) -> None:
    around = written(ALONE + FACTORS, "study=around", "ablation.baseline={best: s}")
    other = Store(str(tmp_path / "out"), "around")
    with pytest.raises(InputError, match=r"ablation\.baseline\.best: .*/out/s holds no study"):
        Launch(around, other)
    Launch(written(ALONE + ARMS), store).go()
    with pytest.raises(InputError, match=r"ablation\.baseline\.best: no trial of s is complete"):
        Launch(around, other)


def test_a_baseline_from_elsewhere_must_have_the_levels_of_a_factorial(
    written: Make, store: Store, tmp_path: Path
) -> None:
    Launch(written(WHOLE), store).go()
    text = ALONE + FACTORS.replace("one_at_a_time", "factorial")
    around = written(text, "study=around", "ablation.baseline={best: s}")
    launch = Launch(around, Store(str(tmp_path / "out"), "around"))
    with pytest.raises(
        InputError, match=r"ablation: factors\.suppression\.p_max: the baseline's value .* is not among"
    ):
        launch.go()


def test_a_search_of_which_nothing_is_complete_has_no_further_stage(written: Make, store: Store) -> None:
    launch = Launch(written(WHOLE), store)
    for left in launch.rounds():
        while (planned := left.planner.next()) is not None:
            store.plan(planned)
            record, attrs = left.planner.finish(Record(planned).ended(State.FAILED, "boom"))
            store.judge(record, attrs)
            launch.stages.update(record)
    assert launch.stages.plans == {}


def test_a_larger_search_confirms_anew_what_is_new(written: Make, store: Store) -> None:
    Launch(written(WHOLE), store).go()
    more = Launch(written(WHOLE, "search.trials=30"), store)
    keys = more.go()
    assert sum(key.startswith("search") for key in keys) == 25
    assert any("The registered plan of the confirm has changed" in line for line in more.said)
    plan = StagePlan.read(store.objects, "confirm")
    assert plan is not None
    kept = json.loads((Path(store.uri) / "plan-confirm.json").read_text())
    assert plan.hash in json.dumps(kept)
    assert {row["arm"] for row in more.results if row["kind"] == "confirm"} == {arm.name for arm in plan.arms}


def test_a_path_to_another_target_leaves_out_the_old_way(written: Make, store: Store) -> None:
    Launch(written(ALONE + PATHWAY), store).go()
    changed = Launch(written(ALONE + PATHWAY, "ablation.design.target.suppression.alpha=0.3"), store)
    assert changed.go() == [], "its rounds have all been run on the way to the old target"
    assert "The registered plan of the ablation has changed: another target" in changed.said
    assert (
        "ablation: 6 earlier runs do not belong to the plan as it is now written, and count for nothing" in changed.said
    )


def test_the_table_bears_the_picks_of_the_space_as_it_now_is(written: Make, store: Store) -> None:
    text = ALONE.replace("p_max: 0.5", "p_max: {uniform: [0, 1]}") + "search: {sampler: random, trials: 2}\n"
    first = Launch(written(text), store)
    first.go()
    assert "pick.suppression.layer" not in first.results[0]
    second = Launch(written(text, "suppression.layer={choice: [decoder, encoder.4]}", "search.trials=3"), store)
    second.go()
    picked = {row["trial"]: row["pick.suppression.layer"] for row in second.results}
    assert picked["search-0000"] == picked["search-0001"] == "decoder"
    assert picked["search-0002"] in ("decoder", "encoder.4")
    assert picked["reference-plain"] is None
    assert all("suppression.layer" not in (record.planned.picks or {}) for record in store.records()[:-1])


def test_the_table_bears_the_same_picks_whichever_launch_ran_the_trials(written: Make, store: Store) -> None:
    domain = "p_max: {uniform: [0.1, 0.9], step: 0.1}"
    text = ALONE.replace("p_max: 0.5", domain) + "search: {sampler: random, trials: 6, references: []}\n"
    first = Launch(written(text), store)
    first.go()
    picks = [row["pick.suppression.p_max"] for row in first.results]
    assert picks == [row["param.suppression.p_max"] for row in first.results], "as the grid writes it: 0.3"
    assert picks == [row["pick.suppression.p_max"] for row in Launch(written(text), store).results]
