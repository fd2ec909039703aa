"""The command: ``python -m orchestrator.init [NAME]``: a study file that ships, as a file of the user's own.

Without a name it lists what there is. Beside the file lies the schema that its first line names, for editors. Exit
codes: 0 written or listed, 2 no such study file, or it cannot be written there.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from shutil import get_terminal_size
from textwrap import shorten

from orchestrator.errors import InputError
from orchestrator.store.commands import quoted, start_of
from orchestrator.study_files import SCHEMA, names, question_of, run_lines, schema_text, text_of
from trainable.configfile.mistakes import unknown
from trainable.program import usage_name

SCHEMA_TITLE = "Study file"
"""By which a schema of this project is known: one of another version is replaced."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(argv)
    if options.name is None:
        print("\n".join(_listed()))
        return 0
    try:
        lines = list(_written(options.name, Path(options.out or f"{options.name}.yaml"), force=options.force))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    command = argparse.ArgumentParser(
        prog=usage_name("orchestrator.init"), description="Write a study file that ships; without NAME, list them."
    )
    add = command.add_argument
    add("name", nargs="?", type=_name, choices=names(), metavar="NAME", help=f"one of {', '.join(names())}")
    add("--out", metavar="FILE", help="file to write (default: NAME.yaml)")
    add("--force", action="store_true", help="replace a file that is there")
    return command


def _name(text: str) -> str:
    if text not in names():
        raise argparse.ArgumentTypeError(unknown(text, names(), "study file"))
    return text


def _listed() -> list[str]:
    width = max(map(len, names())) + 2
    room = max(40, get_terminal_size((120, 0)).columns - width)
    lines = [f"{name:{width}}{shorten(question_of(text_of(name)), room, placeholder=' ...')}" for name in names()]
    return [*lines, "", f"Write one with:  {' '.join(start_of('orchestrator.init'))} shapes"]


def _written(name: str, target: Path, *, force: bool) -> Iterator[str]:
    """Write the study file and its schema; yields what the user should know."""
    if target.is_dir() or str(target).endswith("/"):
        raise InputError(f"{target}: is a folder; --out names a file")
    if not target.parent.is_dir():
        raise InputError(f"{target}: there is no folder {target.parent}")
    schema = target.with_name(SCHEMA)
    _check_schema(schema, force=force)
    shipped = text_of(name)
    text = shipped.replace(f"search_spaces/{name}.yaml", _word(target))
    try:
        with open(target, "w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise InputError(f"{target}: is there already; --force replaces it, --out names another file") from error
    schema.write_text(schema_text(), encoding="utf-8")
    yield f"{target}  {question_of(shipped)}"
    yield f"{schema}  what editors complete and check it by"
    yield "\nRun it with (--dry-run behind it shows what would run, and at what cost):"
    for line in run_lines(text):
        yield f"  {line.replace('python -m orchestrator.sweep', ' '.join(start_of('orchestrator.sweep')))}"


def _word(target: Path) -> str:
    """The file as a word of a command."""
    return quoted(f"./{target}" if str(target).startswith("-") else str(target))


def _check_schema(schema: Path, *, force: bool) -> None:
    """Refuse to replace a file that is no schema of study files."""
    if force or not os.path.lexists(schema):
        return
    with suppress(ValueError, OSError):
        content = json.loads(schema.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.get("title") == SCHEMA_TITLE:
            return
    raise InputError(f"{schema}: is there already and no schema of study files; --force replaces it")


if __name__ == "__main__":
    sys.exit(main())
