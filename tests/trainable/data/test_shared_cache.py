"""A cache folder that several users share: what belongs to others is left alone, and never in the way."""

import os
from pathlib import Path

import pytest
from trees import camvid_tree

from trainable.data import cache
from trainable.data.cache import cache_path, ensure_cache
from trainable.data.config import CamVidData
from trainable.data.errors import DataError
from trainable.data.mapped import is_complete

OTHER = 4242
"""A user id."""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("DROPCLASS_CACHE", str(folder))
    return folder


@pytest.fixture
def camvid(tmp_path: Path) -> CamVidData:
    return camvid_tree(tmp_path / "camvid")


def of_other(path: Path, content: bytes = b"") -> Path:
    """A file of another user; that of this one where the tests may not give files away."""
    path.write_bytes(content)
    path.chmod(0o644)
    if os.geteuid() == 0:
        os.chown(path, OTHER, OTHER)
    return path


def as_other_than_the_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the files above could not be given away, this process is somebody else instead."""
    if os.geteuid() != 0:
        monkeypatch.setattr(cache.os, "geteuid", lambda: OTHER)


@pytest.mark.parametrize("suffix", [".lock", ".partial", f".{OTHER}.lock", f".{OTHER}.partial"])
def test_locks_and_partial_files_of_others_are_never_opened(
    suffix: str, camvid: CamVidData, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = [
        of_other(cache_path(camvid).with_suffix(suffix), b"theirs"),
        of_other(place / f"camvid-1{suffix}", b"theirs"),
    ]
    as_other_than_the_owner(monkeypatch)
    opened, plain_open = [], Path.open

    def noted(path: Path, *arguments: str, **named: str) -> object:
        opened.append(path)
        return plain_open(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", noted)
    if os.geteuid() != 0 and suffix.startswith(f".{OTHER}"):
        pytest.skip("this process is that user")
    assert is_complete(ensure_cache(camvid))
    assert not set(opened) & set(theirs)
    assert [path.read_bytes() for path in theirs] == [b"theirs"] * 2


def test_a_cut_cache_of_another_user_is_replaced(camvid: CamVidData) -> None:
    path = of_other(cache_path(camvid), b"cut")
    assert is_complete(ensure_cache(camvid))
    assert path.stat().st_uid == os.geteuid()


def sticky(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel refuses to replace what others own in a sticky folder, but not to root."""

    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(path), None, str(target))

    monkeypatch.setattr(Path, "replace", refuse)


def test_what_cannot_be_replaced_is_named(camvid: CamVidData, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = of_other(cache_path(camvid), b"cut")
    sticky(monkeypatch)
    with pytest.raises(DataError) as caught:
        ensure_cache(camvid)
    other = "belongs to another user and is no whole cache that this one may read"
    assert str(caught.value) == f"cache: {path} {other}; remove it or let DROPCLASS_CACHE name another folder"
    assert not list(place.glob("*.partial"))


def test_what_another_user_built_meanwhile_is_as_good(camvid: CamVidData, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ensure_cache(camvid)
    whole = path.read_bytes()
    path.unlink()
    write = cache.write_cache

    def write_and_lose(*arguments: object) -> None:
        write(*arguments)  # type: ignore[arg-type]
        of_other(path, whole)

    monkeypatch.setattr(cache, "write_cache", write_and_lose)
    sticky(monkeypatch)
    assert ensure_cache(camvid).read_bytes() == whole


def test_a_folder_that_is_closed_names_the_obstacle(camvid: CamVidData, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = cache_path(camvid).with_suffix(f".{os.geteuid()}.lock")
    lock.mkdir()  # stands for whatever the kernel refuses to open
    with pytest.raises(DataError) as caught:
        ensure_cache(camvid)
    expected = f"cache: {lock} cannot be written (Is a directory); make room or let DROPCLASS_CACHE name another folder"
    assert str(caught.value) == expected
