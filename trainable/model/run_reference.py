"""``runs:/RUN_ID[/FILE][@SHA256]``: a file of weights that an MLflow run keeps, and its content once that is known."""

import re
from dataclasses import dataclass

RUNS = "runs:/"
"""By which such a file is told from one of a disk."""
NETWORK = "model.safetensors"
"""The file that holds the network of a study's best trial, as ``--export`` writes it; what ``runs:/RUN_ID`` names."""
WEIGHT_SUFFIXES = (".pt", ".pth", ".safetensors")
"""By which a file of weights is told from the name of weights."""
_FORM = re.compile(r"runs:/(?P<run>[\w-]+)(?:/(?P<file>[^@]+))?(?:@(?P<sha256>[0-9a-f]{64}))?", re.ASCII)


@dataclass(frozen=True)
class RunReference:
    """A file of weights of an MLflow run."""

    run: str
    file: str = NETWORK
    """Path below the run's artifacts."""
    sha256: str | None = None
    """Hash of its content, where the reference says it."""

    def __str__(self) -> str:
        return f"{self.path}@{self.sha256}" if self.sha256 else self.path

    @property
    def path(self) -> str:
        """The reference without the content."""
        return f"{RUNS}{self.run}/{self.file}"


def read_reference(text: str) -> RunReference:
    """The reference that a text is.

    Raises:
        ValueError: it is none, or its file is none of weights.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"a network of MLflow is {RUNS}RUN_ID or {RUNS}RUN_ID/FILE; got '{text}'")
    file = match["file"] or NETWORK
    if any(part in ("", ".", "..") for part in file.split("/")):
        raise ValueError(f"the file of a run is a path below its artifacts, as {NETWORK}; got '{file}'")
    if not file.endswith(WEIGHT_SUFFIXES):
        whole = f"{RUNS}{match['run']} alone names its {NETWORK}"
        raise ValueError(f"a file of weights ends in {', '.join(WEIGHT_SUFFIXES)}; got '{file}'; {whole}")
    return RunReference(match["run"], file, match["sha256"])
