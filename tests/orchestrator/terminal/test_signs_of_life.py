"""No long silence, with a terminal and without one; and a terminal on which nothing broken stays."""

import io
import re
import time

import pytest
from rich.console import Console
from rich.text import Text
from test_running_trials import OBJECTIVE, trial

from orchestrator.terminal.console import LastingOutput, announced, tell
from orchestrator.terminal.display import PlainDisplay
from orchestrator.terminal.live_frame import live_region
from orchestrator.terminal.progress import Progress


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_long_epoch_is_told_of_though_none_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.terminal.display.HEARTBEAT_S", 0.3)
    console = Console(file=io.StringIO(), width=120)
    with PlainDisplay(Progress(2, 4, OBJECTIVE), console) as display:
        display.update(trial("search-0000", 0.5, picks={"suppression.p_max": 0.25}))
        time.sleep(1.0)
        lines = printed(console).splitlines()
    assert lines[0] == "search-0000  begins after epoch 1  p_max 0.25"
    beats = lines[1:]
    assert 2 <= len(beats) <= 3
    assert all(re.search(r"0/2 done, 1 running.*search-0000 in epoch 2 for \d s$", line) for line in beats)
    time.sleep(0.5)
    assert len(printed(console).splitlines()) == len(lines) + 1, "the last line, and no sign of life after it"


def test_what_lasts_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.terminal.console.SILENCE_S", 0.05)
    monkeypatch.setattr("orchestrator.terminal.console.HEARTBEAT_S", 0.2)
    console = Console(file=io.StringIO(), width=120)
    with announced(console, "Waiting for a node"):
        time.sleep(0.55)
    assert printed(console).splitlines() == ["Waiting for a node", *["Waiting for a node: 0 s so far"] * 2]


@pytest.mark.parametrize(("long_s", "kept"), [(0.5, ["Starting Ray: 1 s"]), (5.0, [])])
def test_a_terminal_shows_the_seconds_and_keeps_a_line_of_many(
    long_s: float, kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.terminal.console.SILENCE_S", 0.05)
    monkeypatch.setattr("orchestrator.terminal.console.LONG_S", long_s)
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system=None)
    with announced(console, "Starting Ray"):
        time.sleep(0.6)
    assert "Starting Ray ... 0 s" in printed(console)
    assert Screen(80).after(printed(console)) == kept
    assert printed(console).count("\x1b[?25h") >= 1, "whatever ends the process leaves a cursor"


class Screen:
    """As much of a terminal as a region needs; what it does not know is a mistake."""

    def __init__(self, width: int) -> None:
        self.rows = [""] * 200
        self.width, self.row, self.column, self.saved = width, 0, 0, (0, 0)

    def after(self, output: str) -> list[str]:
        """Rows without the empty ones."""
        for code, text in re.findall(r"(\x1b\[[?0-9]*[A-Za-z]|\x1b[78]|[\r\n])|([^\x1b\r\n]+)", output):
            self._write(text) if text else self._obey(code)
        return [row.rstrip() for row in self.rows if row.strip()]

    def _write(self, text: str) -> None:
        row = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = row[: self.column] + text + row[self.column + len(text) :]
        self.column += len(text)
        assert self.column <= self.width

    def _obey(self, code: str) -> None:
        match re.sub(r"\d", "", code.removeprefix("\x1b")), int(re.sub(r"\D", "", code.replace("?25", "")) or 1):
            case "\r", _:
                self.column = 0
            case "\n", _:
                self.row, self.column = self.row + 1, 0
            case "[A", count:
                self.row = max(0, self.row - count)
            case "[B", count:
                self.row = self.row + count
            case "[K", _:
                self.rows[self.row] = self.rows[self.row][: self.column]
            case "[J", _:
                assert (self.row, self.column) != (0, 0), "tmux keeps in its scrollback what is erased as a whole"
                self.rows[self.row] = self.rows[self.row][: self.column]
                self.rows[self.row + 1 :] = [""] * (len(self.rows) - self.row - 1)
            case "", 7:
                self.saved = (self.row, self.column)
            case "", 8:
                self.row, self.column = self.saved
            case (("[?h" | "[?l"), _):
                pass
            case unknown:
                raise AssertionError(unknown)


def test_a_region_stays_below_what_is_printed_and_leaves_nothing() -> None:
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system=None)
    frame = ["one\ntwo\nthree"]
    with live_region(console, lambda: Text(frame[0]), redirect=False) as live:
        live.refresh()
        console.print("ended 0")
        assert Screen(80).after(printed(console)) == ["ended 0", "one", "two", "three"]
        frame[0] = "shorter"
        live.refresh()
        console.print("ended 1")
        assert Screen(80).after(printed(console)) == ["ended 0", "ended 1", "shorter"]
        frame[0] = "\n".join(map(str, range(100)))
        live.refresh()
        assert len(Screen(80).after(printed(console))) == 2 + 23, "no more than the terminal holds"
        frame[0] = "last"
    assert Screen(80).after(printed(console)) == ["ended 0", "ended 1"]


def test_a_terminal_without_the_signs_for_it_is_written_to_all_the_same() -> None:
    raw = io.BytesIO()
    console = Console(file=LastingOutput(io.TextIOWrapper(raw, encoding="ascii", write_through=True)), width=80)  # type: ignore[arg-type]
    tell(console, "val/miou ↑ · done")
    console.print("next")
    assert raw.getvalue() == b"val/miou ? ? done\nnext\n"
