"""Combing: two fields of different times woven into one picture, where the stream says that it is progressive.

The lines of one picture are woven with those of the next, both ways. Where even lines are the earlier field:

    even lines   odd lines     apart, if every picture is two fields    if it was taken as a whole
    of this      of the next   3 fields                                 1 picture
    of the next  of this       1 field                                  1 picture

The farther apart in time, the rougher it gets where something moves, by the measure that FFmpeg's idet has, too: how
far a line is off the two beside it. So one way is rougher than the other all over a combed video, and that way stays
the same (the other one where odd lines are earlier); of whole pictures neither is, but by chance. And the pictures as
they are, whose fields are one field apart, are about as rough as the smoother way, whereas whole pictures are far
smoother.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qclip_ffmpeg.frame import Frame
from qclip_ffmpeg.track import Event

Array = NDArray[np.float32]

CYCLE, LATER_OF_PAIR = 9, (4, 8)
"""Of so many frames these are held against the one before each. Odd, and no multiple of 5: what scrolls by an odd
number of lines shows its edges on even lines at one time and on odd ones at the next, and pairs come by all five places
of a telecine."""
PAIRS, BEFORE_S = 14, 4.0
"""That are judged together, at least: a shorter window has those of so many seconds before it, too."""
MOST_PAIRS = 240
"""That are kept: longer windows are judged by their last ones."""
AGO_S = 0.5
"""Time from the last pair to the end of a window that has none of its own, at most."""
FEW_PAIRS = 4
"""Fewer are not judged."""
SURE_PAIRS = 10
"""With fewer, `LEAST` is raised as chance is: by the square root of how many times fewer they are."""
LEAST = 0.02
"""Natural logarithm of the roughness one way over the other, on average, at least; but for the pair where it is
largest, since a cut or a title that appears is one pair. Of whole pictures it is up to 0.012, of fades up to 0.06."""
LEAST_SHARE = 0.05
"""The same over what weaving adds to the roughness of the pictures themselves, at least. A third and more where fields
are a field apart, and 0.07 after coding that smoothed them; of whole pictures up to 0.034, fades among them."""
ONE_SIGN = 0.7
"""Of the sum of the logarithms' sizes, what is left if their signs are kept, at least."""
UNEVEN = 0.1
"""Or else the mean of those sizes, at least, of pictures that are AS_ROUGH: where motion itself goes by fits and starts
fields of the next picture may be nearer than those of the same. Of whole pictures it is up to 0.03, of credits 0.04."""
AS_ROUGH, SURE_SHARE, SURE_S = 0.6, 0.2, 2.5
"""Where pictures have less than this roughness, over that of the smoother way, fields were smoothed in coding, or drawn
things move by whole lines. Those lean one way for a while, and then the other: such a share of `LEAST_SHARE`'s kind is
asked for, or SURE_PAIRS over so many seconds."""
SCROLLED = 0.12
"""Difference of a picture to the next one, moved by whole lines of a field, over that to the next one as it is: below
it all is credits that scroll, and the edges of their letters are all on even lines, or all on odd ones, for ever."""
SCROLLS_LINES = range(2, 13, 2)
"""By which credits may scroll from one frame to the next."""
DIM = 0.01
"""Added to roughness, in 8-bit code values: black pictures have none."""
LEAST_ADDED = 0.01
"""`Pair.added`, to divide by, at least."""
BAD = 6.0
"""By how much one way is rougher, in 8-bit code values, at full severity: so far the lines of fields stand out."""
UNUSABLE = frozenset({"interlaced", "gap", "resized"})
"""Flags of frames that are not held against the one before: it is meant so, or is not the one before."""


class Pair(NamedTuple):
    """What two pictures, one after the other, say of fields."""

    time_s: float
    """Of the later one."""
    leans: float
    """Natural logarithm of the roughness with even lines of the earlier one over that with even lines of the later."""
    rougher: float
    """The difference of the two, in 8-bit code values."""
    added: float
    """By how much the two ways are rougher than the pictures themselves, over the mean of the two ways."""
    as_rough: float
    """Roughness of the pictures themselves over that of the smoother way."""


