"""Run one trial alone: ``python -m trainable CONFIG [--set path=value] [--device cpu|cuda] [--export FILE]``.

CONFIG is a YAML or JSON file that holds a ``TrialConfig`` and nothing else. Exit codes: 0 the trial is complete, 1 it
failed (one line says why), 2 the input is wrong (one line per mistake, before torch is imported).
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from trainable.config import TrialConfig
from trainable.data.layout import DataError, check_data
from trainable.evaluate.metrics.names import (
    CONTEXT_GAP,
    EPOCH_SECONDS,
    MIOU,
    PIXEL_ACCURACY,
    RARE_MIOU,
    TRAIN_LOSS,
)
from trainable.failure import TrialFailed
from trainable.model.encoders import ModelError

MAIN_METRICS = (TRAIN_LOSS, MIOU, RARE_MIOU, PIXEL_ACCURACY, CONTEXT_GAP, EPOCH_SECONDS)


class InputError(ValueError):
    """The file or an option is wrong; every line of the message is one mistake."""


class Yaml12Loader(yaml.SafeLoader):
    """PyYAML with the floats of YAML 1.2: ``1e-3`` is a number, not a string."""


Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"),
    list("-+0123456789."),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        config = load_config(options.config, options.set)
        check_data(config.data)
        if options.export is not None:
            _check_export(options.export, options.config)
    except (InputError, DataError) as error:
        print(_prefixed(options.config, error), file=sys.stderr)
        return 2
    try:
        _run(config, options)
    except (ModelError, DataError) as error:
        print(_prefixed(options.config, error), file=sys.stderr)
        return 2
    except OSError as error:
        print(f"--export {options.export}: {error.strerror or error}", file=sys.stderr)
        return 2
    except TrialFailed as error:
        print(f"trial failed: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainable", description="Train and evaluate one trial.")
    parser.add_argument("config", type=Path, metavar="CONFIG", help="YAML or JSON file with the trial's configuration")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="override a value, as train.epochs=2"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: a GPU if there is one")
    parser.add_argument(
        "--export", type=_file, metavar="FILE", help="write the trained network there, as a plain model"
    )
    parser.add_argument("--threads", type=_positive, help="CPU threads; default: torch's choice")
    return parser


def _file(text: str) -> Path:
    if not text or text.endswith("/"):
        raise argparse.ArgumentTypeError(f"'{text}' names no file")
    return Path(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive integer")
    return int(text)


def load_config(path: Path, overrides: Sequence[str] = ()) -> TrialConfig:
    """Read and validate a trial's configuration.

    Raises:
        InputError: an unreadable file, a bad override, or values that the schema refuses, one line each.
    """
    tree = _read(path)
    for override in overrides:
        _override(tree, override)
    try:
        return TrialConfig.model_validate_json(json.dumps(tree, default=str))
    except ValidationError as error:
        raise InputError("\n".join(_mistake(detail) for detail in error.errors())) from error


def _check_export(path: Path, config: Path) -> None:
    """Refuse before the training what cannot be written after it."""
    place = path.absolute()
    if not place.parent.is_dir():
        raise InputError(f"--export {path}: no folder {path.parent}")
    if place.is_dir():
        raise InputError(f"--export {path}: is a folder; name a file, such as model.pt")
    if place.exists() and not place.is_file():
        raise InputError(f"--export {path}: is no file")
    if place.exists() and place.samefile(config):
        raise InputError(f"--export {path}: is the configuration itself")
    if not os.access(place.parent, os.W_OK):
        raise InputError(f"--export {path}: {path.parent} cannot be written to")


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=Yaml12Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    except yaml.YAMLError as error:
        raise InputError(f"not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise InputError("must be a mapping with the sections data, model, train and, if wanted, suppression and seed")
    return tree


def _override(tree: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    *sections, leaf = path.split(".")
    if not equals or not path or not all((*sections, leaf)):
        raise InputError(f"--set {override}: write path=value, as --set train.epochs=2")
    try:
        value = yaml.load(text, Loader=Yaml12Loader)
    except yaml.YAMLError as error:
        raise InputError(f"--set {override}: the value is not YAML") from error
    for section in sections:
        if tree.get(section) is None:
            tree[section] = {}
        tree = tree[section]
        if not isinstance(tree, dict):
            raise InputError(f"--set {override}: '{section}' is a value, not a section")
    tree[leaf] = value


def _mistake(detail: Mapping[str, Any]) -> str:
    """One line for one of pydantic's errors: ``path: what, and valid names``."""
    place = _place(detail["loc"])
    context = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            what = f"unknown key; valid: {', '.join(_keys_beside(detail['loc']))}"
        case "missing":
            what = "missing"
        case "union_tag_invalid":
            place, what = f"{place}.name", f"unknown '{context['tag']}'; one of {context['expected_tags']}"
        case "union_tag_not_found":
            place, what = f"{place}.name", "missing; it says which kind the section is"
        case "value_error":
            what = str(context["error"])
            if re.match(r"[a-z_]+(\.[a-z_]+)+: ", what):  # a rule over several values names the one to change
                place = ""
        case _:
            given = detail["input"]
            what = f"{_lower(detail['msg'])}, not {json.dumps(given, default=str)}"
    return f"{place}: {what}" if place else what


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def _section_and_path(location: Sequence[str | int]) -> tuple[Any, list[str]]:
    """Follow a location through the schema; leaves out the tags pydantic adds for the kind of a section."""
    node: Any = TrialConfig.model_json_schema()
    definitions, path = node["$defs"], []
    for part in location:
        node = _resolve(node, definitions)
        tags = node.get("discriminator", {}).get("mapping", {})
        if part in tags:
            node = {"$ref": tags[part]}
            continue
        if isinstance(part, str) and "properties" not in node:  # the tag of one value or a list of them
            continue
        path.append(str(part))
        node = node.get("properties", {}).get(part, {})
    return _resolve(node, definitions), path


def _resolve(node: Any, definitions: Any) -> Any:
    """Follow references, and through ``section | null`` to the section."""
    while True:
        options = [option for option in node.get("anyOf", []) if option.get("type") != "null"]
        if "$ref" in node:
            node = definitions[node["$ref"].rpartition("/")[2]]
        elif len(options) == 1:
            node = options[0]
        else:
            return node


def _place(location: Sequence[str | int]) -> str:
    return ".".join(_section_and_path(location)[1])


def _keys_beside(location: Sequence[str | int]) -> list[str]:
    """Names of the keys that are valid where the last part of the location stands."""
    return list(_section_and_path(location[:-1])[0].get("properties", {}))


def _prefixed(path: Path, error: Exception) -> str:
    return "\n".join(f"{path}: {line}" for line in str(error).splitlines())


def _run(config: TrialConfig, options: argparse.Namespace) -> None:
    import torch  # late: mistakes in the input are told without the seconds torch takes to import

    from trainable.model.export import save
    from trainable.train.engine import fit

    if options.device == "cuda" and not torch.cuda.is_available():
        raise TrialFailed("no CUDA device; --device cpu trains on the CPU")
    metrics: dict[str, float] = {}
    for result in fit(config, device=options.device, threads=options.threads):
        metrics = result.metrics
        if options.export is not None and result.epoch == config.train.epochs:
            save(result.training.model, config.model, options.export)
        shown = "  ".join(f"{name} {metrics[name]:.4g}" for name in MAIN_METRICS if name in metrics)
        print(f"epoch {result.epoch}/{config.train.epochs}  {shown}", flush=True)
    for name in sorted(metrics):
        print(f"{name} = {metrics[name]:.6g}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader has seen enough: python -m trainable CONFIG | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
