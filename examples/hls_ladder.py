"""Scores the rungs of an HLS ladder one by one, the lowest bandwidth first.

    python examples/hls_ladder.py https://example.com/vod/master.m3u8      or a file

You will see a line a rung: what it costs in kbit/s, its score, and its playlist.
"""

import sys
from pathlib import Path

import m3u8  # comes with qclip-ffmpeg

from qclip_ffmpeg import probe_many


def rungs(address: str) -> dict[str, int]:
    """The playlists that a master playlist names, by absolute paths or addresses, with their peak rates in bit/s."""
    if "://" in address:
        found = {rung.absolute_uri: rung.stream_info.bandwidth for rung in m3u8.load(address).playlists}
    else:
        path = Path(address).absolute()
        found = {
            rung.uri if "://" in rung.uri else str(path.parent / rung.uri): rung.stream_info.bandwidth
            for rung in m3u8.loads(path.read_text(encoding="utf-8-sig")).playlists
        }
    return dict(sorted(found.items(), key=lambda rung: rung[1]))


if __name__ == "__main__":
    ladder = rungs(sys.argv[1])
    for (playlist, rate), track in zip(ladder.items(), probe_many(ladder), strict=False):
        said = track.pooled.mean if track.complete else track.warnings[0]
        print(f"{rate // 1000:>6} kbit/s  {said}  {playlist}", flush=True)