class Fields:
    """Frames, in order -> events of windows. Holds a few bands of lines of one frame, and MOST_PAIRS pairs."""

    def __init__(self) -> None:
        self._before: tuple[int, Array] | None = None
        self._pairs: deque[Pair] = deque(maxlen=MOST_PAIRS)

    def add(self, frame: Frame) -> None:
        """Take in the next frame. Its lines are read now."""
        before, self._before = self._before, None
        place = frame.index % CYCLE
        if place + 1 in LATER_OF_PAIR and "interlaced" not in frame.flags:
            self._before = frame.index, frame.lines()
        if before is None or frame.index != before[0] + 1 or frame.flags & UNUSABLE:
            return
        earlier, later = before[1], frame.lines()
        if earlier.shape != later.shape or earlier.size == 0 or earlier.shape[1] <= max(SCROLLS_LINES):
            return
        pair = pair_of(earlier, later, float(frame.time_s))
        if abs(pair.leans) < LEAST or not scrolls(earlier, later):
            self._pairs.append(pair)

    def event(self, start_s: float, end_s: float) -> Event | None:
        """That of the window that is just over, if it is combed."""
        known = [pair for pair in self._pairs if start_s - BEFORE_S <= pair.time_s < end_s]
        own = [pair for pair in known if pair.time_s >= start_s]
        pairs = known[-max(len(own), PAIRS) :]
        if len(pairs) < FEW_PAIRS or (not own and pairs[-1].time_s < end_s - AGO_S):
            return None
        if own and float(np.mean([abs(pair.leans) for pair in own])) < LEAST:
            return None  # it was combed, and is no more
        return combed(pairs, start_s, end_s)


def combed(pairs: Sequence[Pair], start_s: float, end_s: float) -> Event | None:
    """The event of these pairs together, if they are of combed pictures."""
    usual = sorted(pairs, key=lambda pair: abs(pair.leans))[:-1]
    times_s, leans, rougher, added, as_rough = np.array(usual).T
    leaning, size = abs(float(leans.mean())), float(np.abs(leans).mean())
    is_rough = float(as_rough.mean()) >= AS_ROUGH
    if leaning < ONE_SIGN * size:
        if size < UNEVEN or not is_rough:
            return None
        leaning, rougher = size, np.abs(rougher)
    share = leaning / max(float(added.mean()), LEAST_ADDED)
    sure = share >= SURE_SHARE or (len(pairs) >= SURE_PAIRS and float(np.ptp(times_s)) >= SURE_S)
    clear = leaning / (LEAST * max(1.0, (SURE_PAIRS / len(pairs)) ** 0.5))
    if clear < 1 or share < LEAST_SHARE or not (is_rough or sure):
        return None
    severity = min(1.0, abs(float(rougher.mean())) / BAD)
    return Event("combing", start_s, end_s, severity, min(1.0, clear / 2))


def pair_of(earlier: Array, later: Array, time_s: float) -> Pair:
    """Of two pictures in bands of lines, (bands, 4 lines or more, width) in 8-bit code values."""
    inner, between = [], []
    for bands in (earlier, later):
        beside = (bands[:, :-2] + bands[:, 2:]) * np.float32(0.5)
        inner.append((bands[:, 1:-1:2], bands[:, 2:-1:2]))  # odd lines, and even ones
        between.append((beside[:, ::2], beside[:, 1::2]))  # what even lines say is there, and what odd ones say

    def roughness(of_even: int, of_odd: int) -> float:
        """Of a picture woven of the lines of two, 0 for the earlier: mean distance of lines to the two beside them."""
        offs = inner[of_odd][0] - between[of_even][0], inner[of_even][1] - between[of_odd][1]
        return sum(float(np.abs(off, out=off).mean()) for off in offs) / 2 + DIM

    ways = roughness(0, 1), roughness(1, 0)
    themselves = (roughness(0, 0) + roughness(1, 1)) / 2
    added = 2 - 4 * themselves / sum(ways)
    return Pair(time_s, float(np.log(ways[0] / ways[1])), ways[0] - ways[1], added, themselves / min(ways))


def scrolls(earlier: Array, later: Array) -> bool:
    """Whether two pictures, as of `pair_of`, are one that moved up or down by an even number of lines."""
    a, b = (np.ascontiguousarray(bands[::2, :, ::8]) for bands in (earlier, later))  # a sixteenth will do
    as_it_is = float(np.abs(b - a).mean())
    for lines in SCROLLS_LINES:
        for above, below in ((a, b), (b, a)):
            if float(np.abs(above[:, lines:] - below[:, :-lines]).mean()) < SCROLLED * as_it_is:
                return True
    return False
