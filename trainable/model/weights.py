"""Pretrained encoder weights: are the names right, and are the files in the local Hugging Face cache?

Weights are fetched once (``fetch_weights``) before any trial starts. Hugging Face's own download retries a dead
network for half a minute per file; here one request without retries decides first, so a machine without a network
fails within seconds. Native encoders come from the ``smp-hub`` organisation at a pinned revision, ``tu-`` encoders
from timm's.
"""

from dataclasses import dataclass

import timm
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from segmentation_models_pytorch.encoders import encoders as native_encoders

from trainable.model.config import ModelConfig
from trainable.model.encoders import TIMM_PREFIX, ModelError

REACH_SECONDS = 4
"""How long the one request that decides whether the hub can be reached may take."""


@dataclass(frozen=True)
class HubFiles:
    """Files of one repository on the Hugging Face hub."""

    repo: str
    revision: str | None
    names: tuple[str, ...]

    def fetch(self, *, local_only: bool) -> None:
        """Bring the files into the local cache; ``local_only`` only looks whether they are there.

        Raises:
            OSError: a file is not in the cache (``local_only``), or the download failed.
        """
        for name in self.names:
            hf_hub_download(self.repo, name, revision=self.revision, local_files_only=local_only)

    def reach(self) -> None:
        """Ask the hub for the last file's metadata: one request, no retry; raises what the hub client raises."""
        get_hf_file_metadata(hf_hub_url(self.repo, self.names[-1], revision=self.revision), timeout=REACH_SECONDS)


def check_weights(model: ModelConfig) -> None:
    """Refuse names of weights that the encoder does not have. The encoder's own name must have been checked before.

    Raises:
        ModelError: with the names that are valid for this encoder.
    """
    weights = model.encoder_weights
    if not isinstance(weights, str):
        return
    if model.encoder.startswith(TIMM_PREFIX):
        _check_timm_weights(model.encoder, weights)
        return
    valid = list(native_encoders[model.encoder]["pretrained_settings"])
    if weights not in valid:
        raise ModelError(
            f"model.encoder_weights: '{model.encoder}' has no weights '{weights}'; one of {', '.join(valid)}, null"
        )


def _check_timm_weights(encoder: str, weights: str) -> None:
    name = encoder.removeprefix(TIMM_PREFIX)
    if not timm.models.is_model_pretrained(name):
        raise ModelError(f"model.encoder_weights: timm has no pretrained weights for '{name}'; write null")
    if weights != "imagenet":
        raise ModelError(
            f"model.encoder_weights: a {TIMM_PREFIX} encoder carries its weights in its name, as in "
            f"'{TIMM_PREFIX}resnet18.a1_in1k'; write imagenet for the tag's weights or null, not '{weights}'"
        )


def fetch_weights(model: ModelConfig) -> None:
    """Fetch the encoder's pretrained weights into the local Hugging Face cache, once, where it names any.

    Raises:
        ModelError: unknown weights, or weights neither in the cache nor reachable; the line says the way out.
    """
    if not isinstance(model.encoder_weights, str):
        return
    check_weights(model)
    files = _hub_files(model)
    if files is None or _in_cache(files):
        return
    try:
        files.reach()
        files.fetch(local_only=False)
    except Exception as error:  # the hub client has its own errors, its HTTP library others, and both change
        raise ModelError(_unreachable(model, files, error)) from error


def _hub_files(model: ModelConfig) -> HubFiles | None:
    """Where the weights live; None where timm downloads from elsewhere on its own."""
    if not model.encoder.startswith(TIMM_PREFIX):
        settings = native_encoders[model.encoder]["pretrained_settings"][model.encoder_weights]
        return HubFiles(settings["repo_id"], settings["revision"], ("config.json", "model.safetensors"))
    pretrained = timm.models.get_pretrained_cfg(model.encoder.removeprefix(TIMM_PREFIX))
    if pretrained is None or not pretrained.hf_hub_id:
        return None
    repo, _, revision = str(pretrained.hf_hub_id).partition("@")
    return HubFiles(repo, revision or None, (pretrained.hf_hub_filename or "model.safetensors",))


def _in_cache(files: HubFiles) -> bool:
    try:
        files.fetch(local_only=True)
    except (OSError, ValueError):
        return False
    return True


def _unreachable(model: ModelConfig, files: HubFiles, error: Exception) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return (
        f"model.encoder_weights: '{model.encoder_weights}' weights of '{model.encoder}' are not in the local cache and "
        f"cannot be downloaded from {files.repo} ({reason}); train from random weights with "
        "--set model.encoder_weights=null, or fetch them on a machine with a network and copy its Hugging Face cache "
        "here (HF_HOME names the folder)"
    )
