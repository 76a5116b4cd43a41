"""Lower frame rates inside slightly higher ones: single repeats, every so many frames (24 in 25).

A repeat a second is too rare to fold (`cadence`). Single frames that are shown again are noted, those that are sure and
those that only seem to be: a camera that a hand holds has such, too. LEAST of them the same distance apart, all but one
of them sure, are a cadence; so are FEWEST, if every one stands still, exactly as far apart.
"""

from collections import deque
from collections.abc import Iterator
from itertools import pairwise

from qclip_ffmpeg.temporal.cadence import rates, unevenness
from qclip_ffmpeg.temporal.looks import Look
from qclip_ffmpeg.temporal.runs import LOOSE, Run
from qclip_ffmpeg.track import Event

LEAST, FEWEST = 4, 3
STANDS_STILL = 0.2
"""`Run.stillness`, at most."""
LEAST_DISTANCE = 7
MOST_DISTANCE_S = 1.4
SLACK = 1
"""Frames by which a repeat may be off its place."""
STRAY = 1
"""Others between them, about as still as they are, that are none of the cadence."""
ALIKE = 0.1
"""About as still: twice the stillness of the weakest, this at least."""
MISSED = 2
"""Places in a row without a repeat that end a cadence."""
REMEMBERED = 24


class SparseCadence:
    """Runs -> repeat events of single repeats.

    Args:
        frame_s: how long a frame is shown, on average, in seconds.
    """

    def __init__(self, frame_s: float) -> None:
        self._frame_s = frame_s
        self._runs: deque[Run] = deque(maxlen=REMEMBERED)
        self._members: list[Run] = []  # the first, and the last of the cadence under way
        self._worst = 0.0
        self._every = 0.0

    @property
    def start(self) -> int | None:
        """Number of the first repeated frame of the cadence under way; None where there is none."""
        return self._members[0].first if self._members else None

    def is_member(self, run: Run) -> bool:
        """Whether it is where the next repeat of the cadence under way is to be, or was the last one."""
        return bool(self._members) and run.count == 1 and self._off(run.first) <= SLACK

    def add(self, look: Look, run: Run | None) -> Iterator[Event]:
        """The cadence that is over with this frame.

        Args:
            look: of this frame.
            run: which ends before it.
        """
        if run is not None:
            self._runs.append(run)
            if run.count == 1:
                self._take(run)
        if self._members and look.index - self._members[-1].first > (MISSED + 1) * self._every + SLACK + 1:
            yield from self.end()

    def end(self) -> Iterator[Event]:
        """What was under way is over."""
        members, self._members = self._members, []
        if members:
            shown = [1] * max(1, round(self._every) - 2) + [2]
            detail = rates((1 - 1 / self._every) / self._frame_s, 1 / self._frame_s)
            sure = 1 - 0.5 * min(1.0, self._worst / LOOSE)
            yield Event("repeat", members[0].start_s, members[-1].end_s, unevenness(shown), sure, detail)

    def forget(self) -> None:
        """A dense cadence explains them."""
        self._members = []
        self._runs.clear()

    def _off(self, index: int) -> float:
        """Frames from where a repeat of the cadence under way is to be."""
        away = (index - self._members[-1].first) % self._every
        return min(away, self._every - away)

    def _take(self, run: Run) -> None:
        if self._members:
            if run.first - self._members[-1].first > self._every / 2 and self._off(run.first) <= SLACK:
                self._members[1:] = [run]
                self._worst = max(self._worst, run.stillness)
        elif (members := self._evenly_apart()) is not None:
            self._every = (members[-1].first - members[0].first) / (len(members) - 1)
            self._worst = max(member.stillness for member in members)
            self._members = [members[0], run]
            self._runs.clear()

    def _evenly_apart(self) -> list[Run] | None:
        """Some of the last single repeats, the newest among them."""
        single = [run for run in self._runs if run.count == 1]
        last = single.pop()
        for before in reversed(single):
            every = last.first - before.first
            if every * self._frame_s > MOST_DISTANCE_S:
                return None
            if every < LEAST_DISTANCE:
                continue
            chain = [last, before]
            while len(chain) < LEAST:
                wanted = chain[-1].first - every
                near = [run for run in single if abs(run.first - wanted) <= SLACK]
                if not near:
                    break
                chain.append(min(near, key=lambda run: run.stillness))
            if self._is_cadence(chain[::-1]):
                return chain[::-1]
        return None

    def _is_cadence(self, chain: list[Run]) -> bool:
        others = [run for run in self._runs if run.sure and run.first > chain[0].first and run not in chain]
        if len(chain) < LEAST:
            exact = len({b.first - a.first for a, b in pairwise(chain)}) == 1
            return len(chain) >= FEWEST and exact and not others and all(r.stillness <= STANDS_STILL for r in chain)
        alike = max(ALIKE, 2 * max(run.stillness for run in chain))
        strays = sum(run.stillness <= alike for run in others)
        return strays <= STRAY and sum(run.sure for run in chain) >= LEAST - 1
