"""Run one trial alone: ``python -m trainable CONFIG [--set path=value] [--gpus N | --ranks N] [--export FILE]``.

CONFIG is a YAML or JSON file that holds a ``TrialConfig`` and nothing else, in the language of study files (``${NAME}``
names an environment variable). Exit codes: 0 the trial is complete, 1 it failed (one line says why), 2 the input is
wrong (one line per mistake, before torch is imported), 130 it was interrupted. Under ``torchrun`` its processes are the
ranks of one trial, and the first one speaks for all.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from trainable.config import TrialConfig
from trainable.configfile.environment import hide_values, masked
from trainable.configfile.messages import validate
from trainable.configfile.mistakes import ConfigError, Mistake
from trainable.configfile.node import Node, Place, child_of
from trainable.configfile.reading import read_mapping, types_of
from trainable.data.classes import class_names
from trainable.data.layout import DataError, data_mistakes
from trainable.evaluate.metrics.best_epoch import BestEpoch, best_epoch_label
from trainable.evaluate.metrics.names import CONTEXT_GAP, EPOCH_SECONDS, MIOU, PIXEL_ACCURACY, RARE_MIOU, TRAIN_LOSS
from trainable.failure import TrialFailed
from trainable.model.encoders import ModelError
from trainable.parts.asking import named_parts, part_mistakes
from trainable.parts.source import look_in
from trainable.program import usage_name
from trainable.ranks.division import SharesError
from trainable.suppression.unused import unused_settings
from trainable.team.command import Ranks, requested_ranks, speaks
from trainable.team.messages import is_symptom

if TYPE_CHECKING:
    from trainable.train.engine import EpochResult

MAIN_METRICS = (TRAIN_LOSS, MIOU, RARE_MIOU, PIXEL_ACCURACY, CONTEXT_GAP, EPOCH_SECONDS)

SILENCE_S = 10.0
"""How long the further processes of ``torchrun`` wait for the one that tells what is wrong with the input."""
MOST = 1024
"""Of threads and of ranks: more than any machine has cores."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _options(arguments)
    try:
        ranks = requested_ranks(options.gpus, options.ranks, options.device)
        config, root = _load(options.config, options.set)
        ranks.check_batch(config, root)
        if options.export is not None:
            _check_export(options.export, options.config)
    except ConfigError as error:
        return _refuse(error)
    try:
        _run(config, options, ranks)
    except ConfigError as error:
        return _refuse(error)
    except (ModelError, SharesError) as error:  # alike in all ranks
        return _refuse(f"{options.config}: {masked(str(error), root)}")
    except DataError as error:
        print(f"{options.config}: {masked(str(error), root)}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # of the output, not of the exported file
        raise
    except OSError as error:
        print(f"--export {options.export}: {error.strerror or error}", file=sys.stderr)
        return 2
    except TrialFailed as error:
        print(f"trial failed: {error}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        if ranks.launched is None or not is_symptom(error):
            raise
        print("trial failed: another rank failed, or died", file=sys.stderr)
        return 1
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    if speaks():
        return parser().parse_args(arguments)
    try:
        with redirect_stderr(StringIO()), redirect_stdout(StringIO()):
            return parser().parse_args(arguments)
    except SystemExit:
        time.sleep(SILENCE_S)
        raise


def _refuse(told: object) -> int:
    """Say what is wrong with the input; of the processes of ``torchrun`` one says it, and its end ends the others."""
    if speaks():
        print(told, file=sys.stderr)
    else:
        time.sleep(SILENCE_S)
    return 2


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    command = argparse.ArgumentParser(prog=usage_name("trainable"), description="Train and evaluate one trial.")
    add = command.add_argument
    add("config", type=Path, metavar="CONFIG", help="YAML or JSON file with the trial's configuration")
    add("--set", action="append", default=[], metavar="PATH=VALUE", help="override a value, as train.epochs=2")
    add("--device", choices=("cpu", "cuda"), help="default: a GPU if there is one")
    add("--export", type=_file, metavar="FILE", help="write the trained network there, as a plain model")
    many = command.add_mutually_exclusive_group()
    many.add_argument("--gpus", type=_positive, metavar="N", help="train on N GPUs of this machine, one rank each")
    many.add_argument(
        "--ranks", type=_positive, metavar="N", help="train in N processes; they share what GPUs there are"
    )
    add("--threads", type=_positive, help="CPU threads of each rank; default: torch's choice, of ranks an equal share")
    return command


def _file(text: str) -> Path:
    if not text or text.endswith("/"):
        raise argparse.ArgumentTypeError(f"'{text}' names no file")
    return Path(text)


def _positive(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {MOST}, got '{text[:20]}'")
    return int(text)


def load_config(path: Path, overrides: Sequence[str] = (), env: Mapping[str, str] | None = None) -> TrialConfig:
    """Read and check a trial's configuration (see `read_mapping`), and that its data set is there.

    Raises:
        ConfigError: the file cannot be read or run; holds every mistake in it.
    """
    return _load(path, overrides, env)[0]


def _load(path: Path, overrides: Sequence[str] = (), env: Mapping[str, str] | None = None) -> tuple[TrialConfig, Node]:
    mistakes: list[Mistake] = []
    for folder in (path.absolute().parent, Path.cwd()):
        look_in(folder)
    root = read_mapping(path, "a trial's configuration", types_of(TrialConfig), mistakes, overrides, env)
    config = validate(TrialConfig, root, (), mistakes)
    mistakes.extend(data_mistakes(root))
    suppression = child_of(root, "suppression")
    mistakes.extend(unused_settings(suppression) if suppression else ())
    mistakes.extend(part_mistakes(named_parts(root)) if not mistakes else ())
    if config is None or mistakes:
        raise ConfigError(hide_values(mistakes, root))
    return config, root


def _check_export(path: Path, config: Path) -> None:
    """Refuse before the training what cannot be written after it."""
    place = path.absolute()
    if not place.parent.is_dir():
        problem = f"no folder {path.parent}"
    elif place.is_dir():
        problem = "is a folder; name a file, such as model.pt"
    elif place.exists() and not place.is_file():
        problem = "is no file"
    elif place.exists() and place.samefile(config):
        problem = "is the configuration itself"
    elif not os.access(place.parent, os.W_OK):
        problem = f"{path.parent} cannot be written to"
    else:
        return
    raise ConfigError([Mistake(Place(str(config)), "", f"--export {path}: {problem}")])


def _run(config: TrialConfig, options: argparse.Namespace, ranks: Ranks) -> None:
    from trainable.data.notes import data_notes  # late: mistakes in the input are told without the seconds of torch

    ranks.check_gpus()
    results = ranks.results(config, options.threads)
    if not ranks.is_first:
        for _ in results:
            pass
        return
    for note in data_notes(config.data):
        print(f"note: {note}", file=sys.stderr)
    _show(results, config, options.export)


def _show(results: Iterator["EpochResult"], config: TrialConfig, export: Path | None) -> None:
    """Print the epochs as they end, and write the network of the last one."""
    from trainable.model.export import save

    epochs: list[Mapping[str, float]] = []
    for result in results:
        metrics = result.metrics
        epochs.append(metrics)
        if export is not None and result.epoch == config.train.epochs:
            save(result.training.model, config.model, export)
            wanted = result.training.compute.normalization
            print(f"{export}: wants RGB in [0, 1] minus {list(wanted.mean)}, divided by {list(wanted.std)}")
        figures = "  ".join(f"{name} {metrics[name]:.4g}" for name in MAIN_METRICS if name in metrics)
        plain = (
            "  plain, before suppression.start" if config.suppression and result.epoch <= config.plain_epochs else ""
        )
        print(f"epoch {result.epoch}/{config.train.epochs}  {figures}{plain}", flush=True)
    _print_end(epochs)
    if result.reliance is not None:
        _print_reliance(result.reliance.tolist(), class_names(config.data))


def _print_end(epochs: Sequence[Mapping[str, float]]) -> None:
    """Print the last epoch's values, then the best epoch by the metric that published tables select by."""
    for name, value in sorted(epochs[-1].items()):
        print(f"{name} = {value:.6g}")
    best = BestEpoch.of((metrics.get(MIOU) for metrics in epochs), greater=True)
    if best is not None:
        print(f"{best_epoch_label(greater=True)}: {MIOU} = {best.value:.6g} after epoch {best.epoch}")


def _print_reliance(rows: Sequence[Sequence[float]], names: Sequence[str]) -> None:
    """Print what each class, in columns by number, loses where another one is erased; a dash: they never meet."""
    print("IoU lost by each class (columns) where another one (rows) is erased:")
    width = max(map(len, names))
    print(" " * (width + 4), *(f"{c:6d}" for c in range(len(names))))
    for z, (name, row) in enumerate(zip(names, rows, strict=True)):
        print(f"{z:3d} {name:{width}}", *(f"{loss:6.3f}" if isfinite(loss) else "     -" for loss in row))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # whoever ended it knows; of ranks the others end with this process
        sys.exit(130)
    except BrokenPipeError:  # the reader has seen enough: python -m trainable CONFIG | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
