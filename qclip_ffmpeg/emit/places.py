"""Where in a repository something stands: what CI servers need to show a finding beside a line."""

from pathlib import Path

from qclip_ffmpeg.inputs import is_url


def place_in(root: Path, where: str | None) -> tuple[str, int] | None:
    """(path below `root` with forward slashes, line from 1) of "FILE:LINE"; None where there is no such file below it.

    Args:
        root: the repository's folder.
        where: FILE is taken from the current folder where it is relative.
    """
    file, _, line = (where or "").rpartition(":")
    if not file or not (line.isascii() and line.isdigit()):
        return None
    path = path_in(root, file)
    return (path, max(1, int(line))) if path is not None and (root / path).is_file() else None


def path_in(root: Path, file: str) -> str | None:
    """The path of a file below `root`, with forward slashes; None where it lies elsewhere, or is an address."""
    if is_url(file):
        return None
    try:
        return Path(file).resolve().relative_to(root.resolve()).as_posix()
    except (ValueError, OSError, RuntimeError):  # elsewhere, no path at all, links in a circle
        return None
