"""Cache a data set and describe it: ``python -m trainable.data DATASET [--root DIR] [--size H W] [--out DIR]``.

Prints classes, pixel shares, rare classes and co-occurrence, and draws sample frames, class shares and co-occurrence.
Exit codes: 0 done, 2 the input is wrong (one line says what).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from trainable.configfile.mistakes import is_utf8
from trainable.data.config import DATA_SECTIONS, DataConfig, OwnData, ShapesData, read_data
from trainable.data.errors import DataError
from trainable.data.layout import check_data
from trainable.program import usage_name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        data = _section(options)
        check_data(data)
        _describe(data, options.out or Path("data_pictures") / data.name)
    except DataError as error:
        print(f"{options.dataset}: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    command = argparse.ArgumentParser(
        prog=usage_name("trainable.data"), description="Cache a data set and describe it."
    )
    add = command.add_argument
    add("dataset", metavar="DATASET", choices=DATA_SECTIONS, help=f"one of {', '.join(DATA_SECTIONS)}")
    add("--root", metavar="DIR", help="folder of the data set, as it was downloaded")
    add("--size", nargs=2, type=int, metavar=("H", "W"), help="size of the frames; default: the data set's")
    add("--max-megapixels", type=int, metavar="N", help="larger images are refused; default: 179")
    add("--out", type=Path, metavar="DIR", help="folder of the pictures; default: data_pictures/DATASET")
    return command


def _section(options: argparse.Namespace) -> DataConfig:
    if options.root is not None and not is_utf8(options.root):
        raise DataError(f"--root: {options.root}: the name is not UTF-8; rename the folder")
    given = {key: getattr(options, key) for key in ("root", "size", "max_megapixels")}
    try:
        return read_data({"name": options.dataset} | {key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        detail = error.errors()[0]
        option = next((f"--{key}".replace("_", "-") for key in detail["loc"] if key in given), "section")
        message = detail["msg"].removeprefix("Value error, ")
        raise DataError(f"{option}: {message[:1].lower()}{message[1:]}") from error


def _describe(data: DataConfig, folder: Path) -> None:
    from trainable.data.describe import describe  # late: mistakes are told before numpy and matplotlib are imported
    from trainable.data.notes import data_notes
    from trainable.data.pictures import draw

    console = Console() if sys.stdout.isatty() else Console(width=120)
    describe(data, console)
    for note in data_notes(data):
        console.print(f"note         {note}", markup=False, highlight=False, soft_wrap=True)
    try:
        pictures = draw(data, folder)
    except OSError as error:
        raise DataError(f"--out {folder}: cannot be written ({error.strerror})") from error
    console.print(f"pictures     {', '.join(map(str, pictures))}", markup=False, highlight=False, soft_wrap=True)
    if isinstance(data, ShapesData | OwnData):
        return
    from trainable.data.cache import ensure_cache

    path = ensure_cache(data)
    line = f"cache        {path} ({path.stat().st_size / 1e6:.0f} MB)"
    console.print(line, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
