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


FORMS = {
    "file": "file:///FOLDER",
    "s3": "s3://BUCKET/FOLDER",
    "gs": "gs://BUCKET/FOLDER",
    "gcs": "gcs://BUCKET/FOLDER",
    "hdfs": "hdfs://HOST:PORT/FOLDER",
    "viewfs": "viewfs://HOST/FOLDER",
    "abfs": "abfs://ACCOUNT.blob.core.windows.net/CONTAINER/FOLDER",
    "abfss": "abfss://ACCOUNT.blob.core.windows.net/CONTAINER/FOLDER",
}
"""How the addresses of storages are written that pyarrow.fs opens, by their scheme."""


def storage_address(text: str) -> str:
    """The address of a storage as pyarrow.fs opens it: a local path made absolute, a scheme in small letters.

    Raises:
        OSError: it is empty, or written in a way that means another place than it seems to.
    """
    if not text.strip():
        raise OSError("it is empty; name a folder, such as studies")
    parts = re.fullmatch(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?([^/?#]*)(.*)", text, re.DOTALL)
    scheme = parts[1].lower() if parts else ""
    if parts is None or (parts[2] is None and scheme not in FORMS):
        if os.path.expanduser(text).startswith("~"):
            raise OSError("there is no such home folder; write the path from / on")
        return absolute(text)
    if scheme not in FORMS:
        raise OSError(f"Unrecognized filesystem '{scheme}'; one of {', '.join(FORMS)}")
    return f"{scheme}://{_checked(scheme, parts)}"


def form_of(address: str) -> str:
    """How addresses of this one's kind are written."""
    return f"an address is written {FORMS[address.partition(':')[0]]}"


def _checked(scheme: str, parts: re.Match[str]) -> str:
    """What follows the scheme."""
    form = form_of(f"{scheme}://")
    if parts[2] is None:
        raise OSError(f"{form} (a folder of this name ./{parts[0]})")
    if (parts[3] == "") != (scheme == "file"):
        raise OSError(f"{form}, got {'a host' if scheme == 'file' else 'nothing after //'}")
    if "#" in parts[4] or (scheme == "file" and "?" in parts[4]):
        raise OSError("# and ? stand for themselves only as %23 and %3F in an address")
    return f"{parts[3]}{parts[4]}"


def join(uri: str, name: str) -> str:
    """The address of ``name`` below an address, which may end in options (``s3://bucket/path?region=x``)."""
    base, question, options = uri.partition("?") if "://" in uri else (uri, "", "")
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
