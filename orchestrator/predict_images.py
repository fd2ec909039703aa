"""The command: ``dropclass predict STUDY IMAGE... --out DIR``: class masks of images.

For each image it writes ``NAME.png``, whose values are the classes' positions (a palette shows them in colours), and
``NAME_colour.png``, the mask in colours above a legend, or with ``--overlay`` laid over the image. Images of a folder
keep their folders below it; of those that differ by their ending alone the NAME has the ending too (``a.jpg.png``).
``classes.json`` tells what the values mean.

Exit codes: 0 all written, 2 bad input, 3 some images could not be read (each named), 130 interrupted.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import InputError
from orchestrator.store.foreign_files import refuse_inside
from orchestrator.terminal.options import add_storage, count
from trainable.data.errors import DataError
from trainable.program import leave, usage_name

if TYPE_CHECKING:
    from trainable.data.loose_images import FittedPicture
    from trainable.evaluate.predictor import Prediction, Predictor

CLASSES = "classes.json"
MOST_NAMED = 5
"""So many files that are there already are named."""
COLOUR = "_colour.png"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(argv)
    try:
        return _predict(options)
    except (InputError, DataError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"--out {options.out}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted; what was written stays.", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    command = argparse.ArgumentParser(
        prog=usage_name("orchestrator.predict_images"),
        description="Write class masks of images by a study's best trial, another of its trials, or a run of MLflow.",
        epilog="exit codes: 0 all written; 2 bad input; 3 some images could not be read",
    )
    add = command.add_argument
    add("study", metavar="STUDY", help="name or directory of the study, or runs:/RUN_ID of MLflow")
    add("images", metavar="IMAGE", nargs="+", help="images, or folders of them")
    add("--out", metavar="DIR", required=True, help="local folder to write to")
    add("--trial", metavar="KEY", help="another trial than the best one, such as search-0003")
    add("--overlay", action="store_true", help="lay the colours over the image")
    add("--overwrite", action="store_true", help="replace files that are there")
    add("--batch-size", type=count, metavar="N", help="images at a time (default: as many as in training)")
    add("--device", metavar="NAME", help="cpu or cuda (default: a GPU if there is one)")
    add("--uri", metavar="URI", help="where MLflow's runs are (default: MLFLOW_TRACKING_URI, or sqlite:///mlflow.db)")
    add_storage(command, default=None)
    return command


def _predict(options: argparse.Namespace) -> int:
    out = Path(options.out)
    if not options.out.strip():
        raise InputError("--out: names no folder")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file; give a folder")
    names = _names(options.images)
    _check_free(out, names, overwrite=options.overwrite)
    from orchestrator.api.predicting import load_predictor  # late: torch takes seconds

    predictor = load_predictor(
        options.study, trial=options.trial, storage=options.storage, tracking_uri=options.uri, device=options.device
    )
    refused: list[str] = []
    written = 0
    pictures = _readable(list(names), predictor, refused)
    for prediction in predictor.predictions(pictures, batch_size=options.batch_size):
        _write(prediction, predictor, out, names[Path(prediction.picture.name)], overlay=options.overlay)
        written += 1
    if written:
        _write_classes(predictor, out / CLASSES)
        masks = "1 mask" if written == 1 else f"{written} masks"
        print(f"{masks} of {len(predictor.classes.names)} classes {'is' if written == 1 else 'are'} in {out}")
    for line in refused:
        print(line, file=sys.stderr)
    if not written:
        return 2
    return 3 if refused else 0


def _names(images: Sequence[str]) -> Mapping[Path, Path]:
    """Each image with the name of its mask below the folder to write to.

    Raises:
        InputError: two images of one name.
        DataError: no such file, or a folder without images.
    """
    from trainable.data.loose_images import listed

    inside: dict[Path, Path] = {}
    for given in images:
        for path in map(Path, _paths(listed(given))):
            is_below = Path(given).expanduser().is_dir()
            inside.setdefault(path, path.relative_to(Path(given).expanduser()) if is_below else Path(path.name))
    names = {path: name.with_suffix("") for path, name in inside.items()}
    while clashes := _clashes(names):
        short = {path for pair in clashes.values() for path in pair if names[path] != inside[path]}
        if not short:
            target, (one, other) = next(iter(clashes.items()))
            raise InputError(f"{one} and {other} would both be written as {target}; give each an --out of its own")
        names |= {path: inside[path] for path in short}
    return names


def _clashes(names: Mapping[Path, Path]) -> dict[str, tuple[Path, Path]]:
    """Files that two images would be written as, with the two."""
    owners: dict[str, Path] = {}
    clashes: dict[str, tuple[Path, Path]] = {}
    for path, name in names.items():
        for target in _targets(name):
            other = owners.setdefault(target, path)
            if other != path:
                clashes[target] = (other, path)
    return clashes


def _targets(name: Path) -> tuple[str, str]:
    """The files of an image, below the folder to write to: the mask, and the one in colours."""
    return f"{name}.png", f"{name}{COLOUR}"


def _paths(images: Sequence[object]) -> Iterator[str]:
    yield from (os.fspath(image) for image in images if isinstance(image, str | Path))


def _check_free(out: Path, names: Mapping[Path, Path], *, overwrite: bool) -> None:
    """Refuse before anything is read what would replace a file, or an image itself, or lies in a study's directory."""
    targets = [out / target for name in names.values() for target in _targets(name)]
    for folder in dict.fromkeys([out, *(target.parent for target in targets)]):
        refuse_inside(f"--out {out}", folder)
    images = {path.resolve() for path in names}
    if own := [target for target in targets if target.resolve() in images]:
        raise InputError(f"--out {out}: would replace the image {own[0]}; give another folder")
    there = [str(target) for target in targets if target.exists()]
    if there and not overwrite:
        more = f" and {len(there) - MOST_NAMED} more" if len(there) > MOST_NAMED else ""
        raise InputError(f"--out {out}: {', '.join(there[:MOST_NAMED])}{more} are there; --overwrite replaces them")


def _readable(paths: Sequence[Path], predictor: "Predictor", refused: list[str]) -> "Iterator[FittedPicture]":
    """Yield the images that can be read; why others cannot is added to ``refused``."""
    from trainable.data.loose_images import fitted_picture

    for path in paths:
        try:
            yield fitted_picture(path, predictor.config.data)
        except DataError as error:
            refused.append(str(error))


def _write(prediction: "Prediction", predictor: "Predictor", out: Path, name: Path, *, overlay: bool) -> None:
    from trainable.data.overlay import colour_picture, indexed_picture

    mask, colour = (out / target for target in _targets(name))
    mask.parent.mkdir(parents=True, exist_ok=True)
    image = prediction.picture.upright if overlay else None
    indexed_picture(prediction.mask, predictor.classes).save(mask)
    colour_picture(prediction.mask, predictor.classes, image).save(colour)


def _write_classes(predictor: "Predictor", path: Path) -> None:
    """What the values of the masks mean, and the ids that the data set itself uses."""
    classes = predictor.classes
    known = [
        {"value": value, "name": name, "colour": colour, "id": own}
        for value, (name, colour, own) in enumerate(zip(classes.names, classes.colours, classes.ids, strict=True))
    ]
    path.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    leave(main())
