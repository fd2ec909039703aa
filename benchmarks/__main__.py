"""``python -m benchmarks``: RESULTS.md made anew, see ``results/command.py``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # as it is for the scripts beside this one

from results.command import main

if __name__ == "__main__":
    sys.exit(main())
