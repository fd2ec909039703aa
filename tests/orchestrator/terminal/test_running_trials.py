"""The table of running trials, and the forecasts beside it."""

import io
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import NoReturn

import pytest
from rich.console import Console, Group

from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Objective
from orchestrator.terminal.beside import Rival
from orchestrator.terminal.display import LiveDisplay, ended_line, ended_text
from orchestrator.terminal.formats import folded
from orchestrator.terminal.progress import Progress
from orchestrator.terminal.trial_table import running_table
from trainable.evaluate.metrics.names import EPOCH_SECONDS

METRIC = "val/object_miou_swapped"
OBJECTIVE = Objective(metric=METRIC, mode="max")
PICKS = {
    "suppression.p_max": 0.84571,
    "suppression.sampling": "frequency",
    "suppression.layer": "encoder.3",
    "suppression.schedule": "warmup_constant",
    "suppression.alpha": 0.01234,
}


def trial(
    key: str,
    *scores: float,
    state: State = State.RUNNING,
    kind: str | None = None,
    number: int = 0,
    picks: Mapping[str, float | str] | None = None,
    arm: str | None = None,
    block: int | None = None,
    seconds: float = 10.0,
) -> Record:
    kind = kind or ("reference" if key.startswith("reference") else "search")
    planned = Planned(key, kind, number, {"train": {"epochs": 4}}, dict(picks) if picks else None, arm=arm, block=block)  # type: ignore[arg-type]
    return Record(planned, tuple({METRIC: score, EPOCH_SECONDS: seconds} for score in scores), state)


PLAIN = trial("reference-plain", 0.1, 0.2, 0.3, 0.4, state=State.COMPLETE)


def lines(progress: Progress, width: int, most: int = 100) -> list[str]:
    return [line.plain for line in running_table(progress, width, most)]


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_what_a_trial_tries_and_how_it_fares_fits_any_width_without_a_broken_word(width: int) -> None:
    progress = Progress(9, 4, OBJECTIVE, known=[PLAIN], rival=Rival("plain", OBJECTIVE, 0))
    progress.update(trial("search-0001", 0.15, 0.25, picks=PICKS))
    progress.update(trial("search-0002", 0.05, picks=PICKS, number=1, seconds=200))
    shown = lines(progress, width)
    assert max(map(len, shown)) <= width
    text = " ".join(" ".join(shown).split())
    for pick in ("frequency, encoder.3, p_max 0.846", "alpha 0.0123", "schedule warmup_constant"):
        assert text.count(pick) == 2, (width, text)
    assert re.search(r"search-0001 2/4 10\.0 s 0\.2500 \+0\.0500 better", text)
    assert re.search(r"search-0002 1/4 3 min 20 s 0\.0500 -0\.0500 worse", text)
    assert (f"{METRIC} ↑" in text) == (width >= 80), "the objective's name is left out only where it has no room"


def test_less_is_better_and_equal_is_neither() -> None:
    objective = Objective(metric=METRIC, mode="min")
    progress = Progress(9, 4, objective, known=[PLAIN], rival=Rival("plain", objective, 0))
    progress.update(trial("search-0001", 0.05))
    progress.update(trial("search-0002", 0.15))
    progress.update(trial("search-0003", 0.10))
    shown = lines(progress, 120)
    assert f"{METRIC} ↓" in shown[0]
    assert [line.split()[-1] for line in shown[1:]] == ["better", "worse", "equal"]


def test_a_run_of_a_comparison_is_held_against_the_baseline_of_its_seed() -> None:
    rival = Rival("plain", OBJECTIVE)
    progress = Progress(8, 4, OBJECTIVE, rival=rival, stage="ablation")
    for block, score in enumerate((0.3, 0.5)):
        progress.update(trial(f"ablation-plain-s{block}", score, kind="ablation", arm="plain", block=block))
    progress.update(trial("ablation-full-s1", 0.4, kind="ablation", arm="full", block=1))
    progress.update(trial("ablation-full-s2", 0.4, kind="ablation", arm="full", block=2))
    rows = {line.split()[0]: line for line in lines(progress, 120)}
    assert "-0.1000 worse" in rows["ablation-full-s1"]
    assert "full, seed 2" in rows["ablation-full-s1"]
    assert "worse" not in rows["ablation-full-s2"]
    assert "better" not in rows["ablation-full-s2"], "its rival has not begun"
    assert "worse" not in rows["ablation-plain-s0"], "nothing is its own rival"


