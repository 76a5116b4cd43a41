"""What reading for the probe costs over plain PyAV decoding, in CPU time of whole processes, interleaved.

    python benchmarks/reading_overhead.py [--duration 60] [--runs 7] [--file CLIP]

"read" decodes, makes a thumbnail of every frame, cuts 4 s segments, picks the default number of frames by motion and
converts those to R'G'B' at full size. "watch" looks for events besides. Nothing is scored.
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
WATCH = """
from fractions import Fraction
from qclip_ffmpeg.inputs import InputOptions
from qclip_ffmpeg.reader import open_video
from qclip_ffmpeg.sampling import windows
from qclip_ffmpeg.temporal import TemporalWatch
with open_video(sys.argv[1], InputOptions(threads=2)) as video:
    watch = TemporalWatch(video.info)
    for window in windows(watch.over(video), segment_s=Fraction(4), frames_per_window=6):
        watch.look(window)
        for frame in window.frames:
            frame.rgb()
    watch.end()
"""
IMPORTS = "import sys, av, numpy, qclip_ffmpeg.reader, qclip_ffmpeg.sampling, qclip_ffmpeg.temporal"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duration", type=int, default=60, help="seconds of 1080p30 H.264")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--file", help="this one instead")
    options = parser.parse_args()
    clip = options.file or str(hd_clip(options.duration))
    start_s = median(cpu_and_wall_s(["-c", IMPORTS])[0] for _ in range(options.runs))
    plain_s, read_s, watch_s = [], [], []
    for _ in range(options.runs):
        plain, read, watch = (
            cpu_and_wall_s(["-c", IMPORTS + code, clip])[0] - start_s for code in (PLAIN, READ, WATCH)
        )
        plain_s.append(plain)
        read_s.append(read)
        watch_s.append(watch)
    of = options.file or f"{options.duration} s of 1080p30 H.264"
    print(f"{of}, {options.runs} interleaved runs, imports ({start_s:.2f} s) subtracted")
    print(f"plain PyAV decode  {median(plain_s):.2f} CPU s (median)")
    for name, over, under in (("read / plain", read_s, plain_s), ("watch / read", watch_s, read_s)):
        found = [a / b for a, b in zip(over, under, strict=True)]
        print(f"{name}       {median(found):.3f} (median; lowest {min(found):.3f}, highest {max(found):.3f})", end="; ")
        print(f"{min(over) / min(under):.3f} of the least of each")  # where others are busy, time is only ever added


if __name__ == "__main__":
    main()
