"""Two studies side by side: what is paired, what is not, what is refused; the command's tables."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import orchestrator
from orchestrator.compare_studies import main
from orchestrator.report.statistics.paired import adjusted_by_holm, compare
from orchestrator.report.statistics.unpaired import welch
from orchestrator.store.trial_record import State
from tests.orchestrator.report.made_studies import PRESET_ARMS, MadeStudy, begin, preset_plan

DATA = {"section": "fingerprint"}


def made_study(folder: Path, *overrides: str, seeds: int = 6, first_seed: int = 100, gain: float = 0.0) -> MadeStudy:
    folder.mkdir()
    made = begin(folder, *overrides)
    made.search(5)
    made.references()
    plan = preset_plan(seeds)
    plan = replace(plan, seeds=tuple(range(first_seed, first_seed + seeds)))
    made.compare(plan, {name: value + gain * (name == "full") for name, value in PRESET_ARMS.items()})
    return made


def keep(made: MadeStudy, data: dict[str, str] | None = DATA) -> str:
    for record in made.records:
        made.store.plan(record.planned)
        made.store.judge(record, {})
    made.write()
    if data is not None:
        made.store.write_study(made.study.resolved(), data)
    return made.store.address


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Equal but for the gain of an arm, the range of the learning rate and the evaluation."""
    folder = tmp_path_factory.mktemp("pair")
    other = ("train.lr={log_uniform: [0.001, 0.1]}", "evaluation.flip=true")
    return keep(made_study(folder / "a")), keep(made_study(folder / "b", *other, seeds=8, gain=0.2))


def test_arms_of_equal_seeds_are_paired(pair: tuple[str, str]) -> None:
    comparison = orchestrator.compare(*pair)
    rows = {row.name: row for row in comparison.rows}
    assert list(rows) == ["best of the search", *(f"ablation {name}" for name in PRESET_ARMS), "reference plain",
                          "reference official"]  # fmt: skip
    full = rows["ablation full"]
    assert (full.how, full.pairs) == ("paired", 6), "eight seeds in the second, six in both"
    blocks = sorted(full.first)
    expected = compare(
        {"a": full.first, "b": full.second}, "a", metric="val/miou", greater_is_better=True, blocks=blocks
    )[0]
    assert (full.difference, full.low, full.high, full.p_nominal) == (
        expected.difference, expected.low, expected.high, expected.p
    )  # fmt: skip
    assert full.difference is not None
    assert full.difference > 0.1
    assert full.p_nominal == 2 / 2**6
    assert full.p_adjusted is not None
    assert full.p_adjusted > full.p_nominal, "nine rows are compared together"
    assert full.verdict == "not shown"
    assert rows["reference plain"].verdict == "one seed each: no evidence"
    assert rows["best of the search"].how == "unpaired", "another configuration each"


def test_settings_and_what_has_to_be_known(pair: tuple[str, str]) -> None:
    comparison = orchestrator.compare(*pair)
    assert set(comparison.differing) == {"train.lr.log_uniform", "evaluation.flip"}
    assert list(comparison.settings().columns) == ["setting", "first", "second"]
    assert comparison.warnings == ("the evaluations differ (evaluation.flip): a difference may be that of the scoring",)
    frame = comparison.frame().set_index("name")
    assert frame.loc["ablation full", "first_n"] == 6
    assert frame.loc["ablation full", "second_n"] == 8
    assert "<table>" in comparison._repr_html_()


def test_other_seeds_are_not_paired(tmp_path: Path) -> None:
    first, second = keep(made_study(tmp_path / "a")), keep(made_study(tmp_path / "b", first_seed=500))
    rows = {row.name: row for row in orchestrator.compare(first, second).rows}
    assert {row.how for name, row in rows.items() if name.startswith("ablation")} == {"unpaired"}
    row = rows["ablation full"]
    assert row.difference == pytest.approx(np.mean(list(row.second.values())) - np.mean(list(row.first.values())))
    assert row.low is not None
    assert row.high is not None
    assert row.low < row.difference < row.high


def test_a_difference_in_the_wrong_direction_is_worse(tmp_path: Path) -> None:
    modes = ("objective={metric: val/ece, mode: min}",)
    first = keep(made_study(tmp_path / "a", *modes, seeds=12))
    second = keep(made_study(tmp_path / "b", *modes, seeds=12, gain=-0.4))
    row = next(row for row in orchestrator.compare(first, second).rows if row.name == "ablation full")
    assert row.difference is not None
    assert row.difference > 0, "a larger calibration error"
    assert row.verdict == "worse"


