"""The first lines of a report answer: what helps, what explains it, what it costs, what is not shown."""

from collections.abc import Mapping
from typing import Any

import pytest
from made_studies import document_of

from orchestrator.report.pages.document import Bullets, Heading
from orchestrator.store.stage_plan import Arm, StagePlan

Make = Any  # conftest's builder of studies
WORDS = "val/miou: mean IoU over the classes of the evaluation split."
ERASING = {"class_weighted": 0.0, "plain": -0.001, "ignore": 0.002, "erase_blocks": 0.001, "erase": 0.2}


def plan(gains: Mapping[str, float], seeds: int = 9) -> StagePlan:
    arms = tuple(Arm(name, {"preset": name}) for name in gains)
    return StagePlan("ablation", "arms", next(iter(gains)), arms, tuple(range(200, 200 + seeds)))


def answer(made: Any) -> str:
    blocks = document_of(made).blocks
    place = blocks.index(Heading("Answer"))
    assert place == 0, "before anything else of a study that has ended"
    bullets = blocks[place + 1]
    assert isinstance(bullets, Bullets)
    return "\n".join(bullets.items)


def test_an_arm_that_helps_beyond_its_controls(make: Make) -> None:
    made = make()
    made.compare(plan(ERASING), ERASING)
    lines = answer(made).split("\n")
    assert lines[0].startswith("erase helps: val/miou goes from 0.5")
    assert "better on 9 of 9 seeds, adjusted p 0.016, against class_weighted." in lines[0]
    assert [line.split(":")[0] for line in lines[1:3]] == [
        "ignore does not explain it",
        "erase_blocks does not explain it",
    ]
    assert all("p 0.004 (exploratory)" in line for line in lines[1:3])
    assert lines[3].startswith("Reliance on context: less (val/context_gap from 0.")
    assert lines[4].startswith("No price is shown in val/rare_miou, val/object_miou_swapped. It gains ")
    assert lines[5].startswith("Not shown in val/miou, which is not absent: ")
    assert {"plain", "ignore", "erase_blocks"} <= set(lines[5].replace(",", " ").split())


def test_a_gain_that_a_control_has_too(make: Make) -> None:
    gains = {**ERASING, "ignore": 0.2}
    made = make()
    made.compare(plan(gains), gains)
    said = answer(made)
    helping = "erase" if said.startswith("erase helps") else "ignore"
    assert f"{helping} helps: " in said
    assert "Better too: " in said.split("\n")[0]
    if helping == "erase":
        assert "ignore is not told apart from it: erase minus ignore is " in said


def test_nothing_helps(make: Make) -> None:
    gains = {"plain": 0.0, "full": 0.0005, "random_channels": -0.2}
    made = make()
    made.compare(plan(gains), gains)
    lines = answer(made).split("\n")
    assert lines[0].startswith("No arm is shown to help val/miou over plain on 9 seeds; closest: full −0.00")
    assert lines[1].startswith("Does harm to val/miou: random_channels (−0.1")
    assert lines[2:] == [WORDS], "an arm that is not shown to help is no finding of its own"


def test_the_price_of_what_helps(make: Make) -> None:
    made = make("objective={metric: val/context_gap, mode: min}")
    gains = {"plain": 0.0, "full": 0.2}
    made.compare(plan(gains), gains)
    for record in made.records:
        if record.planned.arm == "full":
            for epoch in record.epochs:
                epoch["val/rare_miou"] -= 0.4
    lines = answer(made).split("\n")
    assert lines[0].startswith("full helps: val/context_gap goes from 0.29")
    assert "not asked" in lines[1], "no control among the arms"
    assert any(line.startswith("Its price: val/rare_miou −0.") for line in lines)


def test_class_weights_are_a_control_of_every_arm(make: Make) -> None:
    gains = {"plain": 0.0, "class_weighted": 0.1, "full": 0.2}
    made = make()
    made.compare(plan(gains), gains)
    assert "class_weighted does not explain it: full minus class_weighted is +0.0" in answer(made)


def test_a_search_alone_shows_nothing(make: Make) -> None:
    made = make("search.trials=5")
    made.search(5)
    made.references()
    said = answer(made)
    best = max(r.epochs[-1]["val/miou"] for r in made.records if r.planned.kind == "search")
    assert said.startswith("No evidence (1 seed). Best of 5, ")
    assert f"val/miou {best:.4f}; plain 0.5" in said
    assert "One seed each shows nothing: --set 'confirm={top: 1, seeds: 7}' on the same study" in said


@pytest.mark.parametrize("seeds", [2, 3])
def test_too_few_seeds(make: Make, seeds: int) -> None:
    made = make()
    made.compare(plan(ERASING, seeds), ERASING)
    said = answer(made)
    assert f"No arm is shown to help val/miou over class_weighted on {seeds} seeds, too few to show any" in said
    assert said.split("\n")[1:] == [WORDS], "one sentence, not one for each arm"
