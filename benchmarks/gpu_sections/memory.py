"""A trial that wants more memory than its share, beside one that does not: who fails, how, and what stays behind.

Then the rungs of the ladder after out of memory: at its share, alone, activations computed again, in micro-batches.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from gpu_sections.child import Answer, Child
from gpu_sections.trials import SUPPRESSION, Row, device, small_network, small_trial, trial
from trainable.config import TrialConfig
from trainable.optim.config import TrainConfig

QUARTER = 0.25


def measure(tiny: bool) -> Iterator[Row]:
    """Yield a row per trial: alone, beside the hog, the hog itself and its successor, one that fails in evaluation."""
    modest = small_trial(tiny, epochs=200)
    with _running(modest) as neighbour:
        yield _row("neighbour alone, 4 epochs", [neighbour.answer(), *(_more(neighbour) for _ in range(3))])
    with _running(_hog()) as hog, _running(modest) as neighbour, ThreadPoolExecutor(1) as pool:
        ended = pool.submit(hog.answer)
        beside = [neighbour.answer()]
        while not ended.done() or len(beside) < 4:
            beside.append(_more(neighbour))
        yield _row(f"neighbour beside the hog, {len(beside)} epochs", beside)
        yield _row("hog, capped at a quarter", [ended.result()])
        yield _row("its successor in the same process", [_more(hog)])
    with _running(_large_evaluation(tiny), 0.03) as child:
        yield _row("small steps, large evaluation, capped at 3 %", [child.answer()])
    yield from _ladder()


def _ladder() -> Iterator[Row]:
    """The rungs after an out-of-memory, each in a process of its own: where one does not fit the next is less."""
    recompute: dict[str, object] = {"memory": "recompute"} if "memory" in TrainConfig.model_fields else {}
    rungs: list[tuple[str, float, dict[str, object]]] = [
        ("at a quarter", QUARTER, {}),
        ("alone on the GPU", 1.0, {}),
        *([("alone, activations computed again", 1.0, recompute)] if recompute else []),
        *([("at a quarter, activations computed again", QUARTER, recompute)] if recompute else []),
        ("at a quarter, 8 micro-batches", QUARTER, {"accumulate": 8}),
    ]
    for rung, fraction, train in rungs:
        with _running(_hog(**train), fraction) as child:
            yield _row(f"ladder: {rung}", [child.answer()])


@contextmanager
def _running(config: TrialConfig, fraction: float = QUARTER) -> Iterator[Child]:
    child = Child(config, fraction, threads=2)
    try:
        yield child
    finally:
        child.end()


def _more(child: Child) -> Answer:
    """Another epoch."""
    child.train(1)
    return child.answer()


def _hog(**train: object) -> TrialConfig:
    """Small frames in large crops, which are padded; on a CPU, which has no cap, it fails of its loss."""
    if device().type != "cuda":
        return small_trial(True, epochs=2, suppression=SUPPRESSION, lr=1e20, **train)
    data = {"name": "shapes", "train_images": 96, "val_images": 8, "augment": {"crop": [512, 1024]}}
    return trial(data, "deeplabv3plus", "resnet50", {"epochs": 1, "batch_size": 96, **train}, SUPPRESSION)


def _large_evaluation(tiny: bool) -> TrialConfig:
    size = [32, 64] if tiny else [512, 512]
    data = {"name": "shapes", "size": size, "train_images": 8, "val_images": 4}
    config = trial(data, *small_network(tiny), {"epochs": 1, "batch_size": 4}, None)
    scales = (1.0,) if tiny else (1.0, 8.0)
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"scales": scales})})


def _row(who: str, answers: Sequence[Answer]) -> Row:
    losses: list[float] = []
    for answer in answers:
        if isinstance(some := answer.get("losses"), list):
            losses += some
    last = answers[-1]
    return {
        "trial": who,
        "losses": ", ".join(f"{loss:.6f}" for loss in losses[:4]),
        "failed": str(last.get("failed", "")),
        "peak MiB": _whole(last.get("peak")),
        "MiB kept after it": _whole(last.get("reserved")),
    }


def _whole(value: object) -> float | None:
    return round(value) if isinstance(value, float) else None
