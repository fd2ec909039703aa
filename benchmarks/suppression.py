"""What class suppression costs: the plain training step, ours, and the equations of DropClass taken literally.

Run:   python -m benchmarks.suppression [--device cpu|cuda] [--repeats N] [--layers input decoder ...]
Time:  about 7 minutes on one CPU core; 3 minutes on a large GPU.

One run measures everything side by side: each repeat runs every variant once, in turn, so that drifts of the machine
hit all of them alike; figures are medians, ratios are medians of the repeats' own ratios. On a CPU the clock counts the
process's CPU time on one thread, which other processes disturb less than the wall clock; on a GPU it is wall time to
the end of the step. Memory is the peak above what the model and optimizer hold (GPU only).

  plain     cross-entropy of the plain model (the product's plain step)
  ours      the full method at the layer
  literal   feature map times gate as a second map, an own upsampling and a full-resolution cross-entropy per path
            (decoder), or the whole network run again on the suppressed map (encoder stage)
  floor     (encoder stages) plain plus what any implementation must run twice: the network behind the stage
  erase     (input) the pixels of the dropped class become noise and are ignored in the loss; one path, no block
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainable.model.build import build_model
from trainable.model.config import ModelConfig
from trainable.model.segmenter import Segmenter
from trainable.model.stages import rerun, run
from trainable.suppression.config import Layer, SuppressionConfig
from trainable.suppression.drop import Drop
from trainable.suppression.loss import PathLosses, path_cross_entropies, suppressed_probability
from trainable.suppression.mechanism import gates
from trainable.train.compute import Compute
from trainable.train.step import Batch, plain_losses, suppressed_losses, two_path_losses

IGNORED = 255
DROPPED = 1
LAYERS: tuple[Layer, ...] = ("input", "decoder", "encoder.5", "encoder.3", "encoder.1")


@dataclass(frozen=True)
class Case:
    """A setting to measure."""

    name: str
    model: ModelConfig
    classes: int
    batch: int
    size: tuple[int, int]


CPU_CASES = (
    Case(
        "camvid.yaml: FPN ResNet-18, 96x128, batch 16", ModelConfig(arch="fpn", encoder="resnet18"), 11, 16, (96, 128)
    ),
    Case("U-Net ResNet-18, 96x128, batch 8", ModelConfig(arch="unet", encoder="resnet18"), 11, 8, (96, 128)),
    Case(
        "shapes.yaml: LinkNet on timm's test ResNet, 64x64, batch 10",
        ModelConfig(arch="linknet", encoder="tu-test_resnet", encoder_weights=None), 6, 10, (64, 64),
    ),
)  # fmt: skip
GPU_CASES = (
    Case(
        "DeepLabV3+ ResNet-50, 512x1024, batch 8, bf16",
        ModelConfig(arch="deeplabv3plus", encoder="resnet50"), 19, 8, (512, 1024),
    ),
    Case("FPN ResNet-50, 512x1024, batch 8, bf16", ModelConfig(arch="fpn", encoder="resnet50"), 19, 8, (512, 1024)),
)  # fmt: skip

Losses = Callable[[Segmenter, Batch, Drop], PathLosses]


def plain(model: Segmenter, batch: Batch, _: Drop) -> PathLosses:
    """Plain cross-entropy."""
    return plain_losses(model, batch, None)


def ours(model: Segmenter, batch: Batch, drop: Drop) -> PathLosses:
    """The product's two paths."""
    return two_path_losses(model, batch, drop, None)[0]


def erasing(compute: Compute) -> Losses:
    """The product's step that erases at the input."""
    suppression = SuppressionConfig(layer="input")
    return lambda model, batch, drop: suppressed_losses(model, batch, drop, suppression, compute, None)


def literal_decoder(model: Segmenter, batch: Batch, drop: Drop) -> PathLosses:
    """METHOD steps 2 to 5 as they are written."""
    maps_BKhw = model.decoder(model.encoder(batch.images_B3HW))
    gate_1K = gates(model.classifier.weight.mean(dim=(2, 3)), drop.keep_GC, "none")
    mix = model.block("decoder").mix
    suppressed_BKhw = F.relu(mix.norm(mix.conv(maps_BKhw * gate_1K[:, :, None, None])))
    suppressed_BChw = model.classify(suppressed_BKhw)
    return _literal_losses(model, batch, drop, model.classify(maps_BKhw), suppressed_BChw)


def literal_encoder(model: Segmenter, batch: Batch, drop: Drop) -> PathLosses:
    """The whole network once per path; the map times its gate as a second map."""
    layer, tap = model.layers[0], model.taps[model.layers[0]]
    block = model.block(layer)
    assert block.auxiliary is not None
    seen: list[Tensor] = []

    def suppress(maps_BKhw: Tensor) -> Tensor:
        seen.append(maps_BKhw)
        gate_1K = gates(block.importance(model.classifier), drop.keep_GC, "none")
        return F.relu(block.mix.norm(block.mix.conv(maps_BKhw * gate_1K[:, :, None, None])))

    logits_BChw = model.classify(model.decoder(model.encoder(batch.images_B3HW)))
    suppressed_BChw = model.classify(model.decoder(list(run(model.encoder, batch.images_B3HW, {tap: suppress}))))
    terms = _literal_losses(model, batch, drop, logits_BChw, suppressed_BChw)
    auxiliary = block.auxiliary_loss(seen[0], batch.labels_BHW)
    return PathLosses(terms.plain, terms.suppressed, terms.probability, auxiliary)


