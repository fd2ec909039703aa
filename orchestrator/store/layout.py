"""Every file of a study's directory ``<storage>/<study>``: its name, who writes it and when.

::

    study.json                      what the study is: ``kept_study``               (driver, each launch with trials)
    lease.json                      which launch is at work                         (driver, each heartbeat)
    launches.json                   when, by which command and versions, on what    (driver, each launch with trials)
    spent-<launch>.json             what a launch has used: time, GPU-hours          (driver, every 10 s)
    plan-<stage>.json               what a comparison compares                      (driver, before its first run)
    looks-<stage>.json              what each look at a comparison decided          (driver, when one is taken)
    probes/<node>                   whether a node can write; removed at once       (each node of a cluster)
    gpu-memory.json                 peaks of GPU memory by kinds of trials          (driver, when one is measured)
    weights/<run>/<file>            weights of an MLflow run that trials start from (driver, before they start)
    trials/<key>/                   one trial:
        config.json                 the trial as planned                            (driver, before it starts)
        attempt-<n>.json            who works on it                                 (worker n, once)
        epochs-<n>.json             every epoch's metrics                           (worker n, each epoch)
        checkpoint-<n>-<epoch>.bin  state after an epoch                            (worker n, each epoch)
        log-<n>.txt                 what the trial printed                          (worker n, each epoch)
        out-of-memory-<n>.json      why the GPU's memory ended an attempt           (worker n)
        traceback.txt               of what ended the trial, or a worker's machine  (worker)
        hung-<launch>.txt           why a worker of a launch ended itself           (worker)
        verdict.json                plan, epochs and how it ended                   (driver, once)
        artifacts/                  what is to be seen of it:
            validation_first.png    frames of the evaluation split, first epoch     (worker)
            validation_last.png     the same frames, last epoch                     (worker)
            gradcam_last.png        Grad-CAM maps of some rare classes there        (worker)
            confusion.json          confusion matrix of the last epoch              (worker)
            weight_cosine.json      cosines between the classes' weights, last epoch (worker)
            context.json            how much classes rely on each other, last epoch (worker)
            calibration.json        accuracy by bins of confidence, last epoch      (worker)
    results.parquet                 a row per trial and epoch                       (driver, end of a launch)
    best.yaml                       configuration of the best trial                 (driver, end of a launch)
    report/                         pages, tables, figures                          (driver, end of a launch; report)
    tracking.json                   whether MLflow has everything                   (driver, each launch; track)

Two writers, two sets of files: a worker never touches the verdict, the driver never what workers write. Each worker has
a number of its own, so one that was thought dead and writes again disturbs nobody: the highest number counts. Every
object is written whole, and believed by its checksum if it decides anything; a finished trial needs its verdict alone.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

FORMAT = 1
"""Number of the format of everything below; ``study.json`` says which one a study has."""
STUDY, LEASE, TRACKING = "study.json", "lease.json", "tracking.json"
LAUNCHES = "launches.json"
GPU_MEMORY = "gpu-memory.json"
TABLE, BEST, REPORT = "results.parquet", "best.yaml", "report"
TRIALS = "trials"
GRADCAM = "gradcam_last.png"
FIRST_PICTURE = "validation_first.png"
LAST_PICTURE = "validation_last.png"
PICTURES = (FIRST_PICTURE, LAST_PICTURE, GRADCAM)

ATTEMPT = re.compile(r"attempt-(\d+)\.json")
EPOCHS = re.compile(r"epochs-(\d+)\.json")
LOG = re.compile(r"log-(\d+)\.txt")
OUT_OF_MEMORY = re.compile(r"out-of-memory-(\d+)\.json")
SPENT = re.compile(r"spent-[0-9a-f]+\.json")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)-(\d+)\.bin")


def plan(stage: str) -> str:
    """Name of the plan of a comparing stage."""
    return f"plan-{stage}.json"


def looks(stage: str) -> str:
    """Name of the looks that were taken at a comparing stage."""
    return f"looks-{stage}.json"


def spent(launch: str) -> str:
    """Name of what a launch has used."""
    return f"spent-{launch}.json"


def weights(run: str, file: str) -> str:
    """Name of a file of weights that an MLflow run holds too."""
    return f"weights/{run}/{file}"


def probe(node: str) -> str:
    """Name of what a node writes to see whether it can."""
    return f"probes/{node}"


def numbers(pattern: re.Pattern[str], names: Iterable[str]) -> list[int]:
    """Numbers of the attempts whose files are among the names, the latest first."""
    return sorted((int(match[1]) for name in names if (match := pattern.fullmatch(name))), reverse=True)


@dataclass(frozen=True, order=True)
class CheckpointName:
    """Which checkpoint of a trial; the greatest is the latest."""

    attempt: int
    epoch: int

    def __str__(self) -> str:
        return f"checkpoint-{self.attempt}-{self.epoch}.bin"


def checkpoints(names: Iterable[str]) -> list[CheckpointName]:
    """Checkpoints among the names, the latest first."""
    matches = (_CHECKPOINT.fullmatch(name) for name in names)
    return sorted((CheckpointName(int(match[1]), int(match[2])) for match in matches if match), reverse=True)


class TrialFiles:
    """Names of a trial's files."""

    def __init__(self, key: str) -> None:
        self.folder = f"{TRIALS}/{key}"
        self.config = f"{self.folder}/config.json"
        self.verdict = f"{self.folder}/verdict.json"
        self.traceback = f"{self.folder}/traceback.txt"
        self.artifacts = f"{self.folder}/artifacts"
        self.confusion = f"{self.artifacts}/confusion.json"
        self.weight_cosines = f"{self.artifacts}/weight_cosine.json"
        self.context = f"{self.artifacts}/context.json"
        self.calibration = f"{self.artifacts}/calibration.json"

    def attempt(self, number: int) -> str:
        """Name of a worker's claim."""
        return f"{self.folder}/attempt-{number}.json"

    def epochs(self, number: int) -> str:
        """Name of a worker's metrics."""
        return f"{self.folder}/epochs-{number}.json"

    def log(self, number: int) -> str:
        """Name of a worker's log."""
        return f"{self.folder}/log-{number}.txt"

    def out_of_memory(self, number: int) -> str:
        """Name of what a worker writes down when the GPU's memory ends it."""
        return f"{self.folder}/out-of-memory-{number}.json"

    def hung(self, launch: str) -> str:
        """Name of the reason that a worker of a launch leaves when it takes too long."""
        return f"{self.folder}/hung-{launch}.txt"
