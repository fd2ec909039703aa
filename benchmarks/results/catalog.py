"""The benchmarks that RESULTS.md holds: what each runs, needs and measures."""

import os
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
Need = Callable[[], str | None]
"""Says what is missing on this machine, None where nothing is."""


@dataclass(frozen=True)
class Benchmark:
    """A part of RESULTS.md that commands measure."""

    name: str
    """As on the command line and in the page's marks."""
    commands: tuple[str, ...]
    """What follows ``python``, from the repository's root; ``$NAME`` is one of ``places``."""
    minutes: int
    """About what it takes on two quiet cores, with its repeats."""
    repeats: int = 1
    """Of all its commands; more than one where a script takes no medians itself."""
    needs: tuple[Need, ...] = ()
    measures: tuple[str, ...] = ("orchestrator", "trainable")
    """Files and folders whose change makes its figures old, beside its scripts."""
    markdown: bool = False
    """Whether it prints Markdown."""
    only_named: bool = False
    """Left out by ``--all``: it takes long."""

    @property
    def scripts(self) -> tuple[str, ...]:
        """Its scripts, from the repository's root."""
        words = [shlex.split(command) for command in self.commands]
        found = [f"{w[1].replace('.', '/')}.py" if w[0] == "-m" else w[0] for w in words]
        return tuple(dict.fromkeys(found))

    def obstacle(self) -> str | None:
        """Why it cannot run on this machine."""
        return next(filter(None, (need() for need in self.needs)), None)


def places() -> Mapping[str, str]:
    """The data sets that commands name; where no variable says otherwise, they lie beside the repository."""
    shared = ROOT.parent / "shared/data"
    return {name: os.environ.get(name) or str(shared / folder) for name, folder in _DATA.items()}


_DATA = {"CAMVID_ROOT": "camvid", "CITYSCAPES_ROOT": "cityscapes"}


def _data(name: str) -> Need:
    return lambda: None if Path(places()[name]).is_dir() else f"{name} names no folder with the data set"


def _gpu() -> str | None:
    return None if shutil.which("nvidia-smi") else "it needs a GPU"


def _root() -> str | None:
    missing = [tool for tool in ("ip", "nsenter", "unshare") if not shutil.which(tool)]
    if os.getuid():
        return "it needs root"
    return f"it needs {', '.join(missing)}" if missing else None


CHAOS = "benchmarks/chaos.py"
CATALOG = (
    Benchmark(
        "trial-overhead",
        ("benchmarks/trial_overhead.py", "benchmarks/trial_overhead.py --trials 1000 --repeats 1"),
        minutes=10,
    ),
    Benchmark(
        "real-trials", ("benchmarks/trial_overhead.py --real",), minutes=18, repeats=3, needs=(_data("CAMVID_ROOT"),)
    ),
    Benchmark("suppression", ("-m benchmarks.suppression",), minutes=7, measures=("trainable",)),
    Benchmark(
        "data",
        ("benchmarks/data.py --camvid $CAMVID_ROOT --cityscapes $CITYSCAPES_ROOT",),
        minutes=3,
        needs=(_data("CAMVID_ROOT"), _data("CITYSCAPES_ROOT")),
        measures=("trainable",),
    ),
    Benchmark(
        "chaos",
        (
            f"{CHAOS} --kills 30 --seed 1",
            f"{CHAOS} --search --kills 10 --seed 2",
            f"{CHAOS} --search --kills 10 --seed 3",
        ),
        minutes=45,
        only_named=True,
    ),
    Benchmark("chaos-prefix", (f"{CHAOS} --prefix --kills 10 --seed 0",), minutes=5, only_named=True),
    Benchmark("chaos-hosts", (f"{CHAOS} --hosts 3 --kills 20 --seed 0",), minutes=15, needs=(_root,), only_named=True),
    Benchmark("chaos-ranks", (f"{CHAOS} --ranks --kills 10 --seed 1",), minutes=25, only_named=True),
    Benchmark("code", ("benchmarks/code_figures.py",), minutes=1),
    Benchmark("scale", ("benchmarks/scale.py",), minutes=12, repeats=3),
    Benchmark("slots", ("benchmarks/scale.py --slots 1000",), minutes=12, measures=("orchestrator",)),
    Benchmark("tracking", ("benchmarks/tracking.py --large",), minutes=20, measures=("orchestrator",)),
    Benchmark("looks", ("-m benchmarks.looks",), minutes=10, measures=("orchestrator/report",), markdown=True),
    Benchmark(
        "gpu",
        ("benchmarks/gpu.py --out $WORK/gpu.json",),
        minutes=9,
        needs=(_gpu,),
        measures=("trainable", "benchmarks/gpu_sections"),
        markdown=True,
    ),
)
BY_NAME = {benchmark.name: benchmark for benchmark in CATALOG}
