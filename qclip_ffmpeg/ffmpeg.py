"""The only door to the `ffmpeg` executable. Command graphs are built with ffmpeg-python.

Scoring never needs this module: frames are read through PyAV in `reader`. It makes encodes and reference labels, and
copies of files that carry their scores.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import ffmpeg

from qclip_ffmpeg.errors import FFmpegError, UsageError

STDERR_LINES_IN_MESSAGE = 6
LOG_PREFIX = re.compile(r"^(?:\[[^]]*\] )*")  # [mp4 @ 0x55...]: which part of ffmpeg speaks


@cache
def executable() -> str:
    """Path of the ffmpeg to run: $FFMPEG, else the one on PATH, else the one that imageio-ffmpeg carries.

    Raises:
        UsageError: there is none of the three.
    """
    if chosen := os.environ.get("FFMPEG"):
        if found := shutil.which(chosen):
            return found
        raise UsageError(f"FFMPEG={chosen}: no such program; point it at an ffmpeg executable or unset it")
    return shutil.which("ffmpeg") or bundled_executable()


@cache
def bundled_executable() -> str:
    """Path of imageio-ffmpeg's static ffmpeg, which is built with libvmaf (distributions' builds often are not).

    Raises:
        UsageError: imageio-ffmpeg is not installed.
    """
    try:
        import imageio_ffmpeg
    except ImportError:
        raise UsageError("no ffmpeg found: install ffmpeg, set $FFMPEG, or `pip install imageio-ffmpeg`") from None
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def run(output: Any, *, program: str | None = None, cwd: Path | None = None) -> str:
    """Run an ffmpeg-python output node to its end and return what ffmpeg wrote to stderr.

    Args:
        output: the node that `ffmpeg.output(...)` returned.
        program: the executable; `executable()` when None.
        cwd: folder the command runs in (filters that write a file name cannot quote every path).

    Raises:
        FFmpegError: ffmpeg exited with an error; the message has the command and its last lines.
    """
    options = output.global_args("-hide_banner", "-nostdin")
    return run_command(ffmpeg.compile(options, cmd=program or executable(), overwrite_output=True), cwd)


def run_command(command: list[str], cwd: Path | None = None) -> str:
    """Run an ffmpeg command line to its end and return what ffmpeg wrote to stderr.

    Raises:
        FFmpegError: ffmpeg exited with an error; the message has the command and its last lines.
    """
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=cwd, check=False)
    if done.returncode != 0:
        code = done.returncode
        ended = f"exited with {code}" if code > 0 else f"was stopped by {signal.Signals(-code).name}"
        lines = done.stderr.strip().splitlines() or [ended]
        tail = "\n  ".join(lines[-STDERR_LINES_IN_MESSAGE:])
        raise FFmpegError(
            f"ffmpeg {ended}\n  {shlex.join(command)}\n  {tail}",
            reason=LOG_PREFIX.sub("", lines[0]),
        )
    return done.stderr
