"""What the commands of qclip-model share: options, and what is said before a run starts and while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qclip_ffmpeg.cli import console
from qclip_ffmpeg.cli.params import device_option, together
from qclip_ffmpeg.errors import UsageError

if TYPE_CHECKING:
    from qclip_ffmpeg.train.activations import Progress

device_options = together(
    device_option,
    click.option("--threads", type=click.IntRange(1, 256), help="Frames side by side.  [default: all cores]"),
)


def check_extra() -> None:
    """Raises UsageError where the optional libraries that training needs are missing."""
    missing = [name for name in ("scipy", "matplotlib") if find_spec(name) is None]
    if missing:
        raise UsageError(f"this command needs {' and '.join(missing)}: pip install 'qclip-ffmpeg[train]'")


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raises UsageError where a result would not have a place."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageError(f"-o {path}: is not a file in an existing folder; choose another place")
    if path.exists() and not overwrite:
        raise UsageError(f"-o {path}: exists; add -y to overwrite it")


@contextmanager
def progress_bar(quiet: bool) -> "Iterator[Progress]":
    """Tells people how far a run is."""
    with console.StageProgress(quiet) as progress:
        yield progress.update
