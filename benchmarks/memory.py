"""Resident memory of the probe on a long 1080p stream: it must not grow with the length.

    python benchmarks/memory.py [--minutes 20]

ffmpeg repeats the 1080p clip into a nut pipe (stream copy), the probe reads it from standard input. The probe's
resident size is read from /proc after every segment; the highest of each minute of the stream is printed.
"""

import argparse
import subprocess
import sys

from common import LOOPS, hd_clip

from qclip_ffmpeg.ffmpeg import executable

CHILD = """
from qclip_ffmpeg.measurement import probe
def report(measurement, segment):
    rss_kb = next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS"))
    print(f"{segment.end_s} {rss_kb}", flush=True)
probe("-", on_segment=report)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=20, help="3 or more")
    options = parser.parse_args()
    clip = str(hd_clip(60))
    command = [executable(), "-v", "error", "-stream_loop", str(LOOPS), "-i", clip, "-t", str(60 * options.minutes)]
    sender = subprocess.Popen([*command, "-c", "copy", "-f", "nut", "-"], stdout=subprocess.PIPE)
    reader = subprocess.Popen([sys.executable, "-c", CHILD], stdin=sender.stdout, stdout=subprocess.PIPE, text=True)
    assert sender.stdout is not None
    assert reader.stdout is not None
    sender.stdout.close()
    highest_mb: dict[int, float] = {}
    for line in reader.stdout:
        end_s, rss_kb = map(float, line.split())
        minute = int((end_s - 1e-6) // 60) + 1
        highest_mb[minute] = max(highest_mb.get(minute, 0), rss_kb / 1000)
    if reader.wait() or sender.wait():
        raise SystemExit("the measurement failed")
    print("minute   highest resident size, MB")
    for minute, size_mb in highest_mb.items():
        print(f"{minute:6d}   {size_mb:.0f}")
    later = [size_mb for minute, size_mb in highest_mb.items() if minute > 2]
    print(f"growth after minute 2: {max(later) - highest_mb[2]:.0f} MB")


if __name__ == "__main__":
    main()
