"""The metrics of a report in plain words."""

from collections.abc import Iterator, Sequence

from orchestrator.report.pages.document import Block, Heading, Table, cells
from orchestrator.report.source import Results
from trainable.evaluate.metrics.glossary import in_words


def glossary_blocks(results: Results, metrics: Sequence[str]) -> Iterator[Block]:
    """A row per metric that has words."""
    named = [(metric, words) for metric in metrics if (words := in_words(metric))]
    if not named:
        return
    yield Heading("Metrics in plain words")
    rows = [cells((m, words, "larger" if results.greater_is_better(m) else "smaller")) for m, words in named]
    note = "IoU: of the pixels that are a class or are called it, the share that are both."
    yield Table("metrics", "What each metric is", ("metric", "in words", "better"), tuple(rows), words=2, note=note)
