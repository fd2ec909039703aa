"""What a launch brings to this machine before its first trial; what takes long is said."""

from rich.console import Console

from orchestrator.launch.data_sets import cache_data
from orchestrator.launch.foreseen import foreseen
from orchestrator.launch.preflight import check_models, fetch_weights
from orchestrator.studyfile import Study
from orchestrator.terminal.console import announced


def prepare(study: Study, console: Console) -> None:
    """Check the models, and bring weights and data here once, before many trials would do so at the same time.

    Raises:
        InputError: Models that cannot be built, weights and data that cannot be had.
    """
    models = foreseen(study).models
    encoders = dict.fromkeys(model.encoder for model in models if isinstance(model.encoder_weights, str))
    with announced(console, f"Checking {len(models)} model{'s' * (len(models) != 1)}"):
        check_models(study)
    with announced(console, f"Looking for the weights of {', '.join(encoders)}"):
        fetch_weights(study)
    cache_data(study)
