"""The pages as files: they escape, compile, need nothing else, and are equal for equal tables."""

import io
import os
import random
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_studies import PRESET_ARMS, begin, preset_plan
from matplotlib.figure import Figure

from orchestrator.report.build import FORMATS, build, write_report
from orchestrator.report.pages.document import Bullets, Cell, Document, Heading, Paragraph, Table, cells
from orchestrator.report.pages.escapes import escape_latex
from orchestrator.report.pages.rendering import render, render_table
from orchestrator.store.records import Store
from orchestrator.store.stage_plan import Arm
from orchestrator.store.trial_record import State

Make = Any  # conftest's builder of studies

NASTY = [
    r"a_b & 50 % #1 {x} \end{document} $y$ ~ ^ |",
    '<script>alert("x")</script> & <b>',
    "naïve Größe – 100 × “quoted” … ½ 训练 🚀",
    "[brackets] `ticks` *stars* _under_ | pipe --dashes-- 'single'",
]


def nasty_document() -> Document:
    rows = tuple((Cell(text, "strong"), *cells(("✓", "0.1 ± 0.2", "→ ↑ ↓ ≥ ≤ − Δ ·"))) for text in NASTY)
    table = Table(
        "nasty", NASTY[0], ("arm_name", *NASTY[:3]), (*rows, cells(("[1]", "", "", ""), "muted")), note=NASTY[1]
    )
    return Document(NASTY[0], (Heading(NASTY[1]), Paragraph(NASTY[2], warning=True), Bullets(tuple(NASTY)), table))


@pytest.fixture
def nasty_study(make: Make) -> Any:
    """A small study whose arms and reasons bear every special character."""
    made = make()
    arms = tuple(Arm(name, {"suppression.p_max": n / 10}) for n, name in enumerate(NASTY))
    plan = preset_plan(seeds=2, arms=arms, baseline=NASTY[0])
    made.compare(
        plan, dict.fromkeys(NASTY, 0.0), states={(NASTY[1], 1): (State.FAILED, NASTY[1])}, classes=["a_b<i>", "c%"]
    )
    made.write()
    return made