def test_a_rival_that_is_not_as_far_compares_with_nothing() -> None:
    young = trial("reference-plain", 0.1)
    progress = Progress(9, 4, OBJECTIVE, rival=Rival("plain", OBJECTIVE, 0))
    progress.update(young)
    progress.update(trial("search-0001", 0.2, 0.3))
    assert progress.distance_in_words(progress.records["search-0001"]) == ""
    progress.update(young.with_epoch(2, {METRIC: 0.25}))
    assert progress.distance_in_words(progress.records["search-0001"]) == "+0.0500 better than plain"


@pytest.mark.parametrize(
    ("references", "rival"),
    [(["official", "plain"], ("plain", 1)), (["official", "full"], ("official", 0)), (["none"], ("none", 0))],
)
def test_others_are_held_against_the_reference_without_suppression(references: list[str], rival: object) -> None:
    chosen = Rival.among(references, OBJECTIVE)
    assert chosen is not None
    assert (chosen.name, chosen.number) == rival
    assert Rival.among([], OBJECTIVE) is None


def test_more_trials_than_there_is_room_for_are_counted() -> None:
    progress = Progress(200, 4, OBJECTIVE)
    for number in range(50):
        progress.update(trial(f"search-{number:04d}", 0.1, picks=PICKS, number=number))
    shown = lines(progress, 80, 12)
    assert len(shown) <= 12
    rows = sum(line.startswith("search-") for line in shown)
    assert 1 < rows < 12
    assert shown[-1] == f"and {50 - rows} more are running"


def test_a_display_says_what_follows_and_which_direction_is_better() -> None:
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system=None)
    known = [PLAIN, trial("search-0000", 0.9, 0.9, 0.9, 0.9, state=State.COMPLETE)]
    progress = Progress(
        9, 4, OBJECTIVE, known, rival=Rival("plain", OBJECTIVE, 0), place="1 of 3", later="confirm and ablation"
    )
    progress.update(trial("search-0001", 0.2, picks=PICKS))
    frame = LiveDisplay(progress, console)._render()
    assert isinstance(frame, Group)
    console.print(frame)
    assert isinstance(console.file, io.StringIO)
    drawn = console.file.getvalue()
    assert all(len(line) <= 80 for line in drawn.splitlines())
    text = " ".join(drawn.split())
    assert "search (1 of 3) · 2/9 done, 1 running, 0 failed · ETA 4 min 30 s, then confirm and ablation" in text
    assert f"best {METRIC} 0.9000 (search-0000), +0.5000 better than plain, higher is better" in text


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("orchestrator.terminal.progress.time.monotonic", lambda: now[0])
    return now


def test_a_forecast_falls_while_an_epoch_runs_and_the_last_trial_has_nobody_beside_it(clock: list[float]) -> None:
    progress = Progress(2, 4, OBJECTIVE)
    for key in ("search-0000", "search-0001"):
        progress.update(trial(key))
    clock[0] = 10.0
    for key in ("search-0000", "search-0001"):
        progress.update(trial(key, 0.1))
    assert progress.eta_seconds() == pytest.approx(30), "three epochs of each, side by side"
    clock[0] = 14.0
    assert progress.eta_seconds() == pytest.approx(26)
    clock[0] = 20.0
    progress.update(trial("search-0000", 0.1, 0.1, 0.1, 0.1, state=State.COMPLETE))
    progress.update(trial("search-0001", 0.1, 0.1))
    assert progress.eta_seconds() == pytest.approx(20), "two epochs of one trial, alone"


