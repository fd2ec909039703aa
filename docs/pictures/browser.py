"""Pictures of pages by Chromium without a window."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

HOST = "mlflow.example"
"""A name for this machine in Chromium: at 127.0.0.1 MLflow opens a panel for its assistant beside every page."""
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    f"--host-resolver-rules=MAP {HOST} 127.0.0.1",
)  # fmt: skip
MISSING = "pictures of pages need Chromium, and none of chromium, chromium-browser, google-chrome is on PATH"


def chromium() -> str | None:
    """The program, if there is one."""
    return next((place for name in PROGRAMS if (place := shutil.which(name))), None)


def photograph(address: str, picture: Path, size: tuple[int, int], *, patience_ms: int = 15000) -> None:
    """Write what a page shows in a window of a size.

    Raises:
        RuntimeError: there is no Chromium, or it made no picture.
    """
    program = chromium()
    if program is None:
        raise RuntimeError(MISSING)
    with tempfile.TemporaryDirectory() as profile:
        window = f"--window-size={size[0]},{size[1]}"
        options = [f"--user-data-dir={profile}", f"--virtual-time-budget={patience_ms}", window]
        command = [program, *QUIET, *options, f"--screenshot={picture}", address]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
    if not picture.is_file():
        raise RuntimeError(f"Chromium made no picture of {address}: {done.stderr.strip()[-300:]}")


def shrink(picture: Path, target: Path, width: int, *, colours: int = 256) -> None:
    """Write a PNG of at most a width and a few colours: small enough for a repository.

    Of the colours those are kept that lie farthest apart: a thin line of its own colour keeps it.
    """
    with Image.open(picture) as image:
        flat = image.convert("RGB")
        if flat.width > width:
            flat = flat.resize((width, round(flat.height * width / flat.width)), Image.Resampling.LANCZOS)
        flat.quantize(colours, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(target, optimize=True)
