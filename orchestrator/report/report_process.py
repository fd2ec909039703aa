"""A process that writes a study's report: ``python -m orchestrator.report.report_process PARENT STORAGE STUDY``.

A launch starts it and leaves Ray and MLflow meanwhile. It prints the address of the main page, or in one line why there
is none, and ends with its parent, even a killed one.
"""

import sys

from orchestrator.errors import one_line
from trainable.program import end_with, leave


def main(parent: int, storage: str, study: str) -> int:
    """Write the report; returns the exit code."""
    end_with(parent)
    from orchestrator.report.build import write_report  # late: this process watches its parent before it imports
    from orchestrator.store.records import Store

    try:
        print(write_report(Store(storage, study))[0])
    except Exception as error:  # whatever goes wrong with it, the launch tells it
        print(one_line(error) or type(error).__name__)
        return 1
    return 0


if __name__ == "__main__":
    leave(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
