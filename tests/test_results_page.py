"""``python -m benchmarks``: new figures get into RESULTS.md with commit and date, and old ones are told."""

import runpy
import shlex
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from benchmarks.results import command, measuring
from benchmarks.results.catalog import BY_NAME, CATALOG, ROOT, Benchmark
from benchmarks.results.history import History
from benchmarks.results.page import Figures, Stamp, read, replaced

DAY = date(2026, 11, 23)
PAGE = """# Results

Words before.

<!-- figures: one; written in 1234567 on 2026-11-23 -->

*Written in 1234567 on 2026-11-23.*

| a |
| --- |
| 1 |

<!-- end of one -->

Words between.

<!-- figures: two; measured at abcdef0-dirty on 2026-11-24 -->
two
<!-- end of two -->

Words after.
"""


def test_figures_carry_commit_and_date() -> None:
    one, two = read(PAGE)
    assert (one.name, one.stamp) == ("one", Stamp("1234567", DAY, measured=False))
    assert (two.name, two.stamp) == ("two", Stamp("abcdef0", date(2026, 11, 24), dirty=True))
    assert two.text == "two\n"


def test_a_measurement_replaces_its_own_part_alone() -> None:
    new = replaced(PAGE, "one", Stamp("fedcba9", DAY), ["`python x`", "3 s"], "| b |\n")
    assert new.startswith("# Results\n\nWords before.\n\n<!-- figures: one; measured at fedcba9 on 2026-11-23 -->\n")
    assert "*Measured at fedcba9 on 2026-11-23: `python x`, 3 s.*\n\n| b |\n" in new
    assert new.partition("<!-- end of one -->")[2] == PAGE.partition("<!-- end of one -->")[2]
    assert replaced(new, "one", Stamp("fedcba9", DAY), ["`python x`", "3 s"], "| b |\n") == new


def test_figures_that_the_page_lacks_come_last() -> None:
    new = replaced(PAGE, "three", Stamp("fedcba9", DAY), ["x"], "c\\1\n")
    assert new.startswith(PAGE)
    assert [figures.name for figures in read(new)] == ["one", "two", "three"]
    assert "c\\1" in replaced(new, "three", Stamp("fedcba9", DAY), ["x"], "c\\1\n")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("<!-- end of one -->\n", "", "a mark without its other half, or of another form: <!-- figures: one"),
        ("2026-11-24 -->", "yesterday -->", "a mark without its other half, or of another form: <!-- figures: two"),
        ("two", "one", "figures marked twice: one"),
        ("Words after.", "| --- |", "a table without marks"),
    ],
)
def test_damaged_marks_are_told(old: str, new: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(PAGE.replace(old, new))


def test_every_table_of_the_real_page_is_stamped() -> None:
    assert len(read((ROOT / command.PAGE).read_text())) >= 16


def _repository(root: Path) -> History:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)

    git("init", "-q")
    for text in ("first", "second", "third"):
        (root / "measured.txt").write_text("old" if text == "first" else "new")
        (root / "other.txt").write_text(text)
        git("add", ".")
        git("commit", "-q", "-m", text)
    return History(root, "RESULTS.md")


def test_age_counts_days_commits_and_changed_files(tmp_path: Path) -> None:
    history = _repository(tmp_path)
    commit = history._git("rev-parse", "--short", "HEAD~2")
    figures = Figures("one", Stamp(commit, DAY), "")
    assert history.age(figures, ["measured.txt"], date(2026, 11, 25)).endswith(
        f"measured at {commit} on 2026-11-23: 2 days, 2 commits; 1 file that it measures changed since"
    )
    later = replace(figures, stamp=Stamp(history._git("rev-parse", "--short", "HEAD~1"), DAY))
    assert history.age(later, ["measured.txt"], DAY).endswith("0 days, 1 commit; nothing that it measures changed")


def test_age_of_a_commit_that_git_lacks_is_in_days(tmp_path: Path) -> None:
    figures = Figures("one", Stamp("1234567", DAY), "")
    told = _repository(tmp_path).age(figures, ["measured.txt"], date(2026, 11, 24))
    assert "measured at 1234567 on 2026-11-23: 1 day; git rev-list: " in told
    assert "1 day; git rev-list: " in History(tmp_path / "..", "RESULTS.md").age(figures, [], date(2026, 11, 24))


