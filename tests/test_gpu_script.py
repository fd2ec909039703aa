"""``benchmarks/gpu.py`` keeps what a section measured, whatever becomes of it, and runs only what is missing."""

import json
import time
from pathlib import Path

import pytest

from benchmarks import gpu


def test_a_section_that_breaks_is_a_row() -> None:
    outcome = gpu.run_section(gpu.Section("nosuch", 60), time.monotonic() + 60, tiny=True)
    assert not outcome.complete
    (row,) = outcome.rows
    assert str(row["problem"]).startswith("exit code 1: ")
    assert "No module named 'gpu_sections.nosuch'" in str(row["problem"])


def test_a_section_without_time_is_not_begun() -> None:
    outcome = gpu.run_section(gpu.Section("nosuch", 60), time.monotonic() + 5, tiny=True)
    assert outcome == gpu.Outcome(False, 0.0, [{"problem": "no time left"}])


def test_complete_sections_are_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    begun: list[str] = []

    def fake(section: gpu.Section, deadline: float, tiny: bool) -> gpu.Outcome:
        begun.append(section.name)
        return gpu.Outcome(section.name != "cost" or begun.count("cost") > 1, 1.0, [{"name": section.name, "ms": 1.5}])

    monkeypatch.setattr(gpu, "run_section", fake)
    arguments = ["--out", str(tmp_path / "gpu.json"), "--sections", "machine,cost,sharing"]
    assert gpu.main(arguments) == 1
    assert gpu.main(arguments) == 0
    assert gpu.main(arguments) == 0
    assert begun == ["machine", "cost", "sharing", "cost"]
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["cost"] == {"complete": True, "seconds": 1.0, "rows": [{"name": "cost", "ms": 1.5}]}
    assert "### cost (1 s, not complete)\n\n| name | ms |\n| --- | --- |\n| cost | 1.5 |" in capsys.readouterr().out


def test_tables_begin_anew_where_the_columns_change() -> None:
    rows: list[gpu.Row] = [{"a": 1, "b": "x|y"}, {"a": 12345, "b": None}, {"c": 0.123456}]
    lines = ["| a | b |", "| --- | --- |", r"| 1 | x\|y |", "| 12,345 |  |", "", "| c |", "| --- |", "| 0.1235 |"]
    assert gpu.markdown(rows) == "\n".join(lines)


def measured(tmp_path: Path, **sections: list[gpu.Row]) -> gpu.Results:
    results = gpu.Results(tmp_path / "gpu.json")
    results.outcomes = {name: gpu.Outcome(True, 1.0, rows) for name, rows in sections.items()}
    return results


def test_goals_are_told_of_what_was_measured(tmp_path: Path) -> None:
    def cost(variant: str, ratio: float) -> gpu.Row:
        return {"model": "deeplabv3plus", "layer": "decoder", "variant": variant, "x plain": ratio}

    assert gpu.goals(measured(tmp_path)) == []
    rows = gpu.goals(
        measured(
            tmp_path,
            cost=[cost("plain", 1.0), cost("literal", 1.15), cost("gate", 1.06)],
            sharing=[{"trial": "small", "gain": 2.5}, {"trial": "large", "gain": 1.5}],
            waits=[
                {"three steps of": "plain", "waits at": "nowhere", "in mode error": "passed"},
                {"three steps of": "lovasz", "waits at": "1 x loss.py:3", "in mode error": "called a synchronizing"},
            ],
            suite=[{"tests/gpu": "FAILED tests/gpu/x.py"}, {"tests/gpu": "90 passed in 40 s"}],
        )
    )
    met = {row["goal"]: row["met"] for row in rows}
    assert met == {
        "suppression at the decoder, x plain": "yes",
        "its extra as a share of the literal extra": "yes",
        "four at once: small": "yes",
        "four at once: large": "no",
        "of 2 kinds of trial wait for the GPU in a step": "no",
        "tests/gpu": "yes",
    }
    (waits,) = (row for row in rows if "wait" in str(row["goal"]))
    assert waits["measured"] == 1


@pytest.mark.parametrize("summary", ["1 failed, 89 passed in 40 s", "137 skipped in 2 s", "1 error in 3 s"])
def test_a_suite_that_does_not_pass_is_no_goal_met(tmp_path: Path, summary: str) -> None:
    (row,) = gpu.goals(measured(tmp_path, suite=[{"tests/gpu": summary}]))
    assert (row["measured"], row["met"]) == (summary, "no")
