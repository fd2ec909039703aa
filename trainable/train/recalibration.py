"""Recompute the running statistics of the suppression blocks' batch norm, as the evaluation meets them.

In training they are moving averages over steps that dropped classes, and with the official momentum of 0.01 a short
schedule never forgets where they began (mean 0, variance 1). The evaluation keeps every class (m = 1), so the
statistics are taken anew from a pass with m = 1 over training images, un-augmented and cut as the evaluation cuts them.
Training never reads running statistics: its steps are the same as without. Batch norm of the network behind an
encoder's block is left as training made it.
Shapes: B batch, O channels, h w the block's map.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from trainable.data.frames import Frames
from trainable.data.prefetch import ahead
from trainable.data.transfer import device_batches
from trainable.evaluate.evaluate import batch_size_on_rank, batches_on_rank
from trainable.evaluate.predict import frame_logits
from trainable.ranks.group import summed
from trainable.suppression.block import SuppressionBlock
from trainable.suppression.drop import Drop
from trainable.train import seeds
from trainable.train.epoch import Training

IMAGES = 24
"""Training images, or all where there are fewer; a trial sees the same ones before each evaluation."""


@torch.no_grad()
def recalibrate(training: Training, frames: Frames) -> None:
    """Recompute the statistics of every block in the order of the network, each in a pass of its own.

    A later block sees the earlier ones as the evaluation will. ``frames`` are those of the training split; each rank
    predicts a part of the images, and the statistics are those of all of them.
    """
    config, model, compute = training.config, training.model, training.compute
    order_N = torch.randperm(len(frames), generator=seeds.generator(config.seed, "recalibration", 0))
    batches = batches_on_rank(order_N[:IMAGES].sort().values, batch_size_on_rank(config))
    # one view of each pixel tells the statistics: mirroring and scales would only cost
    evaluation = config.evaluation.model_copy(update={"flip": False, "scales": (1.0,)})

    def predict() -> None:
        with ahead(device_batches(frames, batches, compute.device), compute.device) as seen:
            for images_B3HW, _ in seen:
                with compute.autocast():
                    frame_logits(model, compute.network_input(images_B3HW), evaluation)

    model.eval()
    for layer in model.layers:
        _recompute(model.block(layer), predict)


def _recompute(block: SuppressionBlock, predict: Callable[[], None]) -> None:
    """Give the block's batch norm the mean and unbiased variance of all that it normalises while ``predict`` runs."""
    counts: list[int] = []
    moments: list[Tensor] = []

    def note(_: object, arguments: tuple[Tensor, ...], named: dict[str, Tensor | Drop | None]) -> None:
        mixed_BOhw = block.mixed(*arguments, **named).float()  # type: ignore[arg-type]
        counts.append(mixed_BOhw.numel() // mixed_BOhw.shape[1])
        moments.append(torch.stack(torch.var_mean(mixed_BOhw, dim=(0, 2, 3), correction=0)).double())

    handle = block.register_forward_pre_hook(note, with_kwargs=True)
    try:
        predict()
    finally:
        handle.remove()
    norm = block.mix.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    pixels_N1 = torch.tensor(counts, dtype=torch.float64, device=norm.running_mean.device)[:, None]
    total = summed(pixels_N1.sum())
    shares_N1 = pixels_N1 / total
    nothing = pixels_N1.new_zeros(0, 2, norm.num_features)  # a rank may have no image
    variance_NO, mean_NO = (torch.stack(moments) if moments else nothing).unbind(dim=1)
    mean_O = summed((shares_N1 * mean_NO).sum(dim=0))
    variance_O = summed((shares_N1 * (variance_NO + (mean_NO - mean_O) ** 2)).sum(dim=0))
    norm.running_mean.copy_(mean_O)
    norm.running_var.copy_(variance_O * total / (total - 1).clamp_min(1))
