"""What the benchmarks share: a 1080p clip made from the example clip, and CPU time of a command."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ffmpeg

from qclip_ffmpeg.ffmpeg import run

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "media" / "bbb-720p.mp4"
LOOPS = 1000  # more than any duration asked for


def hd_clip(duration_s: int) -> Path:
    """A 1080p30 H.264 encode of the example clip, repeated for duration_s seconds; kept in the temporary folder."""
    path = Path(tempfile.gettempdir()) / f"qclip-bench-1080p30-{duration_s}s.mp4"
    if not path.exists():
        partial = path.with_suffix(".partial.mp4")
        source = ffmpeg.input(str(EXAMPLE), stream_loop=LOOPS).filter("scale", 1920, 1080, flags="lanczos")
        output = source.filter("fps", 30).output(str(partial), vcodec="libx264", preset="medium", crf=22, t=duration_s)
        run(output)
        partial.replace(path)
    return path


def cpu_and_wall_s(command: list[str]) -> tuple[float, float]:
    """(CPU seconds of user and system, wall seconds) of a command that must succeed; its output is dropped."""
    began_s = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - began_s
