"""Combing: two fields of different times woven into one picture, where the stream says that it is progressive.

The lines of one picture are woven with those of the next, both ways:

    even lines   odd lines     apart, if every picture is two fields    if it was taken as a whole
    of this      of the next   3 fields                                 1 picture
    of the next  of this       1 field                                  1 picture

The farther apart in time, the rougher it gets where something moves, by the same measure FFmpeg's idet takes of every
line: how far it is off the two beside it. So one way is rougher than the other all over a combed video, and that way
stays the same; of whole pictures neither is, but by chance. And the pictures as they are, whose fields are one field
apart, are about as rough as the smoother of the two, whereas whole pictures are far smoother.
"""

from collections import deque
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qclip_ffmpeg.frame import Frame
from qclip_ffmpeg.track import Event

Array = NDArray[np.float32]

EVERY = 5
"""Of so many frames one is held against the next. Odd: what scrolls by an odd number of lines a frame shows edges on
even lines at one time, on odd ones at the next."""
PAIRS = 14
"""That are judged together, at least, where there are as many: those right before a shorter window, too."""
FEW_PAIRS, SURE_PAIRS = 4, 10
"""Fewer than these are not judged; with fewer than those `LEAST` is raised, as chance is, by the square root."""
MOST_PAIRS = 240
AGO_S = 0.5
"""Of a window without a pair, time since the last one, at most."""
LEAST = 0.02
"""Natural logarithm of the roughness one way over the other, on average, but for the pair where it is largest: a cut
or a title that appears is one pair."""
LEAST_SHARE = 0.05
"""The same over what weaving adds to the roughness of the pictures themselves. A third and more where fields are a
field apart, and a twelfth after coding that smoothed them; a thirtieth in fades of whole pictures."""
ONE_SIGN = 0.7
"""Of the sum of the logarithms' sizes, what is left if their signs are kept."""
AS_ROUGH, SURE_SHARE = 0.6, 0.2
"""Roughness of the pictures themselves over that of the smoother way: where it is below this, and the share of the
leaning as well, fields were smoothed in coding, or drawn things move by whole lines. Those lean one way for a while,
and then the other:"""
SMOOTH_S = 2.5
"""of so long a time SURE_PAIRS are needed then."""
SCROLLED = 0.12
"""Difference of a picture to the next one, moved by whole fields' lines, over that to the next one as it is: below it
everything is credits that scroll, and the lines of their letters are all even, or all odd, for ever."""
SCROLLS_LINES = (2, 4, 6)
DIM = 0.01
"""Added to roughness, in 8-bit code values: black pictures have none."""
BAD = 6.0
"""By how much one way is rougher, in 8-bit code values, at full severity: so far the lines of fields stand out."""


class Pair(NamedTuple):
    """What two pictures, one after the other, say of fields."""

    time_s: float
    leans: float
    """Natural logarithm of the roughness with even lines of the first over that with even lines of the second."""
    rougher: float
    """The difference of the two, in 8-bit code values."""
    added: float
    """By how much the two ways are rougher than the pictures themselves, over the mean of the two ways."""
    as_rough: float
    """Roughness of the pictures themselves over that of the smoother way."""


class Fields:
    """Frames, in order -> events of windows. Holds a few bands of lines of one frame, and MOST_PAIRS pairs."""

    def __init__(self) -> None:
        self._before: Array | None = None
        self._pairs: deque[Pair] = deque(maxlen=MOST_PAIRS)

    def add(self, frame: Frame) -> None:
        """Take in the next frame, whose pixels are still there."""
        place = frame.index % EVERY
        if place not in (EVERY - 2, EVERY - 1):
            return
        before, self._before = self._before, None
        if "interlaced" in frame.flags:
            return
        bands = frame.lines()
        if place == EVERY - 2:
            self._before = bands
        elif before is not None and before.size and before.shape == bands.shape:
            pair = pair_of(before, bands, float(frame.time_s))
            if abs(pair.leans) < LEAST or not scrolls(before, bands):
                self._pairs.append(pair)

    def event(self, start_s: float, end_s: float) -> Event | None:
        """That of the window that is just over, if it is combed."""
        pairs = [pair for pair in self._pairs if pair.time_s < end_s]
        last_s = pairs[-1].time_s if pairs else -inf
        within = sum(pair.time_s >= start_s for pair in pairs)
        pairs = sorted(pairs[-max(within, PAIRS) :], key=lambda pair: abs(pair.leans))[:-1]
        if len(pairs) + 1 < FEW_PAIRS or last_s < start_s - AGO_S:
            return None
        times_s, leans, rougher, added, as_rough = np.array(pairs).T
        mean = abs(float(leans.mean()))
        share = mean / max(float(added.mean()), DIM)
        sure = len(pairs) + 1 >= SURE_PAIRS and np.ptp(times_s) >= SMOOTH_S
        if share < LEAST_SHARE or (as_rough.mean() < AS_ROUGH and share < SURE_SHARE and not sure):
            return None
        clear = mean / (LEAST * max(1.0, (SURE_PAIRS / (len(pairs) + 1)) ** 0.5))
        if clear < 1 or mean < ONE_SIGN * float(np.abs(leans).mean()):
            return None
        severity = min(1.0, abs(float(rougher.mean())) / BAD)
        return Event("combing", start_s, end_s, severity, min(1.0, clear / 2))


def pair_of(before: Array, after: Array, time_s: float) -> Pair:
    """Of two pictures in bands of lines, (bands, an even number of lines, width) in 8-bit code values."""
    inner, between = [], []
    for bands in (before, after):
        beside = (bands[:, :-2] + bands[:, 2:]) * np.float32(0.5)
        inner.append((bands[:, 1:-1:2], bands[:, 2::2]))  # odd lines, even ones
        between.append((beside[:, ::2], beside[:, 1::2]))  # even lines at odd places, odd at even

    def roughness(of_even: int, of_odd: int) -> float:
        """Of a picture woven of the lines of two, 0 for the first: mean distance of lines to the two beside them."""
        offs = inner[of_odd][0] - between[of_even][0], inner[of_even][1] - between[of_odd][1]
        return sum(float(np.abs(off, out=off).mean()) for off in offs) / 2 + DIM

    ways = roughness(0, 1), roughness(1, 0)
    themselves = (roughness(0, 0) + roughness(1, 1)) / 2
    added = 2 - 4 * themselves / sum(ways)
    return Pair(time_s, float(np.log(ways[0] / ways[1])), ways[0] - ways[1], added, themselves / min(ways))


def scrolls(before: Array, after: Array) -> bool:
    """Whether two pictures, as of `pair_of`, are one that moved up or down by an even number of lines."""
    as_it_is = float(np.abs(after - before).mean())
    for lines in SCROLLS_LINES:
        for a, b in ((before, after), (after, before)):
            if float(np.abs(a[:, lines:] - b[:, :-lines]).mean()) < SCROLLED * as_it_is:
                return True
    return False
