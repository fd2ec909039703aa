"""The live table in a notebook, without one."""

import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest
from rich.text import Text

from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.terminal import notebook
from orchestrator.terminal.console import PLAIN_WIDTH, open_console
from orchestrator.terminal.notebook import NotebookDisplay, Picture, in_notebook, notebook_cell

CONFIG: dict[str, Any] = {"train": {"epochs": 4}, "data": {"name": "shapes"}, "seed": 0}


class Cell:
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.pictures: list[Any] = []

    def update(self, obj: object) -> None:
        self.pictures.append(obj)


def record(number: int, state: State) -> Record:
    planned = Planned(f"search-{number:04d}", "search", number, CONFIG, {})
    return Record(planned, ({"val/miou": 0.5},), state)


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    monkeypatch.setattr(notebook, "SHORTEST_S", 0.0)
    return Cell()


def test_one_place_is_drawn_anew_and_keeps_the_trials_that_ended_last(cell: Cell) -> None:
    heard: list[str] = []
    display = NotebookDisplay(
        lambda: Text(f"{len(heard)} heard"), lambda one: f"{one.key} ended", lambda one: heard.append(one.key), cell
    )
    with display:
        for number in range(notebook.ENDED + 2):
            display.update(record(number, State.RUNNING))
            display.update(record(number, State.COMPLETE))
    last = repr(cell.pictures[-1]).splitlines()
    assert last[0] == "search-0002 ended", "the first two have scrolled away"
    assert last[-1] == f"{2 * (notebook.ENDED + 2)} heard"
    count = len(cell.pictures)
    display.__exit__()
    assert len(cell.pictures) == count, "leaving twice draws nothing"


def test_long_epochs_are_drawn_meanwhile(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "REFRESH_S", 0.02)
    with NotebookDisplay(lambda: Text("x"), str, lambda _: None, cell):
        deadline = time.monotonic() + 10
        while len(cell.pictures) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert len(cell.pictures) >= 5


def test_no_control_code_and_no_markup_reaches_the_page() -> None:
    page = Picture(Text("<script>alert(1)</script> bold", style="bold"))
    assert "<script>" not in page._repr_html_()
    assert "&lt;script&gt;" in page._repr_html_()
    for text in (repr(page), page._repr_html_()):
        assert "\x1b" not in text


def test_outside_of_a_notebook_there_is_no_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert notebook_cell() is None
    for shell in (None, SimpleNamespace()):  # IPython imported alone, and its terminal
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert notebook_cell() is None
        assert not in_notebook()


def test_a_notebook_s_stdout_is_no_terminal_though_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: True, encoding="utf-8"))
    assert open_console().is_terminal
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: True, encoding="utf-8"))  # another: it is cached
    kernel = SimpleNamespace(kernel="the kernel")
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: kernel))
    console = open_console()
    assert not console.is_terminal
    assert not console.is_jupyter
    assert console.width == PLAIN_WIDTH