def _literal_losses(model: Segmenter, batch: Batch, drop: Drop, logits: Tensor, suppressed: Tensor) -> PathLosses:
    labels_drop_BHW = batch.labels_BHW.masked_fill(batch.labels_BHW == DROPPED, IGNORED)
    return PathLosses(
        F.cross_entropy(model.upsample(logits), batch.labels_BHW, ignore_index=IGNORED),
        F.cross_entropy(model.upsample(suppressed), labels_drop_BHW, ignore_index=IGNORED),
        suppressed_probability(suppressed, drop),
    )


def floor_encoder(model: Segmenter, batch: Batch, _: Drop) -> PathLosses:
    """The plain step, and once more the network behind the stage on the plain map, with its cross-entropy."""
    passed = model.plain(batch.images_B3HW)
    assert passed.tape is not None
    tap = model.taps[model.layers[0]]
    features = rerun(model.encoder, tap, passed.tape, batch.images_B3HW, passed.tape.map(tap), {})
    again_BChw = model.classify(model.decoder(list(features)))
    first, second = path_cross_entropies(
        [passed.logits_BChw, again_BChw], [batch.labels_BHW, batch.labels_BHW], model.upsample
    )
    return PathLosses(first, second)


class Bench:
    """Runs steps of one case and one suppressed layer."""

    def __init__(self, case: Case, layer: Layer, compute: Compute) -> None:
        """Build the model and a random batch."""
        torch.manual_seed(0)
        self.compute = compute
        config = case.model.model_copy(update={"encoder_weights": None})
        self.model = build_model(config, case.classes, SuppressionConfig(layer=layer))
        self.model = self.model.to(compute.device).to(memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), fused=True)
        images = torch.randint(256, (case.batch, 3, *case.size), dtype=torch.uint8, device=compute.device)
        coarse = torch.randint(case.classes, (case.batch, 1, case.size[0] // 8, case.size[1] // 8)).float()
        labels = F.interpolate(coarse, size=case.size).long()[:, 0].to(compute.device)
        self.batch = Batch(compute.network_input(images), labels)
        self.drop = Drop.of(DROPPED, case.classes, compute.device)

    def advance(self, losses: Losses) -> None:
        """Take one optimizer step, without waiting for a GPU."""
        self.optimizer.zero_grad(set_to_none=True)
        with self.compute.autocast():
            loss = losses(self.model, self.batch, self.drop).total(0.5, 1.0)
        torch.autograd.backward(loss)
        self.optimizer.step()

    def step(self, losses: Losses) -> tuple[float, float]:
        """Seconds and peak memory (MiB above the resting state) of one optimizer step."""
        gpu = self.compute.device.type == "cuda"
        self.optimizer.zero_grad(set_to_none=True)
        rest = 0
        if gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            rest = torch.cuda.memory_allocated()
        clock = time.perf_counter if gpu else time.process_time
        start = clock()
        self.advance(losses)
        if gpu:
            torch.cuda.synchronize()
        seconds = clock() - start
        return seconds, (torch.cuda.max_memory_allocated() - rest) / 2**20 if gpu else 0.0


def compare(bench: Bench, variants: dict[str, Losses], repeats: int) -> None:
    """Print the median time, ratio to the plain step, and memory of each variant."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for repeat in range(repeats + 2):
        for name, losses in variants.items():
            measured = bench.step(losses)
            if repeat >= 2:  # the first ones warm up
                taken[name].append(measured)
    for name, figures in taken.items():
        ratios = [own / base for (own, _), (base, _) in zip(figures, taken["plain"], strict=True)]
        seconds, memory = (statistics.median(values) for values in zip(*figures, strict=True))
        print(
            f"  {name:<8} {seconds * 1e3:8.1f} ms   {statistics.median(ratios):5.3f} x plain"
            f"  ({min(ratios):.3f} to {max(ratios):.3f})" + (f"   {memory:8.0f} MiB" if memory else "")
        )


def main() -> None:
    """Measure all cases of the device."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.suppression")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=LAYERS)
    options = parser.parse_args()
    device = torch.device(options.device)
    compute = Compute(device, "bf16" if device.type == "cuda" else "fp32")
    if device.type == "cpu":
        torch.set_num_threads(1)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU, one thread, CPU time"
    print(f"{name}; torch {torch.__version__}; {options.repeats} interleaved repeats, medians")
    for case in GPU_CASES if device.type == "cuda" else CPU_CASES:
        for layer in options.layers:
            print(f"{case.name}: {layer}")
            compare(Bench(case, layer, compute), _variants(layer, compute), _repeats(layer, options.repeats))


def _variants(layer: Layer, compute: Compute) -> dict[str, Losses]:
    if layer == "input":
        return {"plain": plain, "erase": erasing(compute)}
    if layer == "decoder":
        return {"plain": plain, "ours": ours, "literal": literal_decoder}
    return {"plain": plain, "floor": floor_encoder, "ours": ours, "literal": literal_encoder}


def _repeats(layer: Layer, wanted: int) -> int:
    return wanted if layer in ("input", "decoder") else max(3, wanted // 3)


if __name__ == "__main__":
    main()