class _Page(HTMLParser):
    """Collects the tags and the texts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(page: str) -> _Page:
    parser = _Page()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def test_the_html_page_stands_alone_and_shows_names_as_they_are(nasty_study: Any) -> None:
    page = parsed(build(nasty_study.store, formats=["html"])["report.html"].decode())
    assert not {"script", "link", "iframe", "b", "i", "object"} & {tag for tag, _ in page.tags}
    addresses = [
        attributes[name] or "" for _, attributes in page.tags for name in ("src", "href") if name in attributes
    ]
    assert all(address.startswith(("#", "data:image/svg+xml;base64,")) for address in addresses)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    for name in NASTY:
        assert " ".join(name.split()) in " ".join(page.text.split())
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {address for address in addresses if address.startswith("#")} <= {f"#{name}" for name in ids}
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")


def test_markdown_shows_names_as_they_are() -> None:
    from markdown_it import MarkdownIt  # comes with rich

    page = parsed(MarkdownIt("commonmark").enable("table").render(render(nasty_document(), "md", {})))
    for name in NASTY:
        assert name in page.text
    rows = [tag for tag, _ in page.tags if tag == "tr"]
    assert len(rows) == 1 + len(NASTY) + 1
    assert len([tag for tag, _ in page.tags if tag == "td"]) == 4 * (len(NASTY) + 1), "no cell is torn by its text"


@pytest.fixture(scope="session")
def pdflatex() -> str:
    program = shutil.which("pdflatex")
    if program is None:
        pytest.skip("pdflatex is not installed")
    return program


def compiled(program: str, folder: Path, name: str = "report.tex") -> str:
    """Compile; returns the text of the PDF, or nothing where it cannot be read here."""
    command = [program, "-interaction=nonstopmode", "-halt-on-error", name]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    reader = shutil.which("pdftotext")
    pdf = Path(name).with_suffix(".pdf").name
    return (
        subprocess.run([reader, pdf, "-"], cwd=folder, capture_output=True, text=True, check=True).stdout
        if reader
        else ""
    )


def test_latex_compiles(nasty_study: Any, tmp_path: Path, pdflatex: str) -> None:
    write_report(nasty_study.store, formats=["tex"], metrics=["val/miou"], out=str(tmp_path / "tex"))
    shown = compiled(pdflatex, tmp_path / "tex")
    assert not shown or "Study made" in shown


def test_every_letter_compiles_and_a_table_can_be_input(tmp_path: Path, pdflatex: str) -> None:
    document = nasty_document()
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "nasty.tex").write_text(render_table(document.tables[0]))
    (tmp_path / "report.tex").write_text(render(document, "tex", {}))
    shown = compiled(pdflatex, tmp_path)
    if shown:
        assert "50 % #1 {x} \\end{document} $y$" in " ".join(shown.split())
        assert "--dashes--" in shown
    paper = r"\documentclass{article}\usepackage{booktabs,graphicx,amssymb,xcolor}\usepackage[T1]{fontenc}"
    (tmp_path / "paper.tex").write_text(paper + r"\begin{document}\input{tables/nasty}\end{document}")
    compiled(pdflatex, tmp_path, "paper.tex")


@pytest.mark.parametrize("letter", [chr(code) for code in (0x22, 0x27, 0x5C, 0xA0, 0xBD, 0x2028, 0x1F680, 0x7F)])
def test_latex_leaves_no_letter_that_pdflatex_cannot_set(letter: str) -> None:
    written = escape_latex(f"a{letter}b")
    assert all(character.isascii() or "\u00c0" <= character <= "\u017f" for character in written), written


def test_long_tables_go_on(tmp_path: Path) -> None:
    table = Table("long", "Long", ("a",), tuple(cells((str(n),)) for n in range(100)))
    written = render_table(table)
    assert written.count(r"\begin{table}") == 3
    assert re.findall(r"^(\d+) \\\\$", written, re.MULTILINE) == [str(n) for n in range(100)]


def test_html_of_a_hostile_document() -> None:
    page = parsed(render(nasty_document(), "html", {}))
    assert "script" not in {tag for tag, _ in page.tags}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, bytes]]:
    """A study with a search and an ablation, and its report."""
    made = begin(tmp_path_factory.mktemp("whole"))
    made.references()
    made.search(11, failed=1)
    made.compare(preset_plan(seeds=3), PRESET_ARMS)
    store = made.write()
    return store, build(store, formats=FORMATS, metrics=["val/miou"])


def test_equal_tables_give_equal_files(whole: tuple[Store, dict[str, bytes]]) -> None:
    store, before = whole
    table = pq.read_table(io.BytesIO(store.objects.read("results.parquet")))
    order = list(range(len(table)))
    random.Random(0).shuffle(order)
    columns = random.Random(1).sample(table.column_names, len(table.column_names))
    changed = table.take(pa.array(order)).select(columns)
    assert differing(store, changed, before) == set()
    place = changed.column_names.index("epoch_seconds")
    changed = changed.set_column(place, "epoch_seconds", pa.array(np.random.default_rng(0).uniform(5, 9, len(changed))))
    of_time = {"report.html", "report.md", "tables/setup.tex", "supplement.zip"}
    assert differing(store, changed, before) == of_time, "other times change what they say, and nothing else"


def differing(store: Store, table: pa.Table, before: dict[str, bytes]) -> set[str]:
    """Files of the report that another table changes."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    store.write_bytes("results.parquet", buffer.getvalue())
    after = build(store, formats=FORMATS, metrics=["val/miou"])
    return {name for name in before if before[name] != after[name]}


def test_equal_files_from_another_process(make: Make, tmp_path: Path) -> None:
    made = make()
    made.compare(preset_plan(seeds=2), PRESET_ARMS)
    here = build(made.write(), metrics=["val/miou"])
    out = str(tmp_path / "out")
    arguments = ["made", "--storage", made.store.storage, "--out", out, "--metric", "val/miou"]
    environment = os.environ | {"PYTHONHASHSEED": "5", "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-m", "orchestrator.report", *arguments]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    there = {name: Path(out, name).read_bytes() for name in here}
    assert [name for name in here if here[name] != there[name]] == []


def test_every_linked_figure_is_written(whole: tuple[Store, dict[str, bytes]]) -> None:
    _, files = whole
    linked = re.findall(r"\]\((figures/[^)]+)\)", files["report.md"].decode())
    inputs = re.findall(r"\\input\{(tables/[^}]+)\}|\{(figures/[^}]+\.pdf)\}", files["report.tex"].decode())
    wanted = {*linked, *(one or other for one, other in inputs)}
    assert len(linked) > 4
    assert set(files) == {"report.html", "report.md", "report.tex", "supplement.zip"} | wanted


def test_a_report_imports_what_it_draws_and_no_more(make: Make) -> None:
    made = make()
    made.references()
    made.search(2)
    made.write()
    heavy = ("optuna", "scipy", "sklearn", "statsmodels", "torch", "matplotlib.backends.backend_pdf")
    code = (
        "import sys; from orchestrator.report.build import build; from orchestrator.store.records import Store;"
        f"build(Store({made.store.storage!r}, 'made'));"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    root = str(Path(__file__).parents[3])
    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_each_figure_is_laid_out_and_drawn_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make()
    made.search(3)
    draw, drawn = Figure.draw, []
    monkeypatch.setattr(Figure, "draw", lambda self, renderer: (drawn.append(self), draw(self, renderer)))
    files = build(made.write())
    assert len(drawn) == len({*drawn}) == sum(name.endswith(".svg") for name in files) > 1
