"""The memory of a real GPU: caps, contexts, peaks, recomputed activations. Run with ``pytest tests/gpu``."""

import json
import subprocess
import sys
from typing import Any

import pytest
import torch

from orchestrator.driver.packing import MARGIN
from trainable.config import TrialConfig
from trainable.evaluate.metrics.names import TRAIN_LOSS
from trainable.failure import OutOfMemory
from trainable.train import gpu_memory
from trainable.train.engine import fit
from trainable.train.peak import measure_peak

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
MIB = 2**20

CAPPED = """
import json, sys, torch
from trainable.train import gpu_memory
gpu_memory.prefer_expandable_segments()
share = float(sys.argv[1])
gpu_memory.set_share(share)
cap = share * gpu_memory.total_bytes() - gpu_memory.CONTEXT_BYTES
within = torch.empty(int(cap * 0.95), dtype=torch.uint8, device="cuda")
del within
torch.cuda.empty_cache()
torch.randn(2048, 2048, device="cuda") @ torch.randn(2048, 2048, device="cuda")
torch.nn.functional.conv2d(torch.randn(2, 64, 64, 64, device="cuda"), torch.randn(64, 64, 3, 3, device="cuda"))
torch.cuda.synchronize()
try:
    beyond = torch.empty(int(cap * 1.05), dtype=torch.uint8, device="cuda")
    use = None
except torch.OutOfMemoryError as error:
    use = gpu_memory.memory_use(error)
free, total = torch.cuda.mem_get_info()
print(json.dumps([vars(use) if use else None, free, torch.cuda.memory_reserved()]), flush=True)
sys.stdin.read()
"""


def trial(**train: Any) -> TrialConfig:
    tree = {
        "data": {"name": "shapes", "size": [256, 256], "train_images": 48, "val_images": 16},
        "model": {"arch": "deeplabv3plus", "encoder": "resnet50", "encoder_weights": None},
        "train": {"epochs": 2, "batch_size": 16, **train},
        "suppression": {"schedule": "constant", "loss_ramp": "constant"},
    }
    return TrialConfig.model_validate_json(json.dumps(tree))


def peak_of(config: TrialConfig) -> tuple[int, float]:
    gpu_memory.reset_peak()
    last = list(fit(config, device="cuda"))[-1]
    peak = gpu_memory.peak_bytes()
    assert peak is not None
    return peak, last.metrics[TRAIN_LOSS]


def test_a_process_stays_within_its_share_and_its_context_within_the_reserve() -> None:
    torch.ones(1, device="cuda")
    torch.cuda.empty_cache()
    before, _ = torch.cuda.mem_get_info()
    command = [sys.executable, "-c", CAPPED, "0.25"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        use, _, reserved = json.loads(child.stdout.readline())
        now, total = torch.cuda.mem_get_info()
    finally:
        child.communicate()
    assert use is not None, "it got more than its share"
    assert not use["by_others"]
    assert use["peak"] > use["cap"]
    context = before - now - reserved
    print(f"context {context / MIB:.0f} MiB of {gpu_memory.CONTEXT_BYTES / MIB:.0f} reserved")
    assert 0 < context <= gpu_memory.CONTEXT_BYTES
    assert before - now <= 0.25 * total


def test_a_trial_beyond_its_cap_says_what_it_needs_and_the_next_one_trains() -> None:
    total = gpu_memory.total_bytes()
    assert total is not None
    try:
        gpu_memory.set_share((gpu_memory.CONTEXT_BYTES + 1024 * MIB) / total)
        with pytest.raises(OutOfMemory) as failure:
            list(fit(trial(batch_size=32), device="cuda"))
        use = failure.value.use
        assert use is not None
        assert not use.by_others
        assert use.peak > use.cap
        assert "the GPU is out of memory (peak " in str(failure.value)
    finally:
        gpu_memory.set_share(1)
    assert len(list(fit(trial(batch_size=32, epochs=1), device="cuda"))) == 1


def test_a_probe_measures_what_the_trial_takes() -> None:
    config = trial()
    probed, total = measure_peak(config, threads=1, device="cuda")
    peak, _ = peak_of(config)
    print(f"probe {probed / MIB:.0f} MiB, trial {peak / MIB:.0f} MiB of {total / MIB:.0f}")
    assert 0.9 * probed <= peak <= probed * (1 + MARGIN)


def test_recomputed_activations_take_less_and_give_the_same() -> None:
    kept, loss = peak_of(trial(precision="fp32"))
    less, again = peak_of(trial(precision="fp32", memory="recompute"))
    print(f"{kept / MIB:.0f} MiB kept, {less / MIB:.0f} MiB recomputed")
    assert less < 0.8 * kept
    assert again == pytest.approx(loss, rel=1e-3)
