"""Whether parts of one's own can be used: ``python -m trainable.parts.check``, a process that `asking` starts.

It imports them, torch too, so that who reads a file need not. Standard input is JSON: a list of [key, name, settings].
The answer, on standard output, is a list for each of what is wrong, as [setting, message]; whatever the code of a part
prints goes to standard error.
"""

import json
import sys
from contextlib import redirect_stdout

from pydantic import JsonValue

import trainable.parts
from trainable.parts.kinds import KINDS
from trainable.parts.loading import PartFailed, checked, construct, load_class
from trainable.parts.section import OwnPart


def problems(key: str, name: str, settings: dict[str, JsonValue]) -> list[tuple[str, str]]:
    """What is wrong with a part at a key: the setting (empty: the part itself) and a message in one line."""
    kind = KINDS[key]
    try:
        loaded = load_class(OwnPart(name=name), *(getattr(trainable.parts, base) for base in kind.bases))
        mistakes, _ = checked(loaded, settings, kind.given)
        if mistakes:
            return [(mistake.path, mistake.message) for mistake in mistakes]
        if not kind.given:  # else whoever has these arguments tries it
            construct(name, loaded, settings)
    except PartFailed as error:
        return [("", str(error))]
    return []


if __name__ == "__main__":
    answer = sys.stdout
    with redirect_stdout(sys.stderr):
        told = [problems(*part) for part in json.load(sys.stdin)]
    json.dump(told, answer)
