"""The confirm stage on data with a labelled test split; what a dry run and the status tell of comparisons."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from trees import camvid_tree, picture, png

from orchestrator.launch.foreseen import foreseen
from orchestrator.launch.plan_changes import described
from orchestrator.plan.confirmation import confirmation, winner
from orchestrator.report.statistics.sign_flip import evidence
from orchestrator.status import status
from orchestrator.store.records import Store
from orchestrator.store.stage_plan import Arm, StagePlan
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Objective, Study, load
from orchestrator.sweep import main

ROOT = Path(__file__).parents[3]
CONFIG = {"train": {"epochs": 1}, "data": {"name": "camvid"}, "seed": 0}
FILE = """
study: s
objective: {{metric: val/miou, mode: max}}
data: {{name: camvid, root: {root}, size: [32, 64]}}
model: {{arch: fpn, encoder: resnet18, encoder_weights: null}}
train: {{epochs: 4, batch_size: 2}}
suppression: {{p_max: {{uniform: [0, 1]}}}}
search: {{trials: 4}}
confirm: {{top: 1, seeds: 2}}
"""


def camvid_study(place: Path) -> Study:
    camvid_tree(place / "camvid")
    (place / "s.yaml").write_text(FILE.format(root=place / "camvid"))
    return load(place / "s.yaml", (), {})


def leader(study: Study) -> Record:
    config = study.space.trial(lambda _name, _domain: 0.5, 1).model_dump(mode="json")
    return Record(Planned("search-0003", "search", 3, config, {"suppression.p_max": 0.5}))


def test_confirmed_runs_see_the_test_split_once_and_searched_ones_never(tmp_path: Path) -> None:
    study = camvid_study(tmp_path)
    rng = np.random.default_rng(0)
    png(tmp_path / "camvid/test/000.png", picture(rng))
    png(tmp_path / "camvid/testannot/000.png", rng.integers(0, 12, (32, 64)))
    runs = confirmation(study, [leader(study)]).cells()
    assert [run.key for run in runs if run.block == 0] == [
        "confirm-plain-s0", "confirm-plain_small-s0", "confirm-official-s0", "confirm-search-0003-s0"
    ]  # fmt: skip
    assert all(run.config["evaluation"]["test_at_end"] for run in runs)
    assert not study.space.trial(study.space.center(), 0).evaluation.test_at_end
    assert [getattr(data, "eval_split", "") for data in foreseen(study).data] == ["val", "test"], "cached beforehand"


def test_without_a_test_split_only_the_evaluation_split_is_scored(tmp_path: Path) -> None:
    study = camvid_study(tmp_path)
    assert not any(run.config["evaluation"]["test_at_end"] for run in confirmation(study, [leader(study)]).cells())
    assert len(foreseen(study).data) == 1


def run(arm: str, block: int, value: float, state: State = State.COMPLETE) -> Record:
    planned = Planned(f"confirm-{arm}-s{block}", "confirm", block, CONFIG, None, arm=arm, block=block)
    return Record(planned, ({"val/miou": value},)).ended(state)


PLAN = StagePlan(
    "confirm", "confirm", "plain", (Arm("plain"), Arm("search-0001", {"x": 1}), Arm("search-0002", {"x": 2})), (5, 6)
)
RUNS = [run("plain", 0, 0.9), run("search-0001", 0, 0.5), run("search-0001", 1, 0.1), run("search-0002", 0, 0.4)]


def test_the_winner_is_the_searched_arm_with_the_best_mean_over_the_seeds_that_all_have() -> None:
    failed = run("search-0002", 1, 9.0, State.FAILED)
    assert winner([*RUNS, failed], PLAN, Objective(metric="val/miou", mode="max")) == "search-0001", "on seed 0 alone"
    assert winner([*RUNS, failed], PLAN, Objective(metric="val/miou", mode="min")) == "search-0002"
    assert winner([], PLAN, Objective(metric="val/miou", mode="max")) is None


def test_the_status_counts_by_arm(tmp_path: Path) -> None:
    study = camvid_study(tmp_path)
    store = Store(str(tmp_path / "out"), "s")
    store.write_study(study.resolved())
    PLAN.write(store.objects)
    for record in (*RUNS, run("search-0002", 1, 0.2, State.FAILED)):
        store.judge(record, {})
    console = Console(record=True, width=120)
    console.print(status(str(tmp_path / "out"), "s"))
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert "plain 1/2 0.9000 0.9000" in lines
    assert "search-0001 2/2 0.3000 0.3000" in lines
    assert "search-0002 2/2 1 0.4000 0.4000" in lines
    assert any(line.startswith("confirm-search-0002-s1 failed") for line in lines), "what failed is named"
    assert not any(line.startswith("confirm-search-0001-s1") for line in lines), "what ended well is counted"


def test_a_dry_run_lists_arms_and_says_what_so_few_seeds_cannot_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = str(ROOT / "search_spaces/shapes_ablation.yaml")
    small = ["data.train_images=20", "data.val_images=4", "ablation.seeds=4"]
    assert main([file, "--dry-run", *(part for option in small for part in ("--set", option))]) == 0
    out = capsys.readouterr().out
    for expected in (
        "ablation    arms: 7 arms x 4 seeds: 28 runs",
        "  plain                  preset=plain, train.class_weights=null\n",
        "  class_weighted         preset=class_weighted (baseline)\n",
        "evidence    4 seeds: no p below 0.12 is possible; underpowered: 6 comparisons at 0.05 (Holm) need 8 seeds",
        "for 28 trials",
    ):
        assert expected in out
    assert list(tmp_path.iterdir()) == []


def test_evidence() -> None:
    assert "underpowered" in evidence(6, 7)
    assert evidence(6, 8) == "8 seeds: no p below 0.0078 is possible; 6 comparisons at 0.05 (Holm) need 8 or more"


def test_a_leader_that_equals_a_reference_keeps_its_name_and_equal_leaders_count_once(tmp_path: Path) -> None:
    study = camvid_study(tmp_path)
    one = leader(study)
    again = replace(one, planned=replace(one.planned, key="search-0009", number=9))
    comparison = confirmation(study, [one, again])
    assert [arm.name for arm in comparison.plan.arms] == ["plain", "plain_small", "official", "search-0003"]


@pytest.mark.parametrize(
    ("objectives", "front", "top", "expected"),
    [
        (2, 7, 3, [0, 3, 6]),
        (2, 7, 1, [0]),
        (2, 2, 5, [0, 1]),
        (2, 1, 3, [0]),
        (2, 5, 5, [0, 1, 2, 3, 4]),
        (1, 7, 3, [0, 1, 2]),
    ],
)
def test_of_several_objectives_the_confirmed_are_spread_over_the_front(
    tmp_path: Path, objectives: int, front: int, top: int, expected: list[int]
) -> None:
    metrics = ("val/miou", "val/rare_miou")[:objectives]
    goals = ", ".join(f"{{metric: {metric}, mode: max}}" for metric in metrics)
    camvid_study(tmp_path)
    study = load(tmp_path / "s.yaml", [f"objective=[{goals}]", f"confirm.top={top}", "search.references=[plain]"], {})
    leaders = []
    for number in range(front):
        share = number / 10 + 0.05
        config = study.space.trial(lambda _name, _domain, share=share: share, 1).model_dump(mode="json")
        leaders.append(Record(Planned(f"search-{number}", "search", number, config, {"suppression.p_max": share})))
    arms = [arm.name for arm in confirmation(study, leaders).plan.arms]
    assert arms == ["plain", *(f"search-{place}" for place in expected)]


def test_what_a_plan_replaced_after_runs_had_begun_is_kept(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "out"), "s")
    now = replace(PLAN, earlier=(described(PLAN),), seeds=(5, 6, 7))
    now.write(store.objects)
    kept = StagePlan.read(store.objects, "confirm")
    assert kept == now
    assert kept.hash == replace(now, earlier=()).hash, "no part of what is planned"
    assert "3 arms (plain, search-0001, search-0002) on 2 seeds" in kept.earlier[0]
