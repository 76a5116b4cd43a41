"""Steps and areas of segments as SVG paths, in a box that is stretched to whatever place there is."""

from collections.abc import Sequence
from dataclasses import dataclass

from qclip_ffmpeg.emit.chart import Span
from qclip_ffmpeg.track import SegmentScore

WIDTH, HEIGHT = 1000, 100


@dataclass(frozen=True, slots=True)
class Box:
    """Where times and values lie in `viewBox="0 0 1000 100"`."""

    times: Span
    """Left and right end, in seconds."""
    values: Span
    """Lower and upper end."""

    def x(self, seconds: float) -> str:
        return coordinate(WIDTH * (seconds - self.times[0]) / (self.times[1] - self.times[0]))

    def y(self, value: float) -> str:
        low, high = self.values
        return coordinate(HEIGHT * (high - min(max(value, low), high)) / (high - low))

    def line(self, run: Sequence[SegmentScore], values: Sequence[float]) -> str:
        """A line that stays at a value through its segment."""
        stays = (f"V{self.y(v)}H{self.x(s.end_s)}" for s, v in zip(run, values, strict=True))
        return f"M{self.x(run[0].start_s)} {self.y(values[0])}" + "".join(stays)

    def area(self, run: Sequence[SegmentScore], lows: Sequence[float], highs: Sequence[float]) -> str:
        """What lies between two such lines."""
        back = list(zip(run, lows, strict=True))[::-1]
        return self.line(run, highs) + "".join(f"V{self.y(v)}H{self.x(s.start_s)}" for s, v in back) + "Z"


def coordinate(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")
