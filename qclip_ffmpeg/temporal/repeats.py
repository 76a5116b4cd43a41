"""Frames that are shown again: freezes, steady cadences, judder.

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

from qclip_ffmpeg.temporal.looks import Look
from qclip_ffmpeg.track import Event

MOVING = 0.8
"""Activity of a scene that moves, in 8-bit code values."""
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
PERIODS = (2, 3, 4, 5, 6)
"""Frames after which a dense cadence comes round: 30 in 60, 20 in 30, 18 in 24, 24 in 30 and 24 in 60, 25 in 30."""
ROUNDS = 4
"""Periods that must be seen."""
MIN_WINDOW = 24
MAX_WINDOW = 64
SEARCH_EVERY = 4
"""Frames."""
ON, OFF = 0.75, 0.06
"""Share of the rounds in which a place of the period is a repeat: at least, at most."""
MISFITS = 5
"""Of the last LATELY frames, from which on a cadence is over."""
LATELY = 16
SPARSE_LEAST = 7
SPARSE_MOST_S = 1.4
SPARSE_RUNS = 4
SPARSE_SLACK = 1.5
"""Frames by which the distances of a sparse cadence (24 in 25) may differ."""


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


@dataclass(slots=True)
class Cadence:
    """A steady pattern of repeated frames."""

    period: int
    repeated: frozenset[int]
    """Places in the period that are repeats."""
    start: int
    start_s: float
    end_s: float
    stillness: list[float]

    def expects(self, index: int) -> bool:
        return index % self.period in self.repeated

    def shown(self) -> list[int]:
        """How long each new frame of a period is shown, in frames."""
        new = sorted(set(range(self.period)) - self.repeated)
        return [b - a for a, b in pairwise([*new, new[0] + self.period])]


class Repeats:
    """Looks -> freeze, repeat and judder events.

    Args:
        frame_s: how long a frame is shown, on average, in seconds.
    """

    def __init__(self, frame_s: float) -> None:
        self._frame_s = frame_s
        self._near_s = max(NEAR_S, NEAR_FRAMES * frame_s)
        self._runs = Runs()
        self._flags: deque[bool] = deque(maxlen=MAX_WINDOW)  # of the frames before `_next`
        self._times_s: deque[float] = deque(maxlen=MAX_WINDOW)
        self._next = 0
        self._search_at = 0
        self._now_s = 0.0
        self._cadence: Cadence | None = None
        self._pending: list[Run] = []  # no part of a cadence so far
        self._sparse: list[Run] = []

    @property
    def since_s(self) -> float | None:
        """Since when the picture has stood still, if that is long enough for a freeze."""
        since_s = self._runs.since_s
        return since_s if since_s is not None and self._now_s - since_s >= FREEZE_S else None

    def add(self, look: Look, is_cut: bool = False) -> Iterator[Event]:
        """The events that are known to be over with this frame."""
        self._now_s = look.time_s
        run = self._runs.add(look, is_cut)
        if run is not None:
            yield from self._take(run)
        if self._runs.since_s is None:
            self._settle(look, run)
            yield from self._follow(look)
        yield from self._close_pending(look.time_s)

    def end(self) -> Iterator[Event]:
        """What was under way when the video ended."""
        if (run := self._runs.end()) is not None:
            yield freeze(run)
        if self._cadence is not None:
            yield self._cadence_event(self._cadence)
            self._cadence = None
        yield from self._close_pending(float("inf"))
        yield from self._close_sparse()

    def _take(self, run: Run) -> Iterator[Event]:
        length_s = run.end_s - run.start_s
        in_step = self._cadence is not None and all(self._cadence.expects(n) for n in range(run.first, run.last + 1))
        if length_s >= FREEZE_S - self._frame_s / 2 and not in_step:
            if self._cadence is not None:
                yield self._cadence_event(self._cadence)
                self._cadence = None
            yield freeze(run)
            return
        if not in_step:
            self._pending.append(run)
        if self._cadence is None and run.count == 1:
            yield from self._take_sparse(run)

    def _settle(self, look: Look, run: Run | None) -> None:
        """Note which of the frames up to this one were repeats."""
        while self._next <= look.index:
            self._flags.append(run is not None and run.first <= self._next <= run.last)
            self._times_s.append(look.time_s - (look.index - self._next) * self._frame_s)
            self._next += 1

    def _follow(self, look: Look) -> Iterator[Event]:
        """Go on with the cadence under way, or look for one."""
        flags = list(self._flags)
        if (cadence := self._cadence) is not None:
            first = self._next - len(flags)
            recent = range(max(first, self._next - LATELY), self._next)
            misfits = [n for n in recent if flags[n - first] != cadence.expects(n)]
            if len(misfits) < MISFITS:
                cadence.end_s = look.end_s
                return
            cadence.end_s = self._times_s[misfits[0] - first]
            self._cadence = None
            yield self._cadence_event(cadence)
            return
        if self._next >= self._search_at:
            self._search_at = self._next + SEARCH_EVERY
            self._begin(self._search(flags), look)

    def _begin(self, found: Cadence | None, look: Look) -> None:
        """A cadence that was found; runs that are part of it are no judder."""
        if found is not None:
            self._cadence = found
            found.end_s = look.end_s
            found.stillness = [r.stillness for r in self._pending if r.first >= found.start] or [STILL]
            self._pending = [r for r in self._pending if r.last < found.start]
            self._sparse = []

    def _search(self, flags: list[bool]) -> Cadence | None:
        for period in PERIODS:
            window = max(MIN_WINDOW, ROUNDS * period)
            if len(flags) < window:
                continue
            base = self._next - window
            counts = [[0, 0] for _ in range(period)]
            for n, flag in enumerate(flags[-window:], base):
                counts[n % period][flag] += 1
            shares = [on / (off + on) for off, on in counts]
            places = frozenset(place for place, share in enumerate(shares) if share >= ON)
            if 0 < len(places) < period and all(share >= ON or share <= OFF for share in shares):
                return self._begun(Cadence(period, places, base, 0.0, 0.0, []), flags)
        return None

    def _begun(self, cadence: Cadence, flags: list[bool]) -> Cadence:
        """The cadence from where it began."""
        first, start = self._next - len(flags), cadence.start
        misfits = 0
        for n in range(start - 1, first - 1, -1):
            misfits = 0 if flags[n - first] == cadence.expects(n) else misfits + 1
            if misfits > 1:
                break
            if not misfits:
                start = n
        while not cadence.expects(start):  # what is new in it began before
            start += 1
        if start - first < cadence.period:  # as far back as is known
            start = first
        cadence.start, cadence.start_s = start, self._times_s[start - first]
        return cadence

    def _cadence_event(self, cadence: Cadence) -> Event:
        share = len(cadence.repeated) / cadence.period
        return Event(
            "repeat",
            cadence.start_s,
            cadence.end_s,
            unevenness(cadence.shown()),
            sure(sum(cadence.stillness) / len(cadence.stillness)),
            rates((1 - share) / self._frame_s, 1 / self._frame_s),
        )

    def _take_sparse(self, run: Run) -> Iterator[Event]:
        """Single repeats far apart: a sparse cadence while their distances are the same."""
        if self._sparse:
            distance = run.first - self._sparse[-1].first
            steps = [b.first - a.first for a, b in pairwise(self._sparse)]
            usual = steps[-1] if steps else distance
            too_far = distance * self._frame_s > SPARSE_MOST_S
            if distance < SPARSE_LEAST or too_far or abs(distance - usual) > SPARSE_SLACK:
                yield from self._close_sparse()
        self._sparse.append(run)
        if len(self._sparse) == SPARSE_RUNS:
            self._pending = [r for r in self._pending if r.first < self._sparse[0].first]
        elif len(self._sparse) > SPARSE_RUNS:
            self._pending = [r for r in self._pending if r.first != run.first]

    def _close_sparse(self) -> Iterator[Event]:
        runs, self._sparse = self._sparse, []
        if len(runs) < SPARSE_RUNS:
            return
        every = (runs[-1].first - runs[0].first) / (len(runs) - 1)
        detail = rates((1 - 1 / every) / self._frame_s, 1 / self._frame_s)
        still = sum(r.stillness for r in runs) / len(runs)
        shown = [1] * (round(every) - 2) + [2]
        yield Event("repeat", runs[0].start_s, runs[-1].end_s, unevenness(shown), sure(still), detail)

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


def unevenness(shown: list[int]) -> float:
    """Variance over squared mean of how long frames are shown: 0 of an even cadence, 0.12 of 24 in 30."""
    mean = sum(shown) / len(shown)
    return min(1.0, sum((n - mean) ** 2 for n in shown) / len(shown) / mean**2)


def sure(stillness: float) -> float:
    """0.5 at the threshold, 1 where nothing moves at all."""
    return max(0.0, min(1.0, 1 - stillness / (2 * STILL)))


def rates(new_hz: float, shown_hz: float) -> str:
    """ "24 in 30": new frames a second in those shown."""
    return " in ".join(f"{rate:.2f}".rstrip("0").rstrip(".") for rate in (new_hz, shown_hz))
