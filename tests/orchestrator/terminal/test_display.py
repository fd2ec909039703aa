import io
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from orchestrator.store.stage_plan import Arm, StagePlan
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import Objective, Study
from orchestrator.terminal.console import announced
from orchestrator.terminal.display import LiveDisplay, PlainDisplay, build_display
from orchestrator.terminal.formats import duration
from orchestrator.terminal.progress import Progress
from orchestrator.terminal.summary import NO_EVIDENCE, TO_OPEN, print_summary
from trainable.evaluate.metrics.names import EPOCH_SECONDS

OBJECTIVE = Objective(metric="val/miou", mode="max")


def record(key: str, *scores: float, state: State = State.RUNNING, reason: str | None = None) -> Record:
    kind = "reference" if key.startswith("reference") else "search"
    planned = Planned(key, kind, 0, {"train": {"epochs": 4}}, {"suppression.p_max": 0.25})  # type: ignore[arg-type]
    return Record(planned, tuple({"val/miou": score, "val/rare_miou": score / 2} for score in scores), state, reason)


def plain_console() -> Console:
    return Console(file=io.StringIO(), width=120)


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_counts_best_and_forecast() -> None:
    progress = Progress(4, 4, OBJECTIVE, known=[record("search-0000", 0.1, 0.2, 0.3, 0.5, state=State.COMPLETE)])
    assert "ETA after the first epoch" in progress.line()
    progress.update(record("search-0001", 0.2, 0.4))
    progress.update(record("search-0002", state=State.FAILED, reason="x"))
    line = progress.line()
    assert "1/4 done, 1 running, 1 failed" in line
    assert "best val/miou 0.5000 (search-0000)" in line
    progress.started -= 10  # two epochs in ten seconds; two of this trial and four of the last are left
    eta = progress.eta_seconds()
    assert eta is not None
    assert eta == pytest.approx(30, abs=1)


@pytest.mark.parametrize("keys", [("search-0000", "search-0001"), ("search-0001", "search-0000")])
def test_of_equal_trials_the_first_is_the_best_whichever_ends_first(keys: tuple[str, str]) -> None:
    progress = Progress(2, 4, OBJECTIVE)
    for key in keys:
        progress.update(record(key, 0.5, state=State.COMPLETE))
    assert "best val/miou 0.5000 (search-0000)" in progress.line()


def timed(planned: Record, *seconds: float) -> Record:
    """A running trial whose epochs took so long."""
    return replace(planned, epochs=tuple({"val/miou": 0.5, EPOCH_SECONDS: each} for each in seconds))


