"""The bitrate of what was measured: which bytes of the stream belong to which frames, and how many kilobits a second.

Decoding runs ahead of scoring, and a decoder takes in more packets than it gives back pictures. So bytes are not
counted as they are read: every frame carries those of its packets, and the figure is that of the frames reported.
"""

import heapq
from collections import deque
from collections.abc import Sequence

from qclip_ffmpeg.track import SegmentScore, VideoStream

RAW_CODECS = {
    *("rawvideo", "wrapped_avframe", "bitpacked", "v210", "v210x", "v308", "v408", "v410", "012v", "ayuv", "yuv4"),
    *("y41p", "r210", "r10k", "avrp", "avui"),
}
"""FFmpeg's names of codecs that do not compress: their rate says nothing of an encode."""
BITRATE_DECIMALS = 3


class CodedBytes:
    """Packets that were read and whose pictures have not yet come out of the decoder.

    Pictures come out in the order they are shown. So the packets of a picture are those stamped with its time, or, for
    packets that are never shown (VP8's alternate references) or that could not be decoded, stamped before it and after
    the picture before it. How far the decoder has read ahead does not change that. A packet without a time stamp goes
    with the one before it; in a stream without any, packets and pictures belong together in the order of both.
    """

    def __init__(self) -> None:
        self._stamped: list[tuple[int, int]] = []  # a heap of (pts, bytes)
        self._unstamped = deque[int]()
        self._last_pts: int | None = None
        self._begun = False

    def add(self, pts: int | None, size_bytes: int) -> None:
        """Take in a packet, in the order they are read. pts: None where it has none, or none to go by."""
        if size_bytes == 0:  # the one that ends the stream, and AVI's way to show a picture longer
            return
        self._last_pts = self._last_pts if pts is None else pts
        if self._last_pts is None:
            self._unstamped.append(size_bytes)
        else:
            heapq.heappush(self._stamped, (self._last_pts, size_bytes))

    def take(self, pts: int | None) -> int:
        """The bytes of the picture that came out next. What is stamped before the first picture is nobody's."""
        if pts is None:
            return self._unstamped.popleft() if self._unstamped else 0
        taken = 0
        while self._stamped and self._stamped[0][0] <= pts:
            stamp, size_bytes = heapq.heappop(self._stamped)
            if self._begun or stamp == pts:
                taken += size_bytes
        self._begun = True
        return taken


def bitrate_kbps(video: VideoStream, coded_bytes: int, segments: Sequence[SegmentScore]) -> float | None:
    """Kilobits (1000 bits) a second over the time that the segments cover.

    Args:
        video: the stream.
        coded_bytes: of all frames of the segments, scored or not.
        segments: all that is reported.

    Returns:
        None for codecs that do not compress, for a single picture, and where there is no time or no byte.
    """
    span_s = sum(segment.end_s - segment.start_s for segment in segments)
    moving = sum(segment.frame_count for segment in segments) > 1
    if video.codec in RAW_CODECS or not moving or span_s <= 0 or coded_bytes <= 0:
        return None
    return round(8 * coded_bytes / span_s / 1000, BITRATE_DECIMALS)