def test_only_files_beside_the_page_make_a_commit_dirty(tmp_path: Path) -> None:
    history = _repository(tmp_path)
    (tmp_path / "RESULTS.md").write_text("new")
    assert not history.now().dirty
    (tmp_path / "measured.txt").write_text("changed")
    assert history.now().dirty


def test_ages_never_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--ages"], tmp_path) == 0
    assert "No such file" in capsys.readouterr().out
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / command.PAGE).write_text(PAGE)
    assert command.main(["--ages"], tmp_path) == 0
    printed = capsys.readouterr().out
    assert "one                    written in 1234567 on 2026-11-23" in printed
    assert "scale                  never measured" in printed


def _measurable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, **settings: object) -> Path:
    """A repository whose page holds the only benchmark of the catalog."""
    (tmp_path / "benchmarks").mkdir()
    page = tmp_path / command.PAGE
    page.write_text(PAGE)
    script = tmp_path / "measured.py"
    script.write_text(code)
    _repository(tmp_path)
    benchmark = replace(Benchmark("one", (shlex.quote(str(script)),), minutes=1), **settings)
    monkeypatch.setattr(command, "CATALOG", (benchmark,))
    monkeypatch.setattr(command, "BY_NAME", {"one": benchmark})
    return page


def test_a_measurement_is_stamped_with_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = _measurable(tmp_path, monkeypatch, "print('7 ms')")
    assert command.main(["--all"], tmp_path) == 0
    one, two = read(page.read_text())
    assert one.stamp == History(tmp_path, command.PAGE).now()
    assert one.stamp.measured
    assert not one.stamp.dirty
    assert one.text.endswith("measured.py\n7 ms\n```\n\n")
    assert two.text == "two\n"
    (tmp_path / "other.txt").write_text("changed")
    assert command.main(["one"], tmp_path) == 0
    assert read(page.read_text())[0].stamp.dirty


@pytest.mark.parametrize(
    ("code", "settings", "arguments", "exit_code", "words"),
    [
        ("raise SystemExit('broken')", {}, ["one"], 1, "exit code 1\nbroken\nits older figures stay"),
        ("print(1)", {"needs": (lambda: "it needs a GPU",)}, ["one"], 0, "one: left out, it needs a GPU"),
        ("print(1)", {"only_named": True}, ["--all"], 0, "one: left out, it takes about 1 min"),
    ],
)
def test_what_fails_or_is_left_out_keeps_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, code, settings, arguments, exit_code: int, words: str
) -> None:
    page = _measurable(tmp_path, monkeypatch, code, **settings)
    assert command.main(arguments, tmp_path) == exit_code
    captured = capsys.readouterr()
    assert words in captured.out + captured.err
    assert page.read_text() == PAGE


def test_repeats_give_medians_of_every_number() -> None:
    outputs = ["ours  9.5 ms (1,200/s)", "ours 10.5 ms (1,100/s)", "ours 10.1 ms (999/s)"]
    assert measuring._lines(outputs) == ["ours 10.1 ms (1,100/s)"]
    assert measuring._lines(["a 1", "b 2"]) == ["run 1:", "a 1", "run 2:", "b 2"]


def test_names_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(["nosuch"])
    assert "unknown: nosuch; valid: trial-overhead" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        command.main([])


def _help(script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert not ended.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("script", sorted({script for benchmark in CATALOG for script in benchmark.scripts}))
def test_every_script_knows_its_options(script: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    page = _help(script, monkeypatch, capsys)
    options = {word for benchmark in CATALOG for c in benchmark.commands if script in benchmark.scripts
               for word in shlex.split(c) if word.startswith("--")}  # fmt: skip
    assert not [option for option in options if option not in page]


def test_what_benchmarks_measure_exists() -> None:
    assert len(BY_NAME) == len(CATALOG)
    assert not [path for one in CATALOG for path in (*one.measures, *one.scripts) if not (ROOT / path).exists()]
