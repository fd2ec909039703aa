"""The ``model`` section: an architecture and its encoder. Imports no torch."""

import hashlib
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from trainable.configfile.mistakes import MISSING, RuleError, unknown
from trainable.model.encoders import ENCODERS, TIMM_PREFIX, TINY_RESNET
from trainable.model.run_reference import RUNS, WEIGHT_SUFFIXES, read_reference
from trainable.parts.section import BUILT_IN_OR_OWN, OwnMember, OwnPart, is_own, kind_of
from trainable.section import BUILT_IN, OWN, Section
from trainable.suppression.config import Layer

Arch = Literal[
    "unet",
    "unetplusplus",
    "manet",
    "linknet",
    "fpn",
    "pspnet",
    "deeplabv3",
    "deeplabv3plus",
    "pan",
    "upernet",
    "segformer",
    "hrnet",
]
"""Every smp architecture whose forward is encoder -> decoder -> segmentation_head, and ``hrnet``, the paper's network.
``dpt`` is not among them: its decoder needs the prefix tokens of a ViT encoder besides the features."""

HRNETS = f"{TIMM_PREFIX}hrnet_"
"""How the names of the encoders begin that ``hrnet`` takes."""


class WeightsFile(Section):
    """A file of weights. Equal contents are equal, wherever they lie."""

    path: str
    """Where it lies, or ``runs:/RUN_ID/FILE`` of MLflow; a study file writes it alone."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Hash of its content, which the trial is known by."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WeightsFile) and other.sha256 == self.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)


def sha256_of(path: Path) -> str:
    """Hash of a file's content; raises OSError."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@lru_cache
