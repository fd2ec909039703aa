"""Run one section: ``python -m gpu_sections NAME ROWS [--tiny]``; each row is appended to the file ROWS."""

import json
import sys
from importlib import import_module
from pathlib import Path


def main(name: str, rows: Path, tiny: bool) -> None:
    """Write the rows of a section as they come, one JSON object a line."""
    for row in import_module(f"gpu_sections.{name}").measure(tiny):
        with rows.open("a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), "--tiny" in sys.argv[3:])
