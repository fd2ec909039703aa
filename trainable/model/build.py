"""Build a model from its section, split as encoder, decoder, classifier and upsampling.

Every mistake raises ``ModelError`` with one line that names the field, the value and what would be right.
"""

import difflib
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from safetensors import SafetensorError
from torch import nn

from trainable.model.config import ModelConfig, WeightsFile
from trainable.model.encoders import ENCODERS, TIMM_PREFIX, ModelError
from trainable.model.hrnet import branch_tap, create_hrnet
from trainable.model.own_network import own_parts
from trainable.model.segmenter import Segmenter
from trainable.model.stages import Tap, TapError, find_tap
from trainable.model.weight_files import load_encoder, load_network
from trainable.model.weights import check_weights, fetch_weights
from trainable.parts.section import OwnPart
from trainable.suppression.block import SuppressionBlock
from trainable.suppression.config import Layer, SuppressionConfig
from trainable.suppression.mechanism_sections import Erase

DILATED_ARCHS = ("deeplabv3", "deeplabv3plus", "pan")
DILATED_RULE = (
    "this architecture needs an encoder that can be dilated, such as resnet50, efficientnet-b0, mobilenet_v2, mit_b0, "
    "tu-convnext_tiny or tu-regnety_002"
)

# timm warns of the classification head's weights, which no encoder has
logging.getLogger("timm.models._builder").addFilter(lambda record: "Unexpected keys" not in record.getMessage())

DAMAGED = "its weights in the Hugging Face cache are damaged; delete them there (HF_HOME names the folder)"

SMALL = 0.001
"""Standard deviation of the official code's initial weights; it then loads those of ImageNet into the backbone."""


def build_model(model: ModelConfig, classes: int, suppression: SuppressionConfig | None) -> Segmenter:
    """Model with ``classes`` outputs on the CPU; random weights come from torch's global generator.

    The suppression block is created last, so a trial with suppression starts from the same encoder, decoder and
    classifier as the plain trial of the same seed.

    Raises:
        ModelError: unknown names, an encoder that the architecture refuses, weights that cannot be downloaded.
    """
    if isinstance(model.arch, OwnPart):
        encoder, decoder, classifier, upsample = own_parts(model, classes)
        blocks = _blocks(suppression, {"decoder": classifier.in_channels}, classes)
        return Segmenter(encoder, decoder, classifier, upsample, blocks, {})
    _check_names(model)
    fetch_weights(model)
    network = _pretrained(model, classes)
    classifier, upsample = network.segmentation_head[0], network.segmentation_head[1]
    assert isinstance(classifier, nn.Conv2d)
    if model.init == "small":
        _draw_small([network.decoder, classifier] if model.arch == "hrnet" else [classifier])
    if model.weights is not None:
        load_network(network, model.weights)
    layers = suppression.layers if suppression else ()
    taps = _taps(model, network.encoder, layers)
    channels: dict[Layer, int] = {layer: network.encoder.out_channels[tap.stage] for layer, tap in taps.items()}
    blocks = _blocks(suppression, {**channels, "decoder": classifier.in_channels}, classes)
    if model.init == "small":
        _draw_small(blocks.values())
    return Segmenter(network.encoder, network.decoder, classifier, upsample, blocks, taps)


def _blocks(
    suppression: SuppressionConfig | None, channels: Mapping[Layer, int], classes: int
) -> dict[Layer, SuppressionBlock]:
    with_block = suppression.blocks if suppression else ()
    return {layer: _block(suppression, layer, channels[layer], classes) for layer in with_block if suppression}


def _pretrained(model: ModelConfig, classes: int) -> Any:
    weights = model.encoder_weights
    network = create(model, classes, _weights_argument(model.encoder, weights) if isinstance(weights, str) else None)
    if isinstance(weights, WeightsFile):
        load_encoder(network.encoder, weights)
    return network


def _draw_small(parts: Iterable[nn.Module]) -> None:
    """Draw the weights of all convolutions anew, in the order in which they were created; biases stay."""
    for part in parts:
        for module in part.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=SMALL)


def _block(suppression: SuppressionConfig, layer: Layer, channels: int, classes: int) -> SuppressionBlock:
    source, mechanism = suppression.importance_at(layer), suppression.mechanism_at(layer)
    assert not isinstance(mechanism, Erase)
    return SuppressionBlock(
        channels, classes, mechanism, suppression.gate_norm, source,
        suppression.gradient_every, suppression.norm_momentum,
    )  # fmt: skip