def test_the_forecast_after_a_resume_knows_what_was_done_before(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("orchestrator.terminal.progress.time.monotonic", lambda: now[0])
    interrupted = replace(timed(record("search-0000"), 9, 9, 9), state=State.INTERRUPTED)
    waiting = replace(timed(record("search-0001"), 9, 9), state=State.INTERRUPTED)
    progress = Progress(3, 4, OBJECTIVE, known=[interrupted, waiting])
    assert "5/12 epochs" in progress.line()
    now[0] += 100  # Ray and the workers start
    progress.update(replace(interrupted, state=State.RUNNING))
    assert progress.eta_seconds() is None, "no epoch of this launch yet"
    assert "5/12 epochs" in progress.line()
    now[0] += 10
    progress.update(replace(timed(record("search-0000"), 9, 9, 9, 10), state=State.COMPLETE))
    assert progress.eta_seconds() == pytest.approx(60), "two epochs and four, 10 s each; no start-up, no earlier epoch"
    assert "6/12 epochs" in progress.line()


def test_epochs_from_prefixes_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("orchestrator.terminal.progress.time.monotonic", lambda: now[0])
    progress = Progress(3, 4, OBJECTIVE, inherited=6)
    heir = timed(record("search-0000"), 10, 10, 10)
    heir = replace(heir, planned=replace(heir.planned, prefix="prefix-0", inherited=2))
    progress.update(replace(heir, epochs=()))
    assert "0/12 epochs" in progress.line()
    now[0] = 10.0
    progress.update(heir)
    assert "3/12 epochs · 2 epochs from shared prefixes" in progress.line()
    assert progress.eta_seconds() == pytest.approx(50), "one epoch of this trial and two of each other, 10 s each"


def test_the_summary_tells_what_sharing_saved(study: Callable[..., Study]) -> None:
    prefix = record("prefix-0", 0.1, 0.2, state=State.COMPLETE)
    prefix = replace(prefix, planned=replace(prefix.planned, kind="prefix", starts=(2,), picks=None))
    other = replace(prefix, planned=replace(prefix.planned, key="prefix-1"), epochs=(), state=State.FAILED, reason="no")
    runs = [record(f"search-000{number}", 0.1, 0.2, 0.3, 0.4, state=State.COMPLETE) for number in range(3)]
    heirs = [replace(run, planned=replace(run.planned, prefix="prefix-0", inherited=2)) for run in runs]
    console = plain_console()
    print_summary(console, study(), [prefix, other, *heirs], {}, seconds=3, results={})
    shown = text(console)
    assert "Study s: 3 complete; 3 s in this launch" in shown
    assert "prefixes: 3 runs began with the 2 epochs of 1 shared prefix, 6 with each its own: 4 epochs saved" in shown
    assert "failed: prefix-1: no; nothing is lost: its runs train these epochs themselves" in " ".join(shown.split())


def test_the_first_forecast_counts_the_trials_beside_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("orchestrator.terminal.progress.time.monotonic", lambda: now[0])
    progress = Progress(2, 4, OBJECTIVE)
    for key in ("search-0000", "search-0001"):
        progress.update(record(key))
    now[0] = 10.0
    progress.update(timed(record("search-0000"), 10))
    assert progress.eta_seconds() == pytest.approx(35), "7 epochs, two in 10 s"


def test_epochs_that_are_run_again_are_counted_again() -> None:
    failed = replace(timed(record("search-0000"), 1, 1, 1), state=State.INTERRUPTED)
    progress = Progress(1, 4, OBJECTIVE, known=[failed])
    progress.update(record("search-0000"))
    progress.update(timed(record("search-0000"), 1))
    assert "1/4 epochs" in progress.line()
    assert progress.eta_seconds() is not None


def test_lines_without_a_terminal_have_no_control_codes() -> None:
    console = plain_console()
    with build_display(Progress(2, 4, OBJECTIVE), console) as display:
        assert isinstance(display, PlainDisplay)
        display.update(record("search-0000"))
        display.update(record("search-0000", 0.1))
        display.update(record("search-0000", 0.1, 0.2, 0.3, 0.4, state=State.COMPLETE))
        display.update(record("search-0001", 0.1, state=State.FAILED, reason="epoch 2: the loss is nan"))
    out = text(console)
    assert "\x1b" not in out
    assert "search-0000  complete  4 epochs  val/miou 0.4000" in out
    assert "search-0001  failed  1 epoch  val/miou 0.1000  p_max 0.25  epoch 2: the loss is nan" in out


def test_a_terminal_shows_the_running_trials() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with build_display(Progress(2, 4, OBJECTIVE), console) as display:
        assert isinstance(display, LiveDisplay)
        display.update(record("search-0000", 0.125))
    assert "search-0000" in text(console)
    assert "1/4" in text(console)
    assert "0.1250" in text(console)


def test_the_summary_compares_with_the_references_and_claims_nothing(study: Callable[..., Study]) -> None:
    console = plain_console()
    records = [
        record("reference-plain", 0.3, state=State.COMPLETE),
        record("reference-official", 0.1, state=State.COMPLETE),
        record("search-0000", 0.4, state=State.COMPLETE),
        record("search-0001", 0.2, state=State.FAILED, reason="epoch 2: the loss is nan"),
    ]
    print_summary(console, study(), records, {}, seconds=61, results={"study": "/there", "runs": "mlflow ui"})
    out = text(console)
    assert "3 complete, 1 failed; 1 min 1 s" in out
    assert "best" in out
    assert out.index("search-0000") < out.index(" plain ") < out.index(" official ")
    assert " suppression.p_max  0.25" in out
    assert NO_EVIDENCE in out
    assert "failed: search-0001: epoch 2: the loss is nan" in out
    assert "/there" in out


def test_the_summary_shows_the_best_epoch_beside_the_last_on_80_columns(study: Callable[..., Study]) -> None:
    console = Console(file=io.StringIO(), width=80)
    names = ("reference-plain", "reference-plain_small", "reference-official")
    references = [record(name, 0.3, 0.7, 0.1, state=State.COMPLETE) for name in names]
    runs = [
        replace(one, planned=replace(one.planned, kind="ablation", arm=arm, block=block))
        for arm, block, *scores in (("plain", 0, 0.5, 0.4), ("plain", 1, 0.3, 0.3), ("full", 0, 0.5, 0.5))
        for one in [record(f"ablation-{arm}-{block}", *scores, state=State.COMPLETE)]
    ]
    plan = StagePlan("ablation", "arms", "plain", (Arm("plain"), Arm("full")), (0, 1))
    trials = [record("search-0000", 0.2, 0.4, state=State.COMPLETE), *references, *runs]
    print_summary(console, study(), trials, {"ablation": plan}, seconds=61, results={})
    assert all(len(line) <= 80 for line in text(console).splitlines() if "." in line and ":" not in line)
    rows = [line.split() for line in text(console).splitlines() if not line.isspace()]
    at = rows.index(["val/miou", "↑", "0.4000", "0.1000", "0.1000", "0.1000"])
    assert rows[at + 1 : at + 3] == [["best", "minus", "this", *["+0.3000"] * 3], ["better"] * 3]
    assert rows[at + 3 : at + 5] == [["best", "epoch,", "biased", "0.4000", "@2", *["0.7000", "@2"] * 3], ["upwards"]]
    assert "@2: in epoch 2" in text(console), "what 0.7000 @2 means"
    assert ["plain", "0.3500", "0.0707", "2", "-", "0.4000"] in rows
    assert ["full", "0.5000", "-", "1", "+0.1000", "0.5000", "(+0.0000)"] in rows, (
        "a pair with 0.4000, whose best is 0.5"
    )


@pytest.mark.parametrize("width", [80, 120])
def test_a_loss_in_rare_classes_is_seen_below_them(width: int, study: Callable[..., Study]) -> None:
    trials = [record(name, 0.3, state=State.COMPLETE) for name in ("search-0000", "reference-plain")]
    trials[0].epochs[-1].update({"val/rare_miou": 0.7223, "val/pixel_accuracy": 0.5})  # type: ignore[attr-defined]
    trials[1].epochs[-1].update({"val/rare_miou": 0.9191, "val/pixel_accuracy": 0.6})  # type: ignore[attr-defined]
    console = Console(file=io.StringIO(), width=width)
    print_summary(console, study(), trials, {}, seconds=1, results={})
    lines = [line.split() for line in text(console).splitlines() if line.strip()]
    at = lines.index(["val/rare_miou", "↑", "0.7223", "0.9191"])
    assert lines[at + 1] == ["best", "minus", "this", "-0.1968", "worse"]
    assert sum(line[:3] == ["best", "minus", "this"] for line in lines) == 2, "of the objective and the rare classes"


@pytest.mark.parametrize(("runs", "starts"), [("python -m mlflow ui --port 1", True), ("http://h:5000", False)])
def test_what_is_to_be_seen_stands_in_the_order_in_which_one_acts(
    runs: str, starts: bool, study: Callable[..., Study]
) -> None:
    console = plain_console()
    places = {"study": "/s", "runs": runs, "report": None, "page": "http://h:5000/#/x", "best": "b"}
    print_summary(console, study(), [], {}, seconds=1, results=places)
    said = [TO_OPEN] if starts else []
    assert text(console).splitlines()[-4 - starts :] == [
        "study  /s", "best   b", *said, f"runs   {runs}", "page   http://h:5000/#/x"
    ][-4 - starts :]  # fmt: skip


def suppressing(
    key: str, *epochs: tuple[float, float, float], mechanism: str = "gate", arm: str | None = None
) -> Record:
    """A complete trial whose epochs have p(z) with z kept and dropped, and a share of draws that dropped."""
    names = ("suppression/p_kept", "suppression/p_dropped", "train/dropped_share")
    metrics = tuple({"val/miou": 0.5, **dict(zip(names, epoch, strict=True))} for epoch in epochs)
    plan = record(key).planned
    config = {**plan.config, "suppression": {"mechanism": {"name": mechanism}}}
    kind = "ablation" if arm else plan.kind
    return Record(replace(plan, config=config, arm=arm, kind=kind), metrics, State.COMPLETE)  # type: ignore[arg-type]


LATE = [(0.2, 0.0, 1.0), (0.6, 0.59, 0.5), (0.5, 0.48, 0.5), (0.7, 0.66, 0.5)]
"""Bit in the first of its four epochs alone."""


@pytest.mark.parametrize(
    ("trial", "said"),
    [
        (suppressing("search-0000", *LATE), "suppression hardly bites: search-0000, p(z) 0.600 -> 0.577; dropping"),
        (
            suppressing("reference-official", *LATE),
            "suppression hardly bites: reference-official, p(z) 0.600 -> 0.577;",
        ),
        (suppressing("ablation-0", *LATE, arm="full"), "suppression hardly bites: full, p(z) 0.600 -> 0.577;"),
        (suppressing("search-0000", *LATE, (0.6, 0.4, 0.5)), None),
        (suppressing("search-0000", *LATE, mechanism="random_channels"), None),
        (suppressing("search-0000", (0.6, 0.6, 0.0)), None),  # no drop: nothing was to be taken away
        (suppressing("search-0000", *LATE, (0.6, 0.1, 0.0)), "0.600 -> 0.577"),  # its last epoch dropped nothing
        (record("search-0000", 0.5, state=State.COMPLETE), None),
    ],
)
def test_the_summary_warns_where_suppression_does_not_bite(
    study: Callable[..., Study], trial: Record, said: str | None
) -> None:
    console = Console(file=io.StringIO(), width=1000)
    print_summary(console, study(), [trial], {}, seconds=61, results={})
    out = text(console)
    if said is None:
        assert "hardly bites" not in out
        return
    assert said in out
    assert all(word in out for word in ("suppression.granularity: image", "model.init: small", "warmup_constant"))


def test_an_arm_is_judged_by_the_mean_of_its_runs_and_trials_that_are_not_best_are_not(
    study: Callable[..., Study],
) -> None:
    biting, lame = [(0.6, 0.1, 1.0)], [(0.6, 0.6, 1.0)]
    runs = [suppressing(f"ablation-{n}", *epochs, arm="full") for n, epochs in enumerate([biting, lame])]
    best, other = suppressing("search-0000", *biting), suppressing("search-0001", *lame)
    other = replace(other, epochs=({**other.epochs[0], "val/miou": 0.1},))
    console = plain_console()
    print_summary(console, study(), [best, other, *runs], {}, seconds=61, results={})
    assert "hardly bites" not in text(console)


def test_the_summary_of_several_objectives_is_a_pareto_front(study: Callable[..., Study]) -> None:
    console = plain_console()
    several = study("objective=[{metric: val/miou, mode: max}, {metric: val/rare_miou, mode: min}]")
    records = [record(f"search-{n}", n / 10, state=State.COMPLETE) for n in (1, 2, 3)]
    print_summary(console, several, records, {}, seconds=1, results={"study": "/there"})
    out = text(console)
    assert "Pareto front" in out
    assert "biased upwards" in out, "of val/miou"
    assert "biased downwards" in out, "of val/rare_miou, of which less is better here"
    assert all(f"search-{n}" in out for n in (1, 2, 3))


def test_a_study_in_which_all_failed_has_a_summary(study: Callable[..., Study]) -> None:
    console = plain_console()
    failed = replace(record("search-0000"), state=State.FAILED, reason="boom")
    print_summary(console, study(), [failed], {}, seconds=1, results={"study": "/there"})
    assert "failed: search-0000: boom" in text(console)
    assert NO_EVIDENCE not in text(console)


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (61, "1 min 1 s"), (7260, "2 h 1 min")])
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(("takes", "told"), [(0.0, ""), (0.4, "Checking 3 models\n")])
def test_what_takes_long_is_told_while_it_is_done(takes: float, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.terminal.console.SILENCE_S", 0.1)
    out = io.StringIO()
    with announced(Console(file=out, width=120), "Checking 3 models"):
        time.sleep(takes)
        assert out.getvalue() == told
    time.sleep(0.2)
    assert out.getvalue() == told
