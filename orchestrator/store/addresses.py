"""Addresses of files and folders: local paths, and what pyarrow.fs opens; shown without their secrets."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import InputError, StorageError, one_line

STORAGE = "--storage"


def redacted(text: str) -> str:
    """The text with user names and passwords of addresses left out, and options that are secrets by their names."""
    named = re.sub(r"(?i)([?&][^=&\s]*(?:password|secret|token|key)[^=&\s]*=)[^&\s]*", r"\1***", text)
    return re.sub(r"//[^/\s]*@", "//***@", named)


def join(uri: str, name: str) -> str:
    """The address of ``name`` below an address, which may end in options (``s3://bucket/path?region=x``)."""
    base, question, options = uri.partition("?")
    return f"{base.rstrip('/')}/{name}{question}{options}"


def absolute(path: str) -> str:
    """A local path made absolute; an address with a scheme stays as it is."""
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))


@contextmanager
def storage_errors(option: str) -> Iterator[None]:
    """Raise InputError in place of OSError: what a storage or a folder cannot do, by the option that names it."""
    try:
        yield
    except StorageError as error:  # even where the option names a folder to write to: the study is read meanwhile
        raise InputError(redacted(f"{option if option.startswith(STORAGE) else STORAGE}: {one_line(error)}")) from error
    except OSError as error:
        raise InputError(redacted(f"{option}: {one_line(error)}")) from error
