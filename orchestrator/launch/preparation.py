"""What a launch brings to this machine before its first trial; what takes long is said."""

from rich.console import Console

from orchestrator.launch.data_sets import cache_data
from orchestrator.launch.foreseen import foreseen
from orchestrator.launch.model_check import check_apart
from orchestrator.launch.preflight import needs_torch
from orchestrator.studyfile import Study
from orchestrator.terminal.console import announced


def prepare(study: Study, console: Console) -> None:
    """Check the models, and bring weights and data here once, before many trials would do so at the same time.

    Raises:
        InputError: Models that cannot be built, weights and data that cannot be had.
    """
    models = foreseen(study).models
    encoders = dict.fromkeys(model.encoder for model in models if isinstance(model.encoder_weights, str))
    weights = f", looking for the weights of {', '.join(encoders)}" if encoders else ""
    if needs_torch(study):
        with announced(console, f"Checking {len(models)} model{'s' * (len(models) != 1)}{weights}"):
            check_apart(study)
    cache_data(study)
