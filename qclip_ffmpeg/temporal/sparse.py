"""Lower frame rates inside slightly higher ones: single repeats, every so many frames (24 in 25).

A repeat a second is too rare to fold (`cadence`). Single frames that hardly change between frames that do are noted,
clear ones and weak ones; a camera that a hand holds has weak ones, too, and seldom a clear one. LEAST of them the same
distance apart, all but one of them clear, are a cadence. Once it is known, weak ones will do.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from qclip_ffmpeg.temporal.cadence import FLOOR, MOVING, rates, unevenness
from qclip_ffmpeg.temporal.looks import Look
from qclip_ffmpeg.track import Event

BESIDE = 3
"""Steps to either side that a dip is held against: their median."""
CLEAR, WEAK = 0.2, 0.5
"""Change of a dip over that of the steps beside it, at most."""
LEAST = 4
LEAST_DISTANCE = 7
MOST_DISTANCE_S = 1.4
SLACK = 1
"""Frames by which a dip may be off its place."""
STRAY = 1
"""Dips between them, about as clear as they are, that are none of the cadence."""
ALIKE = 0.1
"""About as clear: twice the ratio of the weakest, this at least."""
MISSED = 2
"""Places in a row without a dip that end a cadence."""
REMEMBERED = 24


@dataclass(frozen=True, slots=True)
class Dip:
    """A frame that is the one before again, it seems."""

    look: Look
    ratio: float
    """Change over that of the steps beside it."""
    single: bool
    """The steps before and after it go on."""

    @property
    def index(self) -> int:
        return self.look.index


class SparseCadence:
    """Looks -> repeat events of single repeats, BESIDE looks later.

    Args:
        frame_s: how long a frame is shown, on average, in seconds.
    """

    def __init__(self, frame_s: float) -> None:
        self._frame_s = frame_s
        self._looks: deque[Look] = deque(maxlen=2 * BESIDE + 1)
        self._dips: deque[Dip] = deque(maxlen=REMEMBERED)
        self._members: list[Dip] = []  # the first, and the last of the cadence under way
        self._worst = 0.0
        self._every = 0.0

    @property
    def start(self) -> int | None:
        """Number of the first repeated frame of the cadence under way; None where there is none."""
        return self._members[0].index if self._members else None

    def is_member(self, index: int) -> bool:
        """Whether a frame is where the next repeat of the cadence under way is to be, or was the last one."""
        return bool(self._members) and self._off(index) <= SLACK

    def add(self, look: Look) -> Iterator[Event]:
        """The cadence that is over with this frame."""
        if look.first:
            self._looks.clear()
        self._looks.append(look)
        if (dip := self._dip()) is not None:
            self._dips.append(dip)
            if dip.single:
                self._take(dip)
        if self._members and look.index - self._members[-1].index > (MISSED + 1) * self._every + SLACK + BESIDE:
            yield from self.end()

    def end(self) -> Iterator[Event]:
        """What was under way is over."""
        members, self._members = self._members, []
        if members:
            shown = [1] * max(1, round(self._every) - 2) + [2]
            detail = rates((1 - 1 / self._every) / self._frame_s, 1 / self._frame_s)
            sure = 1 - 0.5 * min(1.0, self._worst / WEAK)
            first, last = members[0].look, members[-1].look
            yield Event("repeat", first.time_s, last.end_s, unevenness(shown), sure, detail)

    def forget(self) -> None:
        """A dense cadence explains the dips."""
        self._members = []
        self._dips.clear()

    def _dip(self) -> Dip | None:
        """The look BESIDE back, if it is one; near the beginning of a scene there are fewer before it."""
        if len(self._looks) <= BESIDE + 1:
            return None
        looks = list(self._looks)
        at = len(looks) - 1 - BESIDE
        here = looks.pop(at)
        if here.change > WEAK * (max(looks[at - 1].change, looks[at].change) + FLOOR):
            return None  # most are none: this saves the medians
        beside = [look for look in looks if not look.first]
        if here.first or len(beside) <= BESIDE or sorted(look.activity for look in beside)[len(beside) // 2] < MOVING:
            return None
        usual = sorted(look.change for look in beside)[len(beside) // 2]
        ratio = here.change / (usual + FLOOR)
        is_single = all(look.first or look.change > 2 * here.change for look in looks[at - 1 : at + 1])
        return Dip(here, ratio, is_single) if ratio <= WEAK else None

    def _off(self, index: int) -> float:
        """Frames from where a repeat of the cadence under way is to be."""
        away = (index - self._members[-1].index) % self._every
        return min(away, self._every - away)

    def _take(self, dip: Dip) -> None:
        if self._members:
            if dip.index - self._members[-1].index > self._every / 2 and self._off(dip.index) <= SLACK:
                self._members[1:] = [dip]
                self._worst = max(self._worst, dip.ratio)
            return
        if (members := self._evenly_apart()) is not None:
            self._every = (members[-1].index - members[0].index) / (len(members) - 1)
            self._worst = max(member.ratio for member in members)
            self._members = [members[0], dip]
            self._dips.clear()

    def _evenly_apart(self) -> list[Dip] | None:
        """LEAST of the last dips, the newest among them."""
        dips = list(self._dips)
        last = dips.pop()
        for before in reversed(dips):
            every = last.index - before.index
            if every * self._frame_s > MOST_DISTANCE_S:
                return None
            if every < LEAST_DISTANCE or not before.single:
                continue
            chain = [last, before]
            for _ in range(LEAST - 2):
                wanted = chain[-1].index - every
                near = [dip for dip in dips if dip.single and abs(dip.index - wanted) <= SLACK]
                if not near:
                    break
                chain.append(min(near, key=lambda dip: dip.ratio))
            clear = sum(dip.ratio <= CLEAR for dip in chain)
            if len(chain) < LEAST or clear < LEAST - 1:
                continue
            worst = min(CLEAR, max(ALIKE, 2 * max(dip.ratio for dip in chain)))
            strays = [dip for dip in dips if dip.ratio <= worst and dip.index > chain[-1].index and dip not in chain]
            if len(strays) <= STRAY:
                return chain[::-1]
        return None
