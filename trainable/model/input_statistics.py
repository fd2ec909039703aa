"""The input that an encoder's pretrained weights were trained on: not every network is normalised as ImageNet's are."""

import segmentation_models_pytorch as smp
import timm

from trainable.model.config import ModelConfig, WeightsFile
from trainable.model.encoders import TIMM_PREFIX, ModelError
from trainable.model.weights import fetch_weights
from trainable.train.compute import IMAGENET, Normalization

NOT_IMAGENETS = ("dpn", "inception", "xception", "timm-tf_")
"""smp's encoders whose weights were not trained on images normalised by ImageNet's statistics."""


def input_statistics(model: ModelConfig) -> Normalization:
    """Mean and deviation by which the encoder's weights want images normalised; ImageNet's for random weights.

    timm tells those of a ``tu-`` encoder, whose weights a file may hold too; those of smp's own lie beside the weights
    on the hub, or in its cache, and are ImageNet's for a file.

    Raises:
        ModelError: weights out of reach, or weights that want no RGB.
    """
    if model.encoder_weights is None:
        return IMAGENET
    if model.encoder.startswith(TIMM_PREFIX):
        pretrained = timm.models.get_pretrained_cfg(model.encoder.removeprefix(TIMM_PREFIX))
        assert pretrained is not None
        return Normalization(tuple(pretrained.mean), tuple(pretrained.std))
    if isinstance(model.encoder_weights, WeightsFile):
        if model.encoder.startswith(NOT_IMAGENETS):
            message = f"what weights of '{model.encoder}' want as input, only the hub tells; take a tu- encoder"
            raise ModelError(f"model.encoder_weights: {message}")
        return IMAGENET
    fetch_weights(model)
    wanted = smp.encoders.get_preprocessing_params(model.encoder, model.encoder_weights)
    if wanted["input_space"] != "RGB":
        weights = f"the '{model.encoder_weights}' weights of '{model.encoder}'"
        raise ModelError(f"model.encoder_weights: {weights} want {wanted['input_space']}, not RGB; take a tu- encoder")
    largest = wanted["input_range"][1]
    mean, std = (tuple(value / largest for value in wanted[name]) for name in ("mean", "std"))
    return Normalization(mean, std)
