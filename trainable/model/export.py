"""Write a trained network as a plain segmentation-models-pytorch model with equal logits: the blocks fold away.

At evaluation m = 1, so a block is Conv1x1 with a constant weight, BatchNorm with constant statistics, and ReLU: the
first two are one 1x1 convolution. The decoder's becomes a part of the segmentation head; that of an encoder stage goes
behind the module that makes the stage's map.

Shapes: O output channels, K input channels.
"""

import copy
import inspect
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.ops import Permute

from trainable.model.build import create
from trainable.model.config import ModelConfig
from trainable.model.hrnet import HRNetEncoder, without_own_classes
from trainable.model.norm_over_ranks import of_one_process
from trainable.model.own_network import Exported, Features
from trainable.model.segmenter import Segmenter
from trainable.model.stages import Tap
from trainable.suppression.block import SuppressionBlock
from trainable.suppression.mechanism import effective_weight


class Then(nn.Module):
    """A module and what follows it, for modules that take several arguments (those of efficientnet-b*).

    The one class of this package that an exported model may need.
    """

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        """Run ``second`` on the output of ``first``."""
        super().__init__()
        self.first, self.second = first, second

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Output of the second module."""
        output: Tensor = self.second(self.first(*args, **kwargs))
        return output


@torch.no_grad()
def folded(model: Segmenter, config: ModelConfig) -> nn.Module:
    """A copy of the network as smp's model in evaluation mode; images as ``Compute.network_input`` makes them."""
    if isinstance(model.encoder, Features):
        return _own_folded(model, model.encoder)
    plain = create(config, model.classifier.out_channels)
    plain.encoder, plain.decoder = copy.deepcopy(model.encoder), copy.deepcopy(model.decoder)
    of_one_process(plain)
    head: list[nn.Module] = [copy.deepcopy(model.classifier), copy.deepcopy(model.upsample), nn.Identity()]
    for layer in model.layers:
        block = _folded(model.block(layer), model.importance()[layer])
        if layer == "decoder":
            head = [block, nn.ReLU(), *head]
        else:
            _append(plain.encoder, model.taps[layer], nn.Sequential(block, nn.ReLU()))
    if isinstance(plain.encoder, HRNetEncoder):
        plain.encoder, plain.decoder = without_own_classes(plain.encoder, plain.decoder)
    plain.segmentation_head = nn.Sequential(*head)
    plain.eval()
    assert isinstance(plain, nn.Module)
    return plain


def _own_folded(model: Segmenter, features: Features) -> nn.Module:
    head: list[nn.Module] = [copy.deepcopy(model.classifier), copy.deepcopy(model.upsample)]
    if "decoder" in model.layers:
        head = [_folded(model.block("decoder"), model.importance()["decoder"]), nn.ReLU(), *head]
    plain = Exported(copy.deepcopy(features.network), nn.Sequential(*head))
    of_one_process(plain)
    return plain.eval()


def save(model: Segmenter, config: ModelConfig, path: Path) -> None:
    """Write ``folded`` to a file; ``torch.load(path, weights_only=False)`` brings it back, on any device.

    A name that ends in .safetensors gets its weights alone, as ``model.weights`` reads them.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        network = folded(model, config).cpu()
        if path.suffix == ".safetensors":
            save_weights(network, partial)
        else:
            torch.save(network, partial)
        partial.replace(path)
    except (RuntimeError, SafetensorError) as error:  # for a disk that is full
        raise OSError(str(error).splitlines()[0]) from error
    finally:
        partial.unlink(missing_ok=True)


def save_weights(network: nn.Module, path: Path) -> None:
    """Write the weights of a network on the CPU alone, as safetensors; raises SafetensorError: the disk is full."""
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)


def _folded(block: SuppressionBlock, importance_CK: Tensor) -> nn.Conv2d:
    """Gate, convolution and normalisation as one 1x1 convolution."""
    weight_OK = effective_weight(block.mix.weight, importance_CK, None, block.mechanism, block.gate_norm)
    norm = block.mix.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale_O = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    outputs, inputs = weight_OK.shape
    conv = nn.Conv2d(inputs, outputs, kernel_size=1, device=weight_OK.device, dtype=weight_OK.dtype)
    conv.weight.copy_((weight_OK * scale_O[:, None])[:, :, None, None])
    assert conv.bias is not None
    conv.bias.copy_((block.mix.bias - norm.running_mean) * scale_O + norm.bias)
    return conv


def _append(encoder: nn.Module, tap: Tap, following: nn.Module) -> None:
    if tap.channels_last:
        following = nn.Sequential(Permute([0, 3, 1, 2]), following, Permute([0, 2, 3, 1]))
    producer = encoder.get_submodule(tap.producer)
    alone = len(inspect.signature(producer.forward).parameters) == 1
    encoder.set_submodule(tap.producer, nn.Sequential(producer, following) if alone else Then(producer, following))
