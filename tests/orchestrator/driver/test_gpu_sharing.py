"""Trials that share GPUs by measured memory, in a thousand simulated studies: nothing is lost, nobody is disturbed."""

import random
from collections import Counter

import pytest
from gpu_simulation import GIB, RECOMPUTED, Kind, Simulation

from orchestrator.driver.packing import CONTEXT_BYTES
from orchestrator.store.trial_record import State
from trainable.train import gpu_memory

CARD = 24 * GIB


def kinds(seed: int, largest: int) -> list[Kind]:
    """Cheap and dear kinds of trials of a study."""
    draw = random.Random(f"kinds {seed}")
    count = draw.randint(1, 4)
    return [Kind(int(draw.uniform(0.05, 0.8) * largest), 8, draw.random() < 0.5) for _ in range(count)]


def check_ends(study: Simulation) -> Counter[str]:
    """Each trial is complete if it fits on some card alone, or recomputing where it may; returns how they ended."""
    largest = max(gpu.total for gpu in study.gpus)
    ends: Counter[str] = Counter()
    for key, record in study.records.verdicts.items():
        peak, exact = study.true_peak[key], study._kind[key].exact
        room = largest - CONTEXT_BYTES
        if peak <= room or (exact and peak * RECOMPUTED <= room):
            assert record.state is State.COMPLETE, (key, record.reason)
        if record.state is State.FAILED:
            assert peak > largest - 2 * CONTEXT_BYTES
            assert "what would fit: a GPU of more than" in str(record.reason)
        ends[str(record.state)] += 1
        ends["set back"] += bool(record.setbacks)
        for setback in record.setbacks:
            assert setback.peak is not None
            assert setback.cap is not None
            assert setback.peak > setback.cap, "its own fault: no neighbour took anything"
    assert sum(ends[state] for state in State) == len(study.true_peak)
    return ends


@pytest.mark.parametrize("seeds", [range(200), pytest.param(range(200, 1000), marks=pytest.mark.integration)])
def test_a_thousand_studies_on_one_card(seeds: range) -> None:
    ends: Counter[str] = Counter()
    attempts = setbacks = most = 0
    for seed in seeds:
        study = Simulation(seed, {"node:a": [CARD]}, kinds(seed, CARD), per_kind=4)
        study.run()
        assert not any(setback.by_others for setback in study.setbacks)
        ends += check_ends(study)
        attempts, most = attempts + study.attempts, max(most, study.most_at_a_time)
        setbacks += len(study.setbacks)
    rate = setbacks / attempts
    print(f"{dict(ends)}; {setbacks} out of memory in {attempts} attempts ({rate:.1%}), {most} at a time")
    assert most >= 6, "cheap trials are packed"
    assert rate < 0.3
    assert ends["set back"] > len(seeds) // 10, "the ladder was climbed"


def test_slices_and_mixed_cards_in_one_study() -> None:
    cards = {"node:a": [80 * GIB] * 2, "node:b": [CARD] * 2, "node:c": [10 * GIB] * 4, "node:d": [20 * GIB] * 2}
    ends: Counter[str] = Counter()
    used: Counter[int] = Counter()
    for seed in range(60):
        study = Simulation(seed, cards, kinds(seed, 60 * GIB), per_kind=8)
        study.run()
        ends += check_ends(study)
        assert not any(setback.by_others for setback in study.setbacks)
        used.update(setback.total for setback in study.setbacks if setback.total)
    print(dict(ends), dict(used))
    assert len(used) == 4, "trials ran on every kind of card"
    assert ends["complete"] > 0.98 * sum(ends[state] for state in State)


def test_memory_that_others_take_sends_no_trial_up_the_ladder() -> None:
    rungs: Counter[str] = Counter()
    for seed in range(60):
        study = Simulation(seed, {"node:a": [CARD]}, [Kind(4 * GIB, 8, exact=False)], 6, retries=10**6, disturbed=True)
        study.run()
        assert all(record.state is State.COMPLETE for record in study.records.verdicts.values())
        for record in study.records.verdicts.values():
            own = [setback for setback in record.setbacks if not setback.by_others]
            rungs["others"] += len(record.setbacks) - len(own)
            alone = [setback for setback in record.setbacks if setback.rung != "shared"]
            assert own or not alone
    assert rungs["others"] > 20


def test_what_others_take_again_and_again_ends_a_trial() -> None:
    study = Simulation(3, {"node:a": [CARD]}, [Kind(4 * GIB, 8, exact=False)], 1, retries=2)
    study.gpus[0].outside = 0
    seen = study._advance

    def disturbed(number: int, process: object) -> None:
        trial = process.start.measures is None  # type: ignore[attr-defined]
        study.gpus[0].outside = CARD - GIB if trial else 0
        seen(number, process)  # type: ignore[arg-type]

    study._advance = disturbed  # type: ignore[method-assign]
    study.run()
    (record,) = study.records.verdicts.values()
    assert record.state is State.FAILED
    assert [setback.by_others for setback in record.setbacks] == [True] * 3
    assert "others held its memory 3 times" in str(record.reason)


def test_a_kind_that_fits_on_no_card_fails_in_words_before_it_runs() -> None:
    study = Simulation(0, {"node:a": [CARD]}, [Kind(30 * GIB, 8, exact=False), Kind(GIB, 8, exact=False)], 2)
    study.run()
    states = {key: record.state for key, record in study.records.verdicts.items()}
    assert states == {"t-0-0": "failed", "t-1-1": "complete", "t-2-0": "failed", "t-3-1": "complete"}
    reason = study.records.verdicts["t-0-0"].reason
    assert reason is not None
    assert reason.startswith(
        "needs 30.6 GiB of GPU memory, the largest GPU has 24.0; what would fit: a GPU of more than"
    )
    assert "train.batch_size of at most 6" in reason
    assert study.attempts == 2, "no trial of it ran"


def test_worker_and_packer_reserve_the_same_context() -> None:
    assert gpu_memory.CONTEXT_BYTES == CONTEXT_BYTES


@pytest.mark.parametrize("gpus", [1, 2, 5])
def test_more_cards_run_more_trials(gpus: int) -> None:
    study = Simulation(1, {"node:a": [CARD] * gpus}, [Kind(5 * GIB, 8, exact=False)], per_kind=20)
    study.run()
    assert study.probes == 1
    assert all(record.state is State.COMPLETE for record in study.records.verdicts.values())