def _sha256(path: Path, _size: int, _changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _name_or_content(value: object) -> object:
    """What may name weights or a file of them: a file with its content."""
    named = isinstance(value, str) and "/" not in value and not value.endswith(WEIGHT_SUFFIXES)
    return value if named else _with_content(value)


def _with_content(value: object) -> object:
    """The name of a file of weights as the section that names its content too."""
    if not isinstance(value, str):
        return value
    if value.startswith(RUNS):
        return _of_run(value)
    if not value.endswith(WEIGHT_SUFFIXES):
        raise ValueError(f"a file of weights ends in {', '.join(WEIGHT_SUFFIXES)}; got '{value}'")
    path = Path(value).expanduser().absolute()
    try:
        return {"path": str(path), "sha256": sha256_of(path)}
    except OSError as error:
        raise ValueError(f"'{value}' cannot be read: {error.strerror}") from error


def _of_run(value: str) -> object:
    reference = read_reference(value)
    if reference.sha256 is None:
        alone = "a trial alone takes a file, which `mlflow artifacts download` fetches"
        raise ValueError(f"'{value}' is of MLflow, which only a study asks (python -m orchestrator.sweep); {alone}")
    return {"path": reference.path, "sha256": reference.sha256}


EncoderWeights = Annotated[
    Annotated[str, Tag("name")] | Annotated[WeightsFile, Tag("file")],
    Discriminator(lambda value: "file" if isinstance(value, dict | WeightsFile) else "name"),
]


def _own_by_name(value: object) -> object:
    return {"name": value} if is_own(value) else value


NetworkArch = Annotated[Annotated[Arch, Tag(BUILT_IN)] | OwnMember, BUILT_IN_OR_OWN, BeforeValidator(_own_by_name)]


class ModelConfig(Section):
    """A segmentation model: ``smp.create_model(arch, encoder)``, ``hrnet``, or a network of your own."""

    arch: NetworkArch
    """Architecture, by its name in segmentation-models-pytorch; hrnet: the paper's head, on timm's HRNets; or a network
    of your own, ``module:Class`` or {name: module:Class, ...} with its settings, which has no encoder."""
    encoder: str = ""
    """Encoder, by its name in segmentation-models-pytorch; ``tu-NAME`` takes any timm model. A network of your own
    has none, all others need one."""
    encoder_weights: Annotated[EncoderWeights | None, BeforeValidator(_name_or_content)] = "imagenet"
    """Pretrained weights of the encoder: imagenet, or a file (.pt, .pth, .safetensors) with timm's, smp's or a whole
    network's names, or an MLflow run's (see weights); null starts from random weights and downloads nothing."""
    weights: Annotated[WeightsFile | None, BeforeValidator(_with_content)] = None
    """A file with the weights of a whole network that was trained without suppression, from which training goes on:
    `python -m trainable CONFIG --export FILE.safetensors` writes it. Or runs:/RUN_ID of MLflow, whose run keeps the
    network of a study's best trial. Images are normalised as encoder_weights says."""
    init: Literal["torch", "small"] = "torch"
    """Initial weights of the classifier, the suppression block and hrnet's decoder: those that smp and torch give, or
    small: N(0, 0.001) (official). Everything else is the same with both."""

    @model_validator(mode="before")
    @classmethod
    def _own_starts_from_nothing(cls, tree: object) -> object:
        if not isinstance(tree, dict) or kind_of(tree.get("arch")) != OWN:
            return tree
        for key, value in (("encoder", ""), ("encoder_weights", None), ("weights", None), ("init", "torch")):
            if tree.get(key, value) != value:
                message = "a network of your own has none: let it be a setting of arch"
                raise RuleError(message, f"model.{key}")
        return {**tree, "encoder_weights": None}

    @model_validator(mode="after")
    def _has_an_encoder(self) -> Self:
        if not self.encoder and not isinstance(self.arch, OwnPart):
            raise RuleError("must not be empty" if "encoder" in self.model_fields_set else MISSING, "model.encoder")
        return self

    @field_validator("encoder")
    @classmethod
    def _is_known(cls, encoder: str) -> str:
        """Names of timm models are not looked up: timm imports torch."""
        if encoder and not encoder.startswith(TIMM_PREFIX) and encoder not in ENCODERS:
            raise ValueError(f"{unknown(encoder, ENCODERS, 'encoder')}; {TIMM_PREFIX}NAME takes any timm model")
        return encoder

    @model_validator(mode="after")
    def _hrnet_takes_hrnets(self) -> Self:
        if self.arch == "hrnet" and not self.encoder.startswith(HRNETS):
            message = f"'hrnet' takes the branches of an HRNet, {HRNETS}w18_small to {HRNETS}w64; not '{self.encoder}'"
            raise RuleError(message, "model.encoder")
        return self

    @property
    def arch_name(self) -> str:
        """The architecture's name."""
        return self.arch.name if isinstance(self.arch, OwnPart) else self.arch

    @property
    def title(self) -> str:
        """The network in words."""
        return self.arch.short_name if isinstance(self.arch, OwnPart) else f"{self.arch} / {self.encoder}"

    @property
    def inner_layers(self) -> tuple[Layer, ...]:
        """The layers besides the decoder that the architecture may have."""
        if isinstance(self.arch, OwnPart):
            return ()
        kind = "branch." if self.arch == "hrnet" else "encoder."
        return tuple(layer for layer in get_args(Layer) if layer.startswith(kind))


def is_plain_resnet(encoder: str) -> bool:
    """Whether it is one of smp's, or the tiny one of the built-in study files: a test holds that both take the same."""
    return encoder == TINY_RESNET or (encoder in ENCODERS and encoder.startswith("resnet"))


def is_surely_buildable(model: ModelConfig, encoder_layers: Collection[str]) -> bool:
    """Whether `check_model` would pass, told without smp: every architecture takes a plain ResNet (a test trains each).

    All but pspnet, which ends at stage 3, have its five stages. False says nothing.
    """
    resnet = is_plain_resnet(model.encoder)
    return resnet and model.encoder_weights is model.weights is None and (model.arch != "pspnet" or not encoder_layers)
