"""Stands for the process that writes a report, and writes none."""

import signal
import sys

from trainable.program import end_with

if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    signal.pause()
