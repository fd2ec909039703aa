"""Temporary folders of a launch."""

import os
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.driver.temporary import SHORT_FOLDERS, SOCKET, provide_token, ray_folder, ray_obstacle, scratch_folder
from orchestrator.errors import MachineError


@pytest.fixture(autouse=True)
def unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("RAY_TMPDIR", "TMPDIR", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def short() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def said(line: str) -> None:
    raise AssertionError(line)


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
def test_ray_takes_the_folder_that_it_would(variable: str, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/nowhere")
    monkeypatch.setenv(variable, str(short / "made"))
    with ray_folder(said) as folder:
        assert folder == f"{short}/made/ray"


@pytest.mark.parametrize("empty", [None, ""])
def test_without_a_name_it_is_below_tmp(empty: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if empty is not None:
        monkeypatch.setenv("TMPDIR", empty)
    with ray_folder(said) as folder:
        assert folder == "/tmp/ray"


@pytest.mark.parametrize("text", ["x" * 60, "ü" * 30])
def test_a_name_too_long_for_sockets_gives_a_short_private_one_for_as_long(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / text))
    lines: list[str] = []
    with ray_folder(lines.append) as folder:
        place = Path(folder, SOCKET)
        place.parent.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(place))
        private = Path(folder).parent
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert private.parent == Path(SHORT_FOLDERS[0])
    assert not private.exists()
    (line,) = lines
    assert line.startswith(f"TMPDIR={tmp_path / text} is ")
    assert line.endswith(f"bytes too long for Ray's sockets: Ray keeps them and its logs in {folder}")


def test_the_longest_name_that_fits_is_kept(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitting = 107 - len(f"{short}//ray/{SOCKET}")
    monkeypatch.setenv("TMPDIR", f"{short}/{'x' * fitting}")
    with ray_folder(said) as folder, socket.socket(socket.AF_UNIX) as listener:
        place = Path(folder, SOCKET)
        place.parent.mkdir(parents=True)
        listener.bind(str(place))
    monkeypatch.setenv("TMPDIR", f"{short}/{'x' * (fitting + 1)}")
    lines: list[str] = []
    with ray_folder(lines.append):
        assert "is 1 bytes too long" in lines[0]


def test_what_cannot_be_used_is_named_with_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for variable, place, reason in (
        ("TMPDIR", file, "no folder"),
        ("RAY_TMPDIR", file / "below", "Not a directory"),
        ("TMPDIR", Path("/proc/nowhere"), "No such file or directory"),
        ("TMPDIR", tmp_path / ("x" * 300), "File name too long"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(variable, str(place))
            with pytest.raises(MachineError) as raised, ray_folder(said):
                pass
            assert str(raised.value).startswith(f"{variable}={place}: {reason}; Ray keeps its sockets and logs there")
            assert f"let {variable} name a folder" in str(raised.value)


@pytest.fixture
def small_disk(short: Path) -> Iterator[Path]:
    """A real file system of 1 MB."""
    call = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(short)]
    if os.geteuid() or subprocess.run(call, check=False, capture_output=True).returncode:
        pytest.skip("may not mount")
    yield short
    subprocess.run(["umount", str(short)], check=True)


def test_a_full_disk_and_one_with_too_little_room(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(small_disk))
    assert (ray_obstacle() or "").startswith(f"TMPDIR={small_disk}: 1.0 MB free of 8.4 MB that are needed;")
    with pytest.raises(OSError, match="No space"):
        (small_disk / "zeros").write_bytes(bytes(2 << 20))
    assert (ray_obstacle() or "").startswith(f"TMPDIR={small_disk}: No space left on device;")


def test_no_temporary_folder_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "gone")])
    expected = r"^No usable temporary directory found in .*; make room there"
    with pytest.raises(MachineError, match=expected), scratch_folder():
        pass


def homeless() -> Path:
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize("home", [lambda: Path("/proc"), lambda: Path("/dev/null"), homeless])
def test_a_home_that_takes_no_token_gets_one_for_this_launch(
    home: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", home)
    provide_token()
    assert len(os.environ.pop("RAY_AUTH_TOKEN")) == 64


def test_a_home_that_takes_a_token_is_left_to_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    provide_token()
    (tmp_path / ".ray/auth_token").write_text("x")
    provide_token()
    assert "RAY_AUTH_TOKEN" not in os.environ
