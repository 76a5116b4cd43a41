"""How fast 1080p30 H.264 is measured, process start included, for several frames a window.

    python benchmarks/realtime.py [--duration 60] [--runs 3] [--frames 4 5 6 7]

Runs are interleaved: each round measures every setting once. Prints seconds of video measured a second of wall time.
"""

import argparse
import os
from statistics import median

from common import cpu_and_wall_s, hd_clip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duration", type=int, default=60, help="seconds of video")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--frames", type=int, nargs="+", default=[4, 5, 6, 7])
    options = parser.parse_args()
    clip = hd_clip(options.duration)
    speed: dict[int, list[float]] = {frames: [] for frames in options.frames}
    cpu: dict[int, list[float]] = {frames: [] for frames in options.frames}
    for _ in range(options.runs):
        for frames in options.frames:
            command = ["-m", "qclip_ffmpeg.cli.probe", str(clip), "--json", "--frames", str(frames)]
            cpu_s, wall_s = cpu_and_wall_s(command)
            speed[frames].append(options.duration / wall_s)
            cpu[frames].append(cpu_s)
    print(f"{options.duration} s of 1080p30 H.264, {os.cpu_count()} cores, {options.runs} interleaved runs")
    print("frames a window   times real time: median (lowest)   CPU s: median")
    for frames in options.frames:
        print(f"{frames:15d}   {median(speed[frames]):.2f} ({min(speed[frames]):.2f}){median(cpu[frames]):32.1f}")


if __name__ == "__main__":
    main()
