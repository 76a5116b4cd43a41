"""Lower frame rates inside slightly higher ones: single repeats, every so many frames (24 in 25).

A repeat a second is too rare to fold (`cadence`), but it dips: its progress is next to nothing between steps that have
about half of their way each. Dips that are even in time are a cadence.

    frame       5     30    55    80        progress 0.02 to 0.19, of all others 0.26 and more: 24 in 25
    frame       5     30    55              likewise, if every one stands still and the distances are the same
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from qclip_ffmpeg.temporal.cadence import MOVING, rates, unevenness
from qclip_ffmpeg.temporal.progress import Step
from qclip_ffmpeg.temporal.runs import Run
from qclip_ffmpeg.track import Event

LOW, BACK = 0.21, -0.1
"""Progress of a dip, at most and at least: light that flickers goes back, a picture that is shown again hardly does."""
DEEP = 0.1
"""Progress of a dip below that of the steps beside it, at least."""
LEAST_BESIDE, MOST_BESIDE = 0.25, 0.8
"""Of those: each is about half of its way. Light that rises and falls dips where it turns, between others."""
STANDS_STILL, SURE = 0.08, 0.1
"""Progress of a dip, at most, where three are enough, and where they may be off their places."""
LEAST, FEWEST = 4, 3
"""Dips of a cadence, and where every one stands still."""
LEAST_DISTANCE = 12
"""Frames: light that flickers dips more often."""
MOST_DISTANCE_S = 1.4
SLACK = 1
"""Frames by which a dip may be off its place."""
STRAY = 1
"""Others among sure dips that are none of the cadence and about as low: twice as high as the highest of it, at most."""
MISSED = 2
"""Places in a row without a dip that end a cadence."""
REMEMBERED = 24


@dataclass(frozen=True, slots=True)
class Dip:
    """A frame that seems to be the one before it again."""

    index: int
    start_s: float
    end_s: float
    """When the next frame is shown."""
    progress: float


class SparseCadence:
    """Steps -> repeat events of single repeats.

    Args:
        frame_s: how long a frame is shown, on average, in seconds.
    """

    def __init__(self, frame_s: float) -> None:
        self._frame_s = frame_s
        self._steps: deque[Step] = deque(maxlen=3)
        self._dips: deque[Dip] = deque(maxlen=REMEMBERED)
        self._members: list[Dip] = []  # the first, and the last of the cadence under way
        self._highest = 0.0
        self._every = 0.0

    @property
    def start(self) -> int | None:
        """Number of the first repeated frame of the cadence under way; None where there is none."""
        return self._members[0].index if self._members else None

    def is_member(self, run: Run) -> bool:
        """Whether it is where the next repeat of the cadence under way is to be, or was the last one."""
        return bool(self._members) and run.count == 1 and self._off(run.first) <= SLACK

    def add(self, step: Step) -> Iterator[Event]:
        """The cadence that is over with this step."""
        if self._steps and step.index != self._steps[-1].index + 1:
            self._steps.clear()
        self._steps.append(step)
        if (dip := self._dip()) is not None:
            self._dips.append(dip)
            self._take(dip)
        if self._members and step.index - self._members[-1].index > (MISSED + 1) * self._every + SLACK + 1:
            yield from self.end()

    def end(self) -> Iterator[Event]:
        """What was under way is over."""
        members, self._members = self._members, []
        if members:
            shown = [1] * max(1, round(self._every) - 2) + [2]
            detail = rates((1 - 1 / self._every) / self._frame_s, 1 / self._frame_s)
            sure = 1 - 0.5 * max(0.0, self._highest / LOW)
            yield Event("repeat", members[0].start_s, members[-1].end_s, unevenness(shown), sure, detail)

    def forget(self) -> None:
        """A dense cadence explains them."""
        self._members = []
        self._dips.clear()

    def _dip(self) -> Dip | None:
        """The step before the last one, if it is a dip."""
        if len(self._steps) < 3:
            return None
        before, here, after = self._steps
        if min(before.activity, after.activity) < MOVING:
            return None
        less, more = sorted((before.progress, after.progress))
        if less < LEAST_BESIDE or more > MOST_BESIDE or not BACK <= here.progress <= min(LOW, less - DEEP):
            return None
        return Dip(here.index, here.time_s, after.time_s, here.progress)

    def _off(self, index: int) -> float:
        """Frames from where a repeat of the cadence under way is to be."""
        away = (index - self._members[-1].index) % self._every
        return min(away, self._every - away)

    def _take(self, dip: Dip) -> None:
        if self._members:
            if dip.index - self._members[-1].index > self._every / 2 and self._off(dip.index) <= SLACK:
                self._members[1:] = [dip]
                self._highest = max(self._highest, dip.progress)
        elif (members := self._evenly_apart()) is not None:
            self._every = (members[-1].index - members[0].index) / (len(members) - 1)
            self._highest = max(member.progress for member in members)
            self._members = [members[0], dip]
            self._dips.clear()

    def _evenly_apart(self) -> list[Dip] | None:
        """Some of the last dips, the newest among them."""
        *dips, last = self._dips
        for before in reversed(dips):
            every = last.index - before.index
            if every * self._frame_s > MOST_DISTANCE_S:
                return None
            if every < LEAST_DISTANCE:
                continue
            chain = [last, before]
            while len(chain) < LEAST:
                wanted = chain[-1].index - every
                near = [dip for dip in dips if abs(dip.index - wanted) <= SLACK]
                if not near:
                    break
                chain.append(min(near, key=lambda dip: dip.progress))
            if self._is_cadence(chain[::-1]):
                return chain[::-1]
        return None

    def _is_cadence(self, chain: list[Dip]) -> bool:
        highest = max(dip.progress for dip in chain)
        distances = {after.index - before.index for before, after in pairwise(chain)}
        alike = max(STANDS_STILL, 2 * highest)
        strays = sum(d.index > chain[0].index and d not in chain and d.progress <= alike for d in self._dips)
        if len(chain) < LEAST:
            return len(chain) == FEWEST and len(distances) == 1 and highest <= STANDS_STILL and not strays
        if highest <= SURE:
            return strays <= STRAY
        return len(distances) == 1 and not strays
