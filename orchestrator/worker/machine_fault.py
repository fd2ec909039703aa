"""Whose fault the end of a trial is: its own, which the same trial would meet again, or the machine's.

A trial names no file but those of its data set, and every launch has read them before the first trial. What the data or
the operating system refuse later (a full disk, a stale handle, a permission that is gone) says nothing of the trial.
"""

import errno
import platform
import tempfile

from orchestrator.errors import MachineError, refusal
from trainable.data.errors import DataError
from trainable.failure import TrialFailed

REFUSALS = {
    errno.EACCES, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENODEV, errno.ENOSPC, errno.ENOTCONN,
    errno.EPERM, errno.EROFS, errno.ESTALE, errno.ETIMEDOUT,
}  # fmt: skip
"""What a place refuses, whatever is asked of it."""


def machine_fault(error: BaseException | None) -> str | None:
    """What of this machine ended a trial, in one line, found in the error or in what led to it; None: the trial did."""
    match error:
        case None | TrialFailed():
            return None
        case DataError() | MachineError():
            return _line(str(error))
        case OSError() if _is_temporary(error):
            named = _line(f"temporary folder: {error.filename or tempfile.tempdir or ''}: {refusal(error)}")
            return f"{named}; make room there, or let TMPDIR name another folder"
        case OSError() if error.errno in REFUSALS:
            return _line(f"{error.filename}: {refusal(error)}" if error.filename else refusal(error))
    led_to_it = error.__cause__ or error.__context__  # torch.compile hides what led to its errors
    return None if led_to_it is error else machine_fault(led_to_it)


def _line(text: str) -> str:
    return f"node {platform.node()}: {' '.join(text.split())}"


def _is_temporary(error: OSError) -> bool:
    """Whether a temporary folder is full, gone, or cannot be written."""
    try:
        folder = tempfile.gettempdir()
    except OSError:
        return True  # no folder at all can be written
    return str(error.filename or "").startswith(f"{folder}/")
