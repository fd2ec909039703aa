"""Addresses of files and folders: local paths, and what pyarrow.fs opens; shown without their secrets."""

import os
import re


def redacted(text: str) -> str:
    """The text with user names and passwords of addresses left out."""
    return re.sub(r"//[^/@\s]*@", "//***@", text)


def join(uri: str, name: str) -> str:
    """The address of ``name`` below an address, which may end in options (``s3://bucket/path?region=x``)."""
    base, question, options = uri.partition("?")
    return f"{base.rstrip('/')}/{name}{question}{options}"


def absolute(path: str) -> str:
    """A local path made absolute; an address with a scheme stays as it is."""
    return path if "://" in path else os.path.abspath(path)
