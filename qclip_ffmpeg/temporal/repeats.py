"""Frames that are shown again: freezes and judder; steady cadences are told from them.

After encoding a repeated frame is not the same to the bit. It is a step that is small, light and all, beside the steps
around it:

    activity   10 11  9  .1 10 11 10  .1  9 11        24 frames a second in 30: every fifth step is still
    activity   10 11  9  .1 .1 .1 .1  .1 24  9        a freeze, and a jump where it ends
    activity   10  8  5   3  2  1 .5  .2 .1 .1        a camera that comes to rest: no step falls off from the one before

So a run of still steps counts only with a sharp edge on both sides, in a scene that moves.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from qclip_ffmpeg.temporal.cadence import MOVING, Cadences, SparseCadence, unevenness
from qclip_ffmpeg.temporal.looks import Look
from qclip_ffmpeg.track import Event

STILL = 0.35
"""Activity of a repeated frame over that of the steps beside it, at most."""
STEADY = 0.5
"""Of the steps before, what the last one before a run must have: motion that dies down has less."""
REMEMBERED = 6
"""Steps that say how lively the scene is: the second highest of them, so that one jump is not taken for motion."""
FREEZE_S = 0.2
NEAR_S = 0.6
NEAR_FRAMES = 8
"""Runs this close, the longer of both, belong together."""
JUDDER_RUNS = 3
UNEVEN = 0.03
"""Variance over squared mean of how long frames are shown, at least: what is even is the rest of a cadence."""
END_FREEZE_S = 0.5
END_STILL = 0.1
"""A freeze that lasts to the end has one sharp edge only: it must be longer, and stiller."""


@dataclass(frozen=True, slots=True)
class Run:
    """Frames that are the one before again."""

    first: int
    last: int
    start_s: float
    end_s: float
    """When the next new frame is shown."""
    stillness: float
    """Activity within over activity beside it."""

    @property
    def count(self) -> int:
        return self.last - self.first + 1


class Runs:
    """Looks -> Runs, each when it is over."""

    @property
    def since_s(self) -> float | None:
        """When the run under way began; None where there is none."""
        return self._run[0].time_s if self._run else None

    def __init__(self) -> None:
        self._moving: deque[float] = deque(maxlen=REMEMBERED)
        self._run: list[Look] = []
        self._edge = 0.0  # activity beside the run under way
        self._last_moving = 0.0

    def add(self, look: Look, is_cut: bool) -> Run | None:
        """The run that ends with the frame before this one, if one does."""
        if look.first or look.plain:
            self._moving.clear()
            self._run = []
            return None
        if self._run:
            if look.change < STILL * self._edge:
                self._run.append(look)
                return None
            ended = self._ended(look)
            self._remember(look, is_cut)
            return ended
        lively = sorted(self._moving)[-2] if len(self._moving) > 2 else 0.0
        edge = min(lively, self._last_moving)
        sharp = edge >= STEADY * lively and look.change < STILL * edge
        if lively >= MOVING and sharp and not is_cut:
            self._run, self._edge = [look], edge
            return None
        self._remember(look, is_cut)
        return None

    def _remember(self, look: Look, is_cut: bool) -> None:
        if is_cut:
            self._moving.clear()
            self._last_moving = 0.0
            return
        self._moving.append(look.activity)
        self._last_moving = look.activity

    def _ended(self, after: Look) -> Run | None:
        """The run before a look, unless it ends softly: then it was motion that died down."""
        run, self._run = self._run, []
        most = max(look.change for look in run)
        if most < STILL * after.activity:
            edge = min(self._edge, after.activity)
            return Run(run[0].index, run[-1].index, run[0].time_s, after.time_s, most / edge)
        self._moving.extend(look.activity for look in run)
        self._last_moving = run[-1].activity
        return None

    def end(self) -> Run | None:
        """A run that lasts to the end of the video."""
        if not self._run:
            return None
        run, self._run = self._run, []
        most = max(look.change for look in run)
        if most > END_STILL * self._edge or run[-1].end_s - run[0].time_s < END_FREEZE_S:
            return None
        return Run(run[0].index, run[-1].index, run[0].time_s, run[-1].end_s, most / self._edge)


class Repeats:
    """Looks -> freeze, repeat and judder events.

    Args:
        frame_s: how long a frame is shown, on average, in seconds.
    """

    def __init__(self, frame_s: float) -> None:
        self._frame_s = frame_s
        self._near_s = max(NEAR_S, NEAR_FRAMES * frame_s)
        self._runs = Runs()
        self._cadences = Cadences(frame_s)
        self._sparse = SparseCadence(frame_s)
        self._now_s = 0.0
        self._pending: list[Run] = []  # no part of a cadence so far

    @property
    def since_s(self) -> float | None:
        """Since when the picture has stood still, if that is long enough for a freeze."""
        since_s = self._runs.since_s
        return since_s if since_s is not None and self._now_s - since_s >= FREEZE_S else None

    def add(self, look: Look, is_cut: bool = False) -> Iterator[Event]:
        """The events that are known to be over with this frame."""
        self._now_s = look.time_s
        yield from self._cadences.add(look)
        yield from self._sparse.add(look)
        if (dense := self._cadences.current) is not None:
            self._sparse.forget()
        starts = [start for start in (dense.start if dense else None, self._sparse.start) if start is not None]
        if starts:  # what was taken for judder while nobody knew of the cadence
            self._pending = [run for run in self._pending if run.last < min(starts)]
        if (run := self._runs.add(look, is_cut)) is not None:
            yield from self._take(run)
        yield from self._close_pending(look.time_s)

    def end(self) -> Iterator[Event]:
        """What was under way when the video ended."""
        if (run := self._runs.end()) is not None:
            yield freeze(run)
        yield from self._cadences.end()
        yield from self._sparse.end()
        yield from self._close_pending(float("inf"))

    def _take(self, run: Run) -> Iterator[Event]:
        dense = self._cadences.current
        in_step = dense is not None and all(dense.expects(n) for n in range(run.first, run.last + 1))
        if in_step or self._sparse.is_member(run.first):
            return
        if run.end_s - run.start_s >= FREEZE_S - self._frame_s / 2:
            yield freeze(run)
        else:
            self._pending.append(run)

    def _close_pending(self, now_s: float) -> Iterator[Event]:
        """Runs that nothing is near to any more: judder where there are several."""
        if not self._pending or now_s - self._pending[-1].end_s < self._near_s:
            return
        runs, self._pending = self._pending, []
        groups: list[list[Run]] = []
        for run in runs:
            if groups and run.start_s - groups[-1][-1].end_s < self._near_s:
                groups[-1].append(run)
            else:
                groups.append([run])
        for group in groups:
            if len(group) >= JUDDER_RUNS and (event := judder(group)).severity >= UNEVEN:
                yield event


def freeze(run: Run) -> Event:
    return Event("freeze", run.start_s, run.end_s, min(1.0, run.end_s - run.start_s), sure(run.stillness))


def judder(runs: list[Run]) -> Event:
    """From the first repeated frame to the first new one after the last."""
    shown: list[int] = []
    for run, after in pairwise([*runs, None]):
        assert run is not None
        shown.append(1 + run.count)
        if after is not None:
            shown += [1] * (after.first - run.last - 2)
    still = sum(run.stillness for run in runs) / len(runs)
    return Event("judder", runs[0].start_s, runs[-1].end_s, unevenness(shown), sure(still))


def sure(stillness: float) -> float:
    """0.5 at the threshold, 1 where nothing moves at all."""
    return max(0.0, min(1.0, 1 - stillness / (2 * STILL)))
