"""Frames that are shown again: freezes and judder; steady cadences are told from them."""

from collections.abc import Iterator
from itertools import pairwise

from qclip_ffmpeg.temporal.cadence import FOLDED, Cadences, unevenness
from qclip_ffmpeg.temporal.looks import Look
from qclip_ffmpeg.temporal.progress import Progress
from qclip_ffmpeg.temporal.runs import LOOSE, Run, Runs
from qclip_ffmpeg.temporal.sparse import SparseCadence
from qclip_ffmpeg.track import Event

FREEZE_S = 0.2
VERY_STILL = 0.15
"""Activity of a run over that beside it, at most, where a frame less will do: encoders make the last repeated frame the
first new one."""
NEAR_S = 0.6
NEAR_FRAMES = 8
"""Runs this close, the longer of both, belong together."""
MOST_PENDING = 500
"""More runs are told as they are, so that not all of a long video are held."""
JUDDER_RUNS = 3
MOST_HELD = 2
"""Repeats of a longer run are a freeze whatever is near to it."""
UNEVEN = 0.03
"""Variance over squared mean of how long frames are shown, at least: what is even is the rest of a cadence."""


class Repeats:
    """Looks -> freeze, repeat and judder events.

    Args:
        frame_s: how long a frame is shown, on average, in seconds.
    """

    def __init__(self, frame_s: float) -> None:
        self._frame_s = frame_s
        self._near_s = max(NEAR_S, NEAR_FRAMES * frame_s)
        self._wait_s = max(self._near_s, FOLDED[-1] * frame_s)  # until a cadence is known
        self._runs = Runs()
        self._progress = Progress()
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
        run = self._runs.add(look, is_cut)
        step = self._progress.add(look)
        yield from self._cadences.add(look, step)
        if step is not None:
            yield from self._sparse.add(step)
        if (dense := self._cadences.current) is not None:
            self._sparse.forget()
        starts = [start for start in (dense.start if dense else None, self._sparse.start) if start is not None]
        if starts:  # what was taken for judder while nobody knew of the cadence
            self._pending = [run for run in self._pending if run.last < min(starts)]
        if run is not None and run.sure:
            yield from self._take(run)
        yield from self._close_pending(look.time_s)

    def end(self) -> Iterator[Event]:
        """What was under way when the video ended."""
        if (run := self._runs.end()) is not None and not run.jumped:
            yield freeze(run)
        yield from self._cadences.end()
        yield from self._sparse.end()
        yield from self._close_pending(float("inf"))

    def _take(self, run: Run) -> Iterator[Event]:
        dense = self._cadences.current
        in_step = dense is not None and all(dense.expects(n) for n in range(run.first, run.last + 1))
        if in_step or self._sparse.is_member(run):
            return
        if run.count > MOST_HELD and self._is_freeze(run):
            yield freeze(run)
        else:
            self._pending.append(run)

    def _is_freeze(self, run: Run) -> bool:
        short_s = min(FREEZE_S / 4, self._frame_s if run.stillness <= VERY_STILL else self._frame_s / 2)
        return run.end_s - run.start_s > FREEZE_S - short_s - 1e-6 and not run.jumped

    def _close_pending(self, now_s: float) -> Iterator[Event]:
        """Runs that nothing is near to any more: judder where there are several."""
        if not self._pending or (now_s - self._pending[-1].end_s < self._wait_s and len(self._pending) < MOST_PENDING):
            return
        runs, self._pending = self._pending, []
        groups: list[list[Run]] = []
        for run in runs:
            if groups and run.start_s - groups[-1][-1].end_s < self._near_s:
                groups[-1].append(run)
            else:
                groups.append([run])
        for group in groups:
            if len(group) >= JUDDER_RUNS:
                if (event := judder(group)).severity >= UNEVEN:
                    yield event
            else:
                yield from (freeze(run) for run in group if self._is_freeze(run))


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
    return max(0.0, min(1.0, 1 - stillness / (2 * LOOSE)))
