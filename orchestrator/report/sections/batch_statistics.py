"""What batch norm does to the comparison of networks with the suppression block and without it, in words."""

from collections.abc import Iterator, Sequence

from orchestrator.report.pages.numbers import listed
from orchestrator.report.source import Results, Run


def batch_statistics(results: Results, runs: Sequence[Run]) -> Iterator[str]:
    """Whose block is judged on statistics that fit the evaluation, and what no run recomputes."""
    with_block = [run for run in runs if _has_block(results, run)]
    recalibrated = [run for run in with_block if results.setting(run, "suppression.recalibrate") is True]
    others = dict.fromkeys(run.arm or run.key for run in with_block if run not in recalibrated)
    if others:
        yield (
            f"Judged on the running statistics of training, drops among them: the block of {listed(tuple(others), 5)}. "
            "In a short schedule they do not fit the evaluation, a handicap that plain training does not have "
            "(suppression.recalibrate)."
        )
    behind = [run for run in recalibrated if _is_inner(str(results.setting(run, "suppression.layer")))]
    if behind:
        yield (
            "Before each evaluation the statistics of the suppression block were recomputed with every class kept. "
            "Batch norm of the network behind a block in the encoder kept those of training, drops among them."
        )


def _has_block(results: Results, run: Run) -> bool:
    """Whether a run suppresses, and not by erasing alone."""
    mechanism, layer = (results.setting(run, f"suppression.{key}") for key in ("mechanism.name", "layer"))
    erases = mechanism == "erase" or (mechanism == "auto" and layer in ("input", '["input"]'))
    return results.setting(run, "suppression.p_max") is not None and not erases


def _is_inner(layers: str) -> bool:
    """Whether a layer, or one in the JSON of a list, lies before the decoder."""
    return "encoder." in layers or "branch." in layers
