"""What --tee costs: CPU time of the probe with and without it, whole processes, interleaved; the bytes must be equal.

    python benchmarks/tee_overhead.py [--megabytes 1000] [--kind raw h264] [--runs 3]

The stream comes from `cat` and, with --tee, goes to `sha256sum`, so that both ends are pipes. "raw" is 1080p yuv420p
frames: bytes cost most there, and scores least. "h264" is 60 s of 1080p30 in mpegts.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import ffmpeg
from common import hd_clip

from qclip_ffmpeg.ffmpeg import run

SECONDS = 60
RAW_FRAME_BYTES = 1920 * 1080 * 3 // 2
OPTIONS = {"raw": ["-f", "rawvideo", "-s", "1920x1080", "-r", "30"], "h264": []}


def stream(kind: str, megabytes: int) -> Path:
    """The bytes to send; kept in the temporary folder."""
    path = Path(tempfile.gettempdir()) / f"qclip-bench-tee-{megabytes}.{'yuv' if kind == 'raw' else 'ts'}"
    if not path.exists():
        partial = path.with_name(f"partial-{path.name}")
        if kind == "raw":
            frames = max(1, megabytes * 1_000_000 // RAW_FRAME_BYTES)
            sent: dict[str, Any] = {"f": "rawvideo", "pix_fmt": "yuv420p", "vframes": frames}
        else:
            sent = {"vcodec": "copy"}
        run(ffmpeg.input(str(hd_clip(SECONDS))).output(str(partial), **sent))
        partial.replace(path)
    return path


def probe(path: Path, options: list[str], tee: bool) -> tuple[float, float, str]:
    """(CPU seconds, wall seconds, sha256 of what was passed on) of a probe in a pipe."""
    command = [sys.executable, "-m", "qclip_ffmpeg.cli.probe", "-", *options, "-q", *(["--tee"] if tee else [])]
    began_s = time.perf_counter()
    with subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE) as sender:
        probing = subprocess.Popen(command, stdin=sender.stdout, stdout=subprocess.PIPE)
        assert sender.stdout is not None
        sender.stdout.close()  # the probe alone holds it
        digest = subprocess.run(["sha256sum"], stdin=probing.stdout, capture_output=True, text=True, check=True).stdout
        _, status, usage = os.wait4(probing.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - began_s, digest.split()[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000, help="of raw frames")
    parser.add_argument("--kind", nargs="+", default=["raw", "h264"], choices=OPTIONS)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    for kind in options.kind:
        path = stream(kind, options.megabytes)
        sent = hashlib.file_digest(path.open("rb"), "sha256").hexdigest()
        cpu_s: dict[bool, list[float]] = {False: [], True: []}
        wall_s: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(options.runs):
            for tee in (False, True):
                cpu, wall, passed_on = probe(path, OPTIONS[kind], tee)
                assert not tee or passed_on == sent, "the bytes were changed"
                cpu_s[tee].append(cpu)
                wall_s[tee].append(wall)
        ratios = [with_tee / alone for alone, with_tee in zip(cpu_s[False], cpu_s[True], strict=True)]
        print(
            f"{kind}: {path.stat().st_size / 1e6:.0f} MB, sha256 equal in {options.runs} runs, {os.cpu_count()} cores"
        )
        for tee, name in ((False, "alone"), (True, "--tee")):
            print(f"  {name}  {median(cpu_s[tee]):.2f} CPU s, {median(wall_s[tee]):.1f} s (medians)")
        print(f"  ratio  {median(ratios):.3f} CPU (median; lowest {min(ratios):.3f}, highest {max(ratios):.3f})")


if __name__ == "__main__":
    main()