def _taps(model: ModelConfig, encoder: nn.Module, layers: Iterable[Layer]) -> dict[Layer, Tap]:
    taps: dict[Layer, Tap] = {}
    for layer in layers:
        if layer not in ("input", "decoder"):
            try:
                taps[layer] = _tap(model, encoder, layer)
            except TapError as error:
                where = f"'{layer}' cannot be suppressed in '{model.encoder}' under '{model.arch}'"
                raise ModelError(f"suppression.layer: {where}: {error}") from error
    return taps


def _tap(model: ModelConfig, encoder: nn.Module, layer: Layer) -> Tap:
    kind, _, number = layer.partition(".")
    if layer not in model.inner_layers:
        raise TapError(f"the architecture has {', '.join(model.inner_layers)}")
    return branch_tap(int(number)) if kind == "branch" else find_tap(encoder, int(number))


def check_model(model: ModelConfig, layers: Iterable[Layer] = (), classes: int = 2) -> None:
    """Check every name of the section, that the architecture takes the encoder, and that it has the suppressed layers.

    Downloads nothing; a file of weights is loaded. The model is built on torch's meta device, which allocates no
    weights; the few encoders that need real numbers while they are built are built on the CPU, and so are those of
    which a stage is suppressed or that load a file.

    Raises:
        ModelError: the first mistake.
    """
    if isinstance(model.arch, OwnPart):
        own_parts(model, classes)
        return
    _check_names(model)
    if isinstance(model.encoder_weights, WeightsFile) or model.weights is not None:
        _check_files(model, layers, classes)
        return
    if set(layers) - {"input", "decoder"}:
        _taps(model, create(model, 2).encoder, layers)
        return
    try:
        with torch.device("meta"):
            create(model, 2)
    except Exception:  # whatever meta tensors cannot do; the real build has the last word
        create(model, 2)


def _check_files(model: ModelConfig, layers: Iterable[Layer], classes: int) -> None:
    network = create(model, classes)
    if isinstance(model.encoder_weights, WeightsFile):
        load_encoder(network.encoder, model.encoder_weights)
    if model.weights is not None:
        load_network(network, model.weights)
    _taps(model, network.encoder, layers)


def _check_names(model: ModelConfig) -> None:
    encoder, timm_name = model.encoder, model.encoder.removeprefix(TIMM_PREFIX)
    # with a tag, as in tu-resnet18.a1_in1k, is_model looks at the part before it
    known = timm.models.is_model(timm_name) if encoder != timm_name else encoder in ENCODERS
    if not known or ("." in timm_name and not timm.models.is_model_pretrained(timm_name)):
        raise ModelError(f"model.encoder: unknown '{encoder}'; {_suggestion(encoder)}")
    check_weights(model)


def _suggestion(encoder: str) -> str:
    """Close names; smp's former ``timm-`` encoders are timm models now."""
    from_timm = encoder.startswith((TIMM_PREFIX, "timm-"))
    wanted = encoder.replace("timm-", TIMM_PREFIX, 1).partition(".")[0]
    known = [TIMM_PREFIX + name for name in timm.list_models()] if from_timm else ENCODERS
    close = difflib.get_close_matches(wanted, known, n=4, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}? " if close else ""
    return f"{hint}valid: any encoder of segmentation-models-pytorch, as resnet18 or mit_b0, or {TIMM_PREFIX}TIMM_MODEL"


def _weights_argument(encoder: str, weights: str) -> str | bool:
    """What smp takes as ``encoder_weights``: for timm encoders True, any string makes it warn."""
    return True if encoder.startswith(TIMM_PREFIX) else weights


def create(model: ModelConfig, classes: int, weights: Any = None) -> Any:
    """The plain network as smp builds it, or as smp would.

    Raises:
        ModelError: the architecture does not take the encoder.
    """
    try:
        if model.arch == "hrnet":
            return create_hrnet(model.encoder, classes, pretrained=weights is not None)
        return smp.create_model(model.arch, model.encoder, encoder_weights=weights, classes=classes)
    except Exception as error:  # smp and timm raise any type for a pair that does not fit
        pair = f"'{model.arch}' cannot be built on encoder '{model.encoder}'"
        raise ModelError(f"model: {pair}: {_reason(model, error)}") from error


def _reason(model: ModelConfig, error: Exception) -> str:
    """The rule that a pair breaks, where the libraries only stumble over it; else what they say."""
    if isinstance(error, SafetensorError):
        return DAMAGED
    message = (str(error).strip() or type(error).__name__).splitlines()[0]
    stumbled = isinstance(error, AssertionError) or "dilated" in message or "output_stride" in message
    return DILATED_RULE if model.arch in DILATED_ARCHS and stumbled else message
