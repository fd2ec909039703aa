"""Manifests of Kubernetes from those that ship: their text stays as it is, the lines that end in an option are set."""

import json
import re
from collections.abc import Mapping

from orchestrator.errors import InputError

Values = Mapping[str, str | int | None]
"""By option: what its lines say; None leaves its block out."""
ENVIRONMENT = {
    "MLFLOW_TRACKING_URI": "give --mlflow",
    "DROPCLASS_CACHE": "it is the node's own disk",
    "RAY_JOB_STOP_WAIT_TIME_S": "a job that is stopped has 60 s",
}
"""Variables of the manifests, and what to do instead."""
MOST_BYTES = 1_000_000
"""Of a ConfigMap, less what names and brackets take."""


def filled(template: str, values: Values, environment: Mapping[str, str]) -> str:
    """A manifest that ships, with these values and variables; a scalar of JSON is one of YAML as well.

    Kubernetes reads ``$(NAME)`` in a variable as another one, and ``$$(`` as what it says.
    """
    text = template[template.index("apiVersion:") :]
    for option, value in values.items():
        if value is None:
            text = re.sub(rf"(?ms)^ *# begin {option}$.*?^ *# end {option}\n", "", text)
            continue
        text = re.sub(rf"(?m)^ *# (begin|end) {option}\n", "", text)
        scalar = json.dumps(value, ensure_ascii=False).replace("\\", r"\\")
        text = re.sub(rf"(?m)^( *(?:- )?(?:[^\s:]+: )?)\S.* # {option}$", rf"\g<1>{scalar}", text)
    variables = [json.dumps({"name": name, "value": value.replace("$(", "$$(")}) for name, value in environment.items()]
    return re.sub(
        r"(?m)^( *)# --env\n", lambda match: "".join(f"{match[1]}- {variable}\n" for variable in variables), text
    )


def study_map(name: str, files: Mapping[str, str]) -> str:
    """A ConfigMap of files."""
    size = sum(len(text.encode()) for text in files.values())
    if size > MOST_BYTES:
        raise InputError(f"the study file has {size} bytes; a ConfigMap takes {MOST_BYTES}")
    entries = [
        f"  {key}: |\n{_block(text)}" if _plain(text) else f"  {key}: {json.dumps(text)}\n"
        for key, text in files.items()
    ]
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {json.dumps(name)}\ndata:\n{''.join(entries)}"


def _plain(text: str) -> bool:
    """Whether a block of YAML gives the text back, byte for byte."""
    lines = text.split("\n")
    fit = all(line.isprintable() for line in lines) and text.endswith("\n") and not text.endswith("\n\n")
    return fit and bool(lines[0]) and not lines[0].startswith(" ") and all(line.strip() or not line for line in lines)


def _block(text: str) -> str:
    return "".join(f"    {line}\n" if line else "\n" for line in text.split("\n")[:-1])
