r"""A study's directory -> its report: pages, tables and figures as files.

::

    <study>/report/report.html      everything in one page, figures included
    <study>/report/report.md        the same as Markdown, figures linked
    <study>/report/supplement.zip   what a paper's supplement asks for; with the usual pages alone
    <study>/report/figures/*        svg, and pdf for LaTeX; jpg where a figure is one of pixels
    <study>/report/report.tex       for pdflatex, where it is asked for: so much again is drawn
    <study>/report/tables/*.tex     with it: each table alone, for a paper to \input

Equal tables and artifacts give equal files, byte for byte, whatever the order of their rows.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

from orchestrator.errors import InputError
from orchestrator.report.pages.document import Block, Bullets, Document, FigureFormat, Format, Heading, Paragraph
from orchestrator.report.pages.numbers import count
from orchestrator.report.source import Results, read_results
from orchestrator.store import layout
from orchestrator.store.records import Store
from orchestrator.store.trial_record import State
from orchestrator.studyfile.space.trees import value_at
from trainable.configfile.mistakes import unknown

FORMATS: tuple[Format, ...] = get_args(Format)
USUAL: tuple[Format, ...] = ("html", "md")
"""What is written unless other formats are asked for."""
PAGES: Mapping[Format, str] = {"html": "report.html", "md": "report.md", "tex": "report.tex"}
"""Main pages, the one to open first in front."""
SUPPLEMENT = "supplement.zip"


def write_report(
    store: Store,
    *,
    formats: Sequence[Format] = USUAL,
    metrics: Sequence[str] | None = None,
    out: str | None = None,
) -> list[str]:
    """Write the report of a study.

    Args:
        store: The study's directory.
        formats: Kinds of pages.
        metrics: Metrics to compare; None: the objectives and the usual ones.
        out: Local folder to write to; None: ``report/`` in the study's directory.

    Returns:
        Addresses of what was written, the main page first.

    Raises:
        InputError: no such study, no table, a damaged file, a metric that the study does not have.
        OSError: the storage or the folder cannot be used.
    """
    files = build(store, formats=formats, metrics=metrics)
    if out is None and _whole(formats):
        for name in store.objects.files(layout.REPORT):  # tables and figures of what the study no longer has
            if name.removeprefix(f"{layout.REPORT}/") not in files:
                store.objects.delete(name)
    addresses = []
    for name, content in reversed(files.items()):  # the main page last: where it lies, the report is whole
        if out is None:
            store.write_bytes(f"{layout.REPORT}/{name}", content)
            addresses.append(store.path(f"{layout.REPORT}/{name}"))
        else:
            path = Path(out, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            addresses.append(os.fspath(path))
    return addresses[::-1]


def build(store: Store, *, formats: Sequence[Format] = USUAL, metrics: Sequence[str] | None = None) -> dict[str, bytes]:
    """The files of a report by their names, the main page first; arguments and errors as ``write_report``."""
    results = read_results(store)
    for name in metrics or ():
        if name not in results.metrics:
            raise InputError(f"--metric: {unknown(name, results.metrics, 'metric')}")
    chosen = results.chosen_metrics(metrics)
    document = compose(results, chosen)
    files = render(document, formats)
    return files | ({SUPPLEMENT: _supplement(store, results, document, chosen)} if _whole(formats) else {})


def _whole(formats: Sequence[Format]) -> bool:
    """Whether these are the usual pages, or more: then what else lies there is outdated."""
    return set(USUAL) <= set(formats)


def _supplement(store: Store, results: Results, document: Document, metrics: Sequence[str]) -> bytes:
    from orchestrator.report.supplement.archive import supplement  # late: statsmodels, as the sections

    return supplement(store, results, document, metrics)


def compose(results: Results, metrics: Sequence[str]) -> Document:
    """The report before it takes a format."""
    return Document(f"Study {results.study}", tuple(_blocks(results, metrics)))


def render(document: Document, formats: Sequence[Format]) -> dict[str, bytes]:
    """The files of a report by their names, the main page first."""
    from orchestrator.report.charts.drawing import save  # late: matplotlib and jinja2 only where a page is made
    from orchestrator.report.pages import rendering

    kinds = _wanted_figures(formats)
    drawn = {picture.name: save(picture.draw(), picture.name, kinds) for picture in document.pictures}
    files = {PAGES[form]: rendering.render(document, form, drawn) for form in PAGES if form in formats}
    if "tex" in formats:
        files |= {f"tables/{table.name}.tex": rendering.render_table(table) for table in document.tables}
    loose = [kind for kind in kinds if kind == "pdf" or "md" in formats]  # HTML holds its figures
    figures = {f"figures/{name}.{kind}": files_of[kind] for name, files_of in drawn.items() for kind in loose}
    figures |= {f"figures/{photograph.name}.jpg": photograph.jpeg for photograph in document.photographs}
    return {name: text.encode() for name, text in files.items()} | figures


def _wanted_figures(formats: Sequence[Format]) -> list[FigureFormat]:
    """Kinds of figures that the pages need."""
    pages: dict[FigureFormat, set[Format]] = {"svg": {"html", "md"}, "pdf": {"tex"}}
    return [kind for kind, of in pages.items() if of & set(formats)]


def _blocks(results: Results, metrics: Sequence[str]) -> Iterator[Block]:
    from orchestrator.report.sections.answer import answer_blocks
    from orchestrator.report.sections.comparison import stage_blocks
    from orchestrator.report.sections.comparison_results import stages_of
    from orchestrator.report.sections.glossary import glossary_blocks
    from orchestrator.report.sections.limits import left_out  # late: statsmodels and matplotlib take seconds to import
    from orchestrator.report.sections.search import search_blocks
    from orchestrator.report.sections.setup import setup_blocks

    for line in _unfinished(results):
        yield Paragraph(line, warning=True)
    yield from answer_blocks(results, metrics)
    yield Paragraph(_overview(results))
    yield from setup_blocks(results)
    for stage in reversed(list(stages_of(results).values())):
        yield from stage_blocks(stage, metrics)
    if results.runs("search", "imported", "reference"):
        yield from search_blocks(results, metrics)
    yield from left_out(results)
    yield from glossary_blocks(results, metrics)
    yield Heading("How to read this report")
    yield Bullets(_HOW_TO_READ)


_HOW_TO_READ = (
    "Every value is that of a run's last epoch, unless it is called that of the best epoch: that one was chosen for "
    "being good, is biased for that, and decides nothing. Runs that failed or stopped early enter no mean and no test.",
    "Arms are compared within seeds: the difference of two runs with the same seed, averaged over seeds. What a seed "
    "does to both arms cancels.",
    "The test flips the signs of these differences in every possible way. It assumes nothing about how scores are "
    "distributed, but with few seeds it cannot give a small p.",
    "The interval is Student's t interval of the mean difference. It may exclude zero where the test does not "
    "reject; the verdict is the test's.",
    "↑: larger is better, ↓: smaller is better.",
    f"{SUPPLEMENT} beside this page has a paragraph on methods, hyperparameters, compute, answers for a checklist, "
    "the plans, and every number with the runs that it is of.",
)


def _overview(results: Results) -> str:
    name = value_at(results.specification, "data.name")
    runs = [run for run in results.every_run if run.kind != "prefix"]
    states = Counter(run.state for run in runs)
    counts = ", ".join(f"{states[state]} {state}" for state in State if state in states)
    where = f" on {name}" if isinstance(name, str) else ""
    made = f"Made from {layout.TABLE}, the frozen specification and the plans of the comparisons."
    return f"{count(len(runs), 'run')}{where}: {counts or 'none yet'}. {made}"


def _unfinished(results: Results) -> Iterator[str]:
    """What is planned and not run yet: a report of an unfinished study says so first."""
    from orchestrator.report.sections.comparison_results import StageResults  # late: as the sections

    open_runs = [run for run in results.every_run if not run.state.final and run.kind != "prefix"]
    if open_runs:
        yield f"The study is unfinished: {count(len(open_runs), 'run')} without an end. What follows may still change."
    for stage, plan in results.plans.items():
        begun = {(run.arm, run.block) for run in results.runs(stage)}
        results_of = StageResults(results, plan)
        planned = {(arm.name, block) for arm in plan.arms for block in results_of.planned_blocks(arm.name)}
        if rest := len(planned - begun):
            yield f"The {stage} is not finished: {rest} of {len(planned)} planned runs have not begun."
    search = results.runs("search")
    budget = value_at(results.specification, "search.trials")
    if search and isinstance(budget, int) and len(search) < budget:
        yield f"The search has run {len(search)} of {budget} trials; a small finite space may hold no more."
    for stage in ("confirm", "ablation"):
        if results.runs(stage) and stage not in results.plans:
            missing, runs = layout.plan(stage), len(results.runs(stage))
            yield f"{missing} is missing, so the {runs} runs of the {stage} are left out."
