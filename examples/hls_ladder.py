"""Scores the rungs of an HLS ladder one by one, the lowest bandwidth first.

    python examples/hls_ladder.py https://example.com/vod/master.m3u8      or a file

You will see a line a rung: what it costs in kbit/s, its score, and its playlist.
"""

import re
import sys
from itertools import pairwise
from pathlib import Path
from urllib.parse import urljoin
from urllib.request import urlopen

from qclip_ffmpeg import probe_many

BANDWIDTH = re.compile(r"#EXT-X-STREAM-INF:(?:.*,)?BANDWIDTH=(\d+)")  # AVERAGE-BANDWIDTH is another


def rungs(address: str) -> dict[str, int]:
    """The playlists that a master playlist names, absolute or relative to here, with their peak rates in bit/s."""
    text = urlopen(address).read().decode() if "://" in address else Path(address).read_text()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = {
        urljoin(address, playlist): int(stated[1])
        for line, playlist in pairwise(lines)
        if (stated := BANDWIDTH.match(line))
    }
    return dict(sorted(found.items(), key=lambda rung: rung[1]))


if __name__ == "__main__":
    ladder = rungs(sys.argv[1])
    for (playlist, rate), track in zip(ladder.items(), probe_many(ladder), strict=False):
        said = track.pooled.mean if track.complete else track.warnings[0]
        print(f"{rate // 1000:>6} kbit/s  {said}  {playlist}", flush=True)
