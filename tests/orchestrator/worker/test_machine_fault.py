"""Whose fault the end of a trial is."""

import errno
import os
import platform
import tempfile
from pathlib import Path

import pytest

from orchestrator.errors import StorageError
from orchestrator.worker.machine_fault import machine_fault
from trainable.data.errors import DataError
from trainable.failure import TrialFailed
from trainable.model.encoders import ModelError
from trainable.ranks.division import SharesError

NODE = f"node {platform.node()}: "


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


def circular(error: Exception) -> Exception:
    """As ``raise error from error``, where a step hands on what it cannot explain."""
    return caused(error, error)


def hidden(error: Exception, context: BaseException) -> Exception:
    """As ``raise ... from None``, which torch.compile does."""
    error.__context__, error.__suppress_context__ = context, True
    return error


FULL = OSError(errno.ENOSPC, "No space left on device", "/scratch/x")
MACHINE = {
    "full disk": (FULL, "/scratch/x: No space left on device"),
    "stale handle": (OSError(errno.ESTALE, "Stale file handle"), "Stale file handle"),
    "permission lost": (PermissionError(errno.EACCES, "Permission denied", "/data/x"), "/data/x: Permission denied"),
    "read-only": (OSError(errno.EROFS, "Read-only file system", "/x"), "/x: Read-only file system"),
    "quota": (OSError(errno.EDQUOT, "Disk quota exceeded", "/x"), "/x: Disk quota exceeded"),
    "storage": (StorageError("out/s/x: gone"), "out/s/x: gone"),
    "data": (DataError("cache: /c cannot be read (Stale file handle)"), "cache: /c cannot be read (Stale file handle)"),
    "cause": (caused(RuntimeError("cannot compile"), FULL), "/scratch/x: No space left on device"),
    "hidden": (hidden(RuntimeError("backend failed"), FULL), "/scratch/x: No space left on device"),
}


@pytest.mark.parametrize("kind", MACHINE)
def test_what_the_operating_system_or_the_data_refuse_is_the_machines(kind: str) -> None:
    error, line = MACHINE[kind]
    assert machine_fault(error) == NODE + line


@pytest.mark.parametrize(
    "error",
    [
        TrialFailed("the loss is nan"),
        SharesError("a batch of 5 is not divided by 2 ranks", "train.batch_size"),
        circular(RuntimeError("a step failed")),
        caused(TrialFailed("the loss is nan"), FULL),
        ModelError("unknown encoder"),
        RuntimeError("CUDA out of memory"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/own/code"),
        OSError("image file is truncated"),
        ZeroDivisionError(),
    ],
)
def test_everything_else_is_the_trials(error: Exception) -> None:
    assert machine_fault(error) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOENT, errno.EIO])
def test_a_temporary_folder_is_named_with_the_way_out(number: int) -> None:
    path = f"{tempfile.gettempdir()}/tmpabc"
    line = machine_fault(OSError(number, os.strerror(number), path))
    assert line == (
        f"{NODE}temporary folder: {path}: {os.strerror(number)}; make room there, or let TMPDIR name another folder"
    )


def test_no_temporary_folder_at_all_is_the_machines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "file")])
    with pytest.raises(FileNotFoundError) as raised:
        tempfile.mkdtemp()
    assert "No usable temporary directory found" in (machine_fault(raised.value) or "")
