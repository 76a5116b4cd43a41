"""What reading for the probe costs over plain PyAV decoding, in CPU time of whole processes, interleaved.

    python benchmarks/reading_overhead.py [--duration 60] [--runs 7]

"read" decodes, makes a thumbnail of every frame, cuts 4 s segments, picks the default number of frames by motion and
converts those to R'G'B' at full size. Nothing is scored.
"""

import argparse
from statistics import median

from common import cpu_and_wall_s, hd_clip

PLAIN = """
with av.open(sys.argv[1]) as container:
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 2
    stream.codec_context.thread_type = "AUTO"
    for frame in container.decode(stream):
        pass
"""
READ = """
from fractions import Fraction
from qclip_ffmpeg.inputs import InputOptions
from qclip_ffmpeg.reader import open_video
from qclip_ffmpeg.sampling import windows
with open_video(sys.argv[1], InputOptions(threads=2)) as video:
    for window in windows(video, segment_s=Fraction(4), frames_per_window=6):
        for frame in window.frames:
            frame.rgb()
"""
IMPORTS = "import sys, av, numpy, qclip_ffmpeg.reader, qclip_ffmpeg.sampling"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duration", type=int, default=60, help="seconds of 1080p30 H.264")
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    clip = str(hd_clip(options.duration))
    start_s = median(cpu_and_wall_s(["-c", IMPORTS])[0] for _ in range(options.runs))
    plain_s, ratios = [], []
    for _ in range(options.runs):
        plain = cpu_and_wall_s(["-c", IMPORTS + PLAIN, clip])[0] - start_s
        read = cpu_and_wall_s(["-c", IMPORTS + READ, clip])[0] - start_s
        plain_s.append(plain)
        ratios.append(read / plain)
    print(
        f"{options.duration} s of 1080p30 H.264, {options.runs} interleaved runs, imports ({start_s:.2f} s) subtracted"
    )
    print(f"plain PyAV decode  {median(plain_s):.2f} CPU s (median)")
    print(f"read / plain       {median(ratios):.3f} (median; lowest {min(ratios):.3f}, highest {max(ratios):.3f})")


if __name__ == "__main__":
    main()