def test_studies_on_other_data_have_no_differences(tmp_path: Path) -> None:
    first, second = keep(made_study(tmp_path / "a")), keep(made_study(tmp_path / "b"), {"section": "other"})
    comparison = orchestrator.compare(first, second)
    assert all(row.difference is None for row in comparison.rows)
    assert {row.how for row in comparison.rows} == {"other data"}
    assert "scored on other data" in comparison.warnings[0]
    assert "B − A" not in str(comparison)


def test_other_epochs_objectives_and_unfinished_studies_are_told(tmp_path: Path) -> None:
    changed = ("train.epochs=9", "objective={metric: val/ece, mode: min}")
    made = made_study(tmp_path / "b", *changed)
    made.records[0] = replace(made.records[0], state=State.INTERRUPTED)
    first, second = keep(made_study(tmp_path / "a")), keep(made, None)
    warnings = "\n".join(orchestrator.compare(first, second).warnings)
    assert "whether both were scored on the same data is not known" in warnings
    assert "optimise different things: val/miou (max), and val/ece (min)" in warnings
    assert "trials have 5 and 9 epochs" in warnings
    assert "made is unfinished: 1 trials without an end" in warnings
    assert "both are the same study" in orchestrator.compare(first, first).warnings


def test_metrics_that_not_both_have(tmp_path: Path, pair: tuple[str, str]) -> None:
    with pytest.raises(orchestrator.InputError, match=r"unknown metric 'val/mio'.*did you mean 'val/miou'"):
        orchestrator.compare(*pair, metrics=["val/mio"])
    made = begin(tmp_path, "objective={metric: val/boundary_miou, mode: max}")
    made.search(2)
    made.records = [
        replace(record, epochs=tuple({**epoch, "val/boundary_miou": 0.5} for epoch in record.epochs))
        for record in made.records
    ]
    with pytest.raises(
        orchestrator.InputError, match=r"has no val/boundary_miou.*both have: epoch_seconds, val/context_gap"
    ):
        orchestrator.compare(keep(made), pair[0])
    assert orchestrator.compare(made.store.address, pair[0], metrics=["val/miou"]).metrics == ("val/miou",)


def test_welch_against_its_formula() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(0, 1, 7), rng.normal(0.5, 3, 5)
    result = welch(first.tolist(), second.tolist())
    se = np.sqrt(first.var(ddof=1) / 7 + second.var(ddof=1) / 5)
    assert result.difference == pytest.approx(second.mean() - first.mean())
    assert result.low is not None
    assert result.high is not None
    assert (result.low + result.high) / 2 == pytest.approx(result.difference)
    from scipy import stats

    df = se**4 / ((first.var(ddof=1) / 7) ** 2 / 6 + (second.var(ddof=1) / 5) ** 2 / 4)
    assert (result.high - result.low) / 2 == pytest.approx(stats.t.ppf(0.975, df) * se)
    assert result.p == pytest.approx(2 * stats.t.sf(abs(result.difference) / se, df))
    assert welch([1.0], [2.0, 3.0]).p is None
    with pytest.raises(ValueError, match="no mean"):
        welch([], [1.0])


def test_holm() -> None:
    assert adjusted_by_holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.04, None, 0.09, 0.09])
    assert adjusted_by_holm([]) == []


def test_the_command_fits_80_columns(
    pair: tuple[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.terminal.console.PLAIN_WIDTH", 80)
    assert main([*pair]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "warning: the evaluations differ" in text
    assert any(line.startswith(" ablation full") and "paired, 6" in line for line in lines)
    assert "[0.0001, 0.01]" in text


def test_the_command_writes_markdown_and_csv(pair: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*pair, "--format", "md", "--metric", "val/miou,val/ece"]) == 0
    out = capsys.readouterr().out
    assert len([line for line in out.splitlines() if line.startswith("| --- |")]) == 5
    assert "| ablation full | paired, 6 |" in out
    assert main([*pair, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows[0]["name"] == "best of the search"
    assert float(rows[5]["difference"]) == orchestrator.compare(*pair).rows[5].difference


def test_mistakes_of_the_command(pair: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([pair[0], "none"]) == 2
    assert main([*pair, "--metric", "miou"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "none: no study there" in lines[0]
    assert "unknown metric 'miou'" in lines[1]
