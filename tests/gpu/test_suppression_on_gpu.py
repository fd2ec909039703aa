"""Class suppression on a CUDA device: agreement with the CPU, no waiting for the GPU, memory below the literal form."""

import json
from copy import deepcopy
from typing import Any

import pytest
import torch

from benchmarks.suppression import Bench, Case, literal_decoder, ours
from trainable.config import TrialConfig
from trainable.data.statistics import ClassStatistics
from trainable.evaluate.metrics.names import SUPPRESSION_SECONDS, TRAIN_DROPPED, TRAIN_LOSS
from trainable.model.build import build_model
from trainable.model.config import ModelConfig
from trainable.suppression.config import SuppressionConfig
from trainable.suppression.sampling import ClassSampler
from trainable.train.compute import Compute
from trainable.train.engine import fit
from trainable.train.step import Batch, two_path_losses

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

SAMPLING = [
    "uniform", "present", "frequency", "inverse_frequency", "effective_number", "temperature", "difficulty",
    "co_occurrence", "round_robin",
]  # fmt: skip
LAYERS: list[Any] = [
    "decoder",
    "encoder.1",
    "encoder.5",
    ["encoder.3", "decoder"],
    "branch.2",
    ["branch.1", "branch.4"],
]
STATISTICS = ClassStatistics.of([[900, 50, 0, 10], [800, 0, 30, 5], [700, 90, 3, 0]])


def suppression(**settings: Any) -> SuppressionConfig:
    return SuppressionConfig.model_validate_json(json.dumps({"gate_norm": "mean", "schedule": "constant", **settings}))


@pytest.mark.parametrize("granularity", ["batch", "image", "groups"])
@pytest.mark.parametrize("sampling", SAMPLING)
def test_both_devices_draw_the_same_classes(sampling: str, granularity: str) -> None:
    torch.manual_seed(0)
    labels, logits = torch.randint(4, (5, 16, 16)), torch.randn(5, 4, 8, 8)
    config = suppression(sampling=sampling, granularity=granularity, num_classes=2)
    drawn = []
    for device in (torch.device("cpu"), torch.device("cuda")):
        sampler, generator = ClassSampler(config, STATISTICS, device), torch.Generator().manual_seed(1)
        for _ in range(20):
            drop = sampler.draw(labels.to(device), 0.8, generator)
            sampler.observe(logits.to(device), labels.to(device), drop)
            drawn.append(None if drop is None else drop.keep_GC.cpu().tolist())
    assert drawn[:20] == drawn[20:]


@pytest.mark.parametrize("importance", ["auto", "gradient"])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("mechanism", ["gate", "hard", "projection", "random_channels"])
def test_both_devices_compute_the_same_losses(mechanism: str, layer: Any, importance: str) -> None:
    config = suppression(mechanism=mechanism, layer=layer, importance=importance)
    torch.manual_seed(0)
    arch, encoder = ("hrnet", "tu-hrnet_w18_small") if "branch" in str(layer) else ("fpn", "resnet18")
    model = build_model(ModelConfig(arch=arch, encoder=encoder, encoder_weights=None), 4, config).double()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout2d | torch.nn.Dropout):
            module.p = 0.0
    images, labels = torch.randn(2, 3, 64, 64, dtype=torch.float64), torch.randint(4, (2, 64, 64))
    losses, before = [], deepcopy(model.state_dict())
    for device in ("cpu", "cuda"):
        model.load_state_dict(before)  # a step moves running statistics, on which gradient importance rests
        sampler = ClassSampler(config, STATISTICS, torch.device(device))
        drop = sampler.draw(labels.to(device), 1.0, torch.Generator().manual_seed(2))
        terms, _ = two_path_losses(model.to(device).train(), Batch(images.to(device), labels.to(device)), drop, None)
        losses.append(terms.total(0.5, 1.0).item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-8)


@pytest.mark.parametrize("granularity", ["image", "groups"])
def test_a_step_does_not_wait_for_the_gpu(granularity: str) -> None:
    config = suppression(sampling="difficulty", granularity=granularity, mechanism="projection")
    compute = Compute(torch.device("cuda"), "bf16")
    model = build_model(ModelConfig(arch="fpn", encoder="resnet18", encoder_weights=None), 4, config)
    model = model.to("cuda").to(memory_format=torch.channels_last).train()
    images = torch.randn(4, 3, 64, 64, device="cuda").to(memory_format=torch.channels_last)
    labels = torch.randint(4, (4, 64, 64), device="cuda")
    sampler = ClassSampler(config, STATISTICS, compute.device)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        with compute.autocast():
            drop = sampler.draw(labels, 1.0, generator)
            terms, _ = two_path_losses(model, Batch(images, labels), drop, None)
            assert terms.predicted is not None
            sampler.observe(terms.predicted, labels, drop)
        terms.total(0.5, 1.0).backward()  # type: ignore[no-untyped-call]

    step()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_trial_in_bfloat16_reports_the_time_of_suppression() -> None:
    tree = {
        "data": {"name": "shapes", "train_images": 64, "val_images": 16},
        "model": {"arch": "fpn", "encoder": "resnet18", "encoder_weights": None},
        "train": {"epochs": 1, "batch_size": 16},
        "suppression": {"layer": ["encoder.4", "decoder"], "schedule": "constant", "alpha": 1.0, "gate_norm": "mean"},
    }
    (result,) = fit(TrialConfig.model_validate_json(json.dumps(tree)), device="cuda")
    assert result.metrics[TRAIN_DROPPED] == 1
    assert result.metrics[TRAIN_LOSS] > 0
    assert result.metrics[SUPPRESSION_SECONDS] > 0


def test_memory_stays_below_the_literal_form() -> None:
    case = Case("small", ModelConfig(arch="fpn", encoder="resnet18"), 19, 4, (256, 512))
    bench = Bench(case, "decoder", Compute(torch.device("cuda"), "bf16"))
    for losses in (ours, literal_decoder):
        bench.step(losses)
    assert bench.step(ours)[1] < bench.step(literal_decoder)[1]