def test_trials_that_have_not_begun_are_taken_to_stop_as_early_as_others(clock: list[float]) -> None:
    progress = Progress(8, 4, OBJECTIVE)
    progress.update(trial("search-0000"))
    for number, epochs in enumerate((1, 1, 2, 4)):
        clock[0] += 10 * epochs
        state = State.COMPLETE if epochs == 4 else State.PRUNED
        progress.update(trial(f"search-{number:04d}", *[0.1] * epochs, state=state, number=number))
    assert progress.eta_seconds() == pytest.approx(80), "four trials of two epochs each, not of four"


def test_imported_trials_are_none_of_the_studys_own() -> None:
    imported = trial("imported-0000", 0.9, 0.9, 0.9, 0.9, state=State.COMPLETE, kind="imported")
    progress = Progress(3, 4, OBJECTIVE, known=[imported])
    assert progress.line().startswith("0/3 done, 0 running, 0 failed · 0/12 epochs")
    assert "best val/object_miou_swapped 0.9000 (imported-0000)" in progress.line()


def test_an_heirs_epochs_and_those_of_an_earlier_launch_are_no_pace(clock: list[float]) -> None:
    heir = trial("search-0000", 0.1, 0.1, 0.1, seconds=5)
    heir = replace(heir, planned=replace(heir.planned, prefix="prefix-0", inherited=2))
    progress = Progress(1, 4, OBJECTIVE)
    progress.update(replace(heir, epochs=()))
    clock[0] = 100.0
    progress.update(heir)
    assert progress.eta_seconds() == pytest.approx(5), "one epoch of 5 s is left; the other 95 s were start-up"


@pytest.mark.parametrize(
    ("name", "width", "lines_of"),
    [
        ("val/object_miou_swapped ↑", 12, ["val/object_", "miou_", "swapped ↑"]),
        ("official_recalibrated", 14, ["official_", "recalibrated"]),
        ("plain", 14, ["plain"]),
        ("a-b.c", 2, ["a-", "b.", "c"]),
    ],
)
def test_names_break_between_their_parts_alone(name: str, width: int, lines_of: list[str]) -> None:
    assert folded(name, width).split("\n") == lines_of


@pytest.mark.parametrize("width", [70, 80, 200])
def test_an_ended_trial_breaks_between_its_picks(width: int) -> None:
    progress = Progress(9, 4, OBJECTIVE, known=[PLAIN], rival=Rival("plain", OBJECTIVE, 0))
    ended = trial("search-0001", 0.1, 0.2, 0.3, 0.5, picks=PICKS).ended(State.FAILED, "epoch 5: the loss is nan")
    text = ended_text(ended, progress, width)
    line = ended_line(ended, progress).replace(" than plain", "" if width == 80 else " than plain")
    assert text.plain.replace(",", "").split() == line.replace(",", "").split()
    picks = [line for line in text.plain.splitlines() if "p_max" in line or "alpha" in line]
    assert max(map(len, picks)) <= width
    assert all("p_max 0.846" in line or "alpha 0.0123" in line for line in picks)
    assert any("green" in str(span.style) for span in text.spans)


class Unread(dict[str, Record]):
    """Records that nobody may go through: with thousands of them each frame would."""

    def values(self) -> NoReturn:
        raise AssertionError("a frame goes through all trials")

    __iter__ = items = values  # type: ignore[assignment]


def test_a_frame_goes_through_no_trials_that_have_ended() -> None:
    known = [trial("reference-plain", 0.2, 0.3, state=State.COMPLETE)]
    progress = Progress(9, 4, OBJECTIVE, known, rival=Rival("plain", OBJECTIVE, 0))
    progress.records = Unread(progress.records)
    for number in range(4):
        scores = [0.1 * number] * (4 if number < 2 else 2)
        progress.update(trial(f"search-{number:04d}", *scores, state=State.COMPLETE if number < 2 else State.PRUNED))
    progress.update(trial("search-0004", 0.3))
    assert lines(progress, 120)
    assert progress.line().startswith(
        f"5/9 done, 1 running, 0 failed · 15/36 epochs · best {METRIC} 0.1000 (search-0001)"
    )
    assert progress._epochs_left() == 3 + 3 * 3  # trials are stopped after 3 epochs on average
