"""The report shows how much classes rely on each other, arm beside baseline, or says why it does not."""

from typing import Any

import numpy as np
from made_studies import MadeStudy, document_of, preset_plan

from orchestrator.report.build import FORMATS, render
from orchestrator.report.sections.comparison_results import MOST_PICTURED
from orchestrator.store.artifacts import ContextReliance, keep_artifacts
from orchestrator.store.stage_plan import Arm
from orchestrator.store.trial_record import State
from trainable.data.classes import SHAPES
from trainable.evaluate.metrics.names import CONTEXT_RARE_RELIANCE, CONTEXT_RELIANCE, context_name

ASKED = "evaluation.context={}"
HEADING = "Reliance on context in the ablation"


def matrix_of(level: float) -> tuple[tuple[float | None, ...], ...]:
    """Meadow and sand are erased, squares never meet the sand."""
    rows = [[None] * 6 for _ in range(6)]
    for z in (0, 1):
        rows[z] = [None if c == z or (z == 1 and c > 3) else level for c in range(6)]
    return tuple(map(tuple, rows))


def made_study(make: Any, arms: int = 1, measured: Any = None, asked: str = ASKED, **options: Any) -> MadeStudy:
    """Reliance rises by 0.1 from one seed to the next, and is 0.3 lower in every arm than in the baseline."""
    made: MadeStudy = make(asked)
    names = ("plain", *(f"arm {number}" for number in range(arms)))
    plan = preset_plan(seeds=3, arms=tuple(Arm(name, {"preset": "full"}) for name in names))
    made.compare(plan, dict.fromkeys(names, 0.0), **options)
    for record in made.records:
        arm = record.planned.arm
        if measured is not None and arm not in measured:
            continue
        level = 0.5 + 0.1 * (record.planned.block or 0) - 0.3 * (arm != "plain")
        means = {CONTEXT_RELIANCE: level, CONTEXT_RARE_RELIANCE: level, context_name("meadow"): level}
        record.epochs[-1].update(means)
        reliance = ContextReliance(5, SHAPES, (4, 5), matrix_of(level))
        keep_artifacts(made.store.objects, record.key, {}, None, None, reliance)
    return made


def test_means_over_the_seeds_that_both_have_trained(make: Any) -> None:
    """The baseline failed on the last seed: seeds 0 and 1 remain."""
    document = document_of(made_study(make, states={("plain", 2): (State.FAILED, "why")}))
    (picture,) = [picture for picture in document.pictures if picture.name == "ablation-context-1"]
    assert "mean over 2 seeds" in picture.caption
    figure = picture.draw()
    baseline, arm, difference = (axis.get_images()[0].get_array() for axis in figure.axes[:3])
    hidden = np.array([[entry is None for entry in row] for row in matrix_of(0)])
    for shown, level in ((baseline, 0.55), (arm, 0.25), (difference, -0.3)):
        assert shown.mask.tolist() == hidden.tolist()
        np.testing.assert_allclose(shown.compressed(), level)
    assert figure.axes[0].get_ylabel() == "class erased"
    assert figure.axes[0].get_xlabel() == "class that loses"
    (table,) = [table for table in document.tables if table.name == "ablation-context"]
    assert table.heads == ("class erased", "plain", "Δ arm 0")
    assert [[cell.text for cell in row] for row in table.rows] == [["meadow", "0.5500", "−0.3000"]]


def test_it_is_among_the_metrics_and_less_is_better(make: Any) -> None:
    document = document_of(made_study(make))
    (overview,) = [table for table in document.tables if table.name == "ablation-overview"]
    assert {f"{CONTEXT_RELIANCE} ↓", f"{CONTEXT_RARE_RELIANCE} ↓"} < set(overview.heads)
    files = render(document, FORMATS)
    assert b"(figures/ablation-context-1.svg)" in files["report.md"]
    assert HEADING in files["report.html"].decode()


def test_a_study_that_never_asked_says_nothing(make: Any) -> None:
    assert HEADING not in str(document_of(made_study(make, measured=(), asked="evaluation.flip=true")).blocks)


def test_it_says_why_it_is_left_out(make: Any) -> None:
    document = document_of(made_study(make, measured=()))
    assert HEADING in str(document.blocks)
    assert "Left out: evaluation.context is set, but no two classes meet in a frame" in str(document.blocks)


def test_one_arm_alone_is_not_compared(make: Any) -> None:
    document = document_of(made_study(make, measured=("arm 0",)))
    assert "Left out: only arm 0 has a measurement; a comparison needs plain and another arm" in str(document.blocks)
    assert not [picture for picture in document.pictures if "context" in picture.name]


def test_many_arms_are_not_all_drawn(make: Any) -> None:
    document = document_of(made_study(make, arms=MOST_PICTURED + 1))
    assert sum(picture.name.startswith("ablation-context-") for picture in document.pictures) == MOST_PICTURED
    (table,) = [table for table in document.tables if table.name == "ablation-context"]
    assert len(table.heads) == 2 + MOST_PICTURED + 1
