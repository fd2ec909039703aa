"""The study files that ship, as data of the package: each is a link to the one in ``search_spaces/``.

Copied by ``dropclass init``; a wheel holds them, so that no checkout is needed.
"""

import re
from importlib.resources import files

SCHEMA = "schema.json"
_SCHEMA_LINE = re.compile(r"# yaml-language-server: .*\n")
_RUN = re.compile(r"# +Run: ")


def names() -> list[str]:
    """Names of the study files, without their ending."""
    return sorted(file.name.removesuffix(".yaml") for file in files(__name__).iterdir() if file.name.endswith(".yaml"))


def text_of(name: str) -> str:
    """A study file as it ships."""
    return (files(__name__) / f"{name}.yaml").read_text(encoding="utf-8")


def schema_text() -> str:
    """The schema that the study files name in their first line."""
    return (files(__name__) / SCHEMA).read_text(encoding="utf-8")


def question_of(text: str) -> str:
    """The first sentence of a study file: what it asks."""
    comment = []
    for line in _SCHEMA_LINE.sub("", text, count=1).splitlines():
        if not line.startswith("#") or _RUN.match(line):
            break
        comment.append(line.removeprefix("#").strip())
    sentence = re.match(r".*?[.?:](?=\s|$)(?<!al\.)", " ".join(comment))
    return sentence[0].rstrip(":.") if sentence else ""


def run_lines(text: str) -> list[str]:
    """The commands that a study file's comment gives to run it, one a line."""
    lines = iter(text.splitlines())
    first = next((line for line in lines if _RUN.match(line)), None)
    if first is None:
        return []
    more = []
    for line in lines:
        if not line.startswith("#     "):  # the next head, or the end of the comment
            break
        more.append(line.removeprefix("#").strip())
    return [_RUN.sub("", first).strip(), *more]
