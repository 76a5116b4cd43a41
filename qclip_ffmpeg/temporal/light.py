"""Light of the whole picture over time: black, fades, flicker.

The change of light from frame to frame is the median of the blocks' relative changes: an object that passes changes
some of them, a lamp or a gain changes all alike.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from qclip_ffmpeg.temporal.looks import Array, Look
from qclip_ffmpeg.track import Event

BLACK_SHARE = 0.98
"""Of the samples that must be black; FFmpeg's blackdetect asks for the same."""
BLACK_MARGIN = 12.0
"""8-bit code values above black that count as black: noise and the ripples of an encoder."""
LONG_BLACK_S = 1.0

PLAIN = 4.0
"""Standard deviation of the blocks of a plain picture, in 8-bit code values."""
WHITE = 215.0
MIN_FADE_S = 0.2
LONGEST_FADE_S = 4.0
LEVEL = 0.2
"""Where a step is less than this share of the fade's mean step, the fade begins or ends."""
MOST_AT_ONCE = 0.5
"""Of a fade, in one step: more is a cut."""

MIN_LIGHT = 10.0
"""Of a block over black, for its relative change to mean something."""
MIN_BLOCKS = 30
SWING = 0.02
"""Relative change of light from one turning point to the next. A flicker of 3 % has swings of 6 %."""
SWINGS = 6
"""Turns of it in a row: three periods."""
SWING_S = 0.3
"""From turn to turn, at most: 1.7 Hz and faster."""
FLASH = 0.06
"""Of a swing that comes back within FLASH_S."""
FLASH_S = 0.16
FLASH_RETURN = 0.6
"""Share of a flash that is undone by the swing after it, at least."""
FLASH_EVEN = 0.35
"""Spread of the blocks' changes over their median: a flash lights all of the picture."""
BAD_SWING = 0.2


class Black:
    """Looks -> black events."""

    def __init__(self) -> None:
        self._start_s: float | None = None
        self._share = 1.0

    def add(self, look: Look) -> Iterator[Event]:
        if look.black_share >= BLACK_SHARE:
            if self._start_s is None:
                self._start_s, self._share = look.time_s, 1.0
            self._share = min(self._share, look.black_share)
        else:
            yield from self.end(look.time_s)

    def end(self, end_s: float) -> Iterator[Event]:
        if self._start_s is not None:
            sure = 0.5 + 0.5 * (self._share - BLACK_SHARE) / (1 - BLACK_SHARE)
            yield Event("black", self._start_s, end_s, min(1.0, (end_s - self._start_s) / LONG_BLACK_S), sure)
        self._start_s = None

    @property
    def since_s(self) -> float | None:
        """Since when it has been black; None where it is not."""
        return self._start_s


@dataclass(frozen=True, slots=True)
class Moment:
    """What fades are found by."""

    time_s: float
    mean: float
    light: Array


class Fades:
    """Looks -> fade events. Holds the block means of LONGEST_FADE_S."""

    def __init__(self, black: float) -> None:
        self._black = black
        self._past: deque[Moment] = deque()
        self._rising: list[Moment] = []  # of a fade in, from the last plain picture on
        self._plain = False

    def add(self, look: Look, is_cut: bool) -> Iterator[Event]:
        mean = float(look.light.mean())
        now = Moment(look.time_s, mean, look.light)
        plain = float(look.light.std()) < PLAIN and (mean <= self._black + BLACK_MARGIN or mean >= WHITE)
        if look.first or is_cut:
            self._past.clear()
            self._rising = []
        if plain:
            if not self._plain and (event := fade([*self._past, now][::-1], backward=True)) is not None:
                yield event
            self._rising = [now]
            self._past.clear()
        elif self._rising:
            self._rising.append(now)
            yield from self._risen(look.end_s)
        self._plain = plain
        self._past.append(now)
        while self._past and now.time_s - self._past[0].time_s > LONGEST_FADE_S:
            self._past.popleft()

    def _risen(self, now_s: float, at_end: bool = False) -> Iterator[Event]:
        """A fade in, once it is over."""
        rising = self._rising
        levels = [abs(m.mean - rising[0].mean) for m in rising]
        steps = np.diff(levels)
        over = len(steps) > 3 and bool((steps[-3:] < LEVEL * max(levels) / len(steps)).all())
        if over or at_end or now_s - rising[0].time_s > LONGEST_FADE_S:
            self._rising = []
            if (event := fade(rising, backward=False)) is not None:
                yield event

    def end(self, end_s: float) -> Iterator[Event]:
        if self._rising:
            yield from self._risen(end_s, at_end=True)


def fade(moments: Sequence[Moment], backward: bool) -> Event | None:
    """The fade that begins with a plain picture, the first of `moments`, in their order; None where there is none."""
    levels = np.abs(np.array([m.mean for m in moments]) - moments[0].mean)
    steps = np.diff(levels)
    if len(steps) < 4:
        return None
    last = 0
    for n in range(1, len(levels)):
        if levels[n] <= levels[last]:
            if n - last > 2:
                break
            continue
        # What goes on rising, but hardly, is the scene after the fade.
        if n >= 4 and levels[n] - levels[max(0, n - 3)] < 3 * LEVEL * levels[n] / n:
            break
        last = n
    first = next((n for n in range(last) if steps[n] > LEVEL * levels[last] / max(1, last)), 0)
    length = last - first
    lasted_s = abs(moments[last].time_s - moments[first].time_s)
    if length < 4 or lasted_s < MIN_FADE_S or levels[last] < 2 * PLAIN:
        return None
    if steps[first:last].max() > MOST_AT_ONCE * levels[last]:
        return None
    middle, full = (moments[n].light - moments[0].light for n in ((first + last) // 2, last))
    a, b = middle - middle.mean(), full - full.mean()
    alike = float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + 1e-6))
    if alike < 0.5:
        return None
    times_s = sorted((moments[first].time_s, moments[last].time_s))
    return Event("fade", times_s[0], times_s[1], 1.0, max(0.5, min(1.0, alike)))


@dataclass(frozen=True, slots=True)
class Turn:
    """A turning point of the light."""

    time_s: float
    value: float
    """Logarithm of the light, from an arbitrary zero."""


class Flicker:
    """Looks -> flicker events: SWINGS fast swings in a row, or a flash.

    The light is followed as a zigzag: a turn is a point from which it has come back by SWING.
    """

    def __init__(self, black: float) -> None:
        self._black = black
        self._light: Array | None = None
        self._reset()

    def _reset(self) -> None:
        self._value = 0.0
        self._path: deque[tuple[float, float, float]] = deque(maxlen=64)  # (time_s, value, unevenness of the step)
        self._turns: list[Turn] = []
        self._extreme: Turn | None = None
        self._direction = 0
        self._swings = 0.0
        self._count = 0
        self._start_s = 0.0
        self._flash: list[tuple[Turn, Turn, Turn]] = []

    def add(self, look: Look, is_cut: bool) -> Iterator[Event]:
        before, self._light = self._light, look.light
        if before is None or look.first or is_cut:
            yield from self.end(look.time_s)
            self._path.append((look.time_s, 0.0, 0.0))
            self._extreme = Turn(look.time_s, 0.0)
            self._turns = [self._extreme]
            return
        step, uneven = light_step(before, look.light, self._black)
        self._value += step
        self._path.append((look.time_s, self._value, uneven))
        yield from self._zigzag(Turn(look.time_s, self._value))

    def _zigzag(self, now: Turn) -> Iterator[Event]:
        assert self._extreme is not None
        extreme = self._extreme
        if self._direction == 0:
            if abs(now.value - self._turns[-1].value) > SWING:
                self._direction = 1 if now.value > self._turns[-1].value else -1
                self._turns[-1] = self._left(self._turns[-1], now)
                self._extreme = now
            return
        if (now.value - extreme.value) * self._direction >= 0:
            self._extreme = now
        elif abs(now.value - extreme.value) > SWING:
            yield from self._turned(extreme)
            self._direction = -self._direction
            self._extreme = now
        if now.time_s - self._turns[-1].time_s > 2 * SWING_S and self._count:
            yield from self._over()

    def _left(self, turn: Turn, now: Turn) -> Turn:
        """When the light left the value of a turn for good."""
        reach = 0.25 * abs(now.value - turn.value)
        near = [t for t, v, _ in self._path if turn.time_s <= t < now.time_s and abs(v - turn.value) <= reach]
        return Turn(max(near, default=turn.time_s), turn.value)

    def _turned(self, turn: Turn) -> Iterator[Event]:
        last = self._turns[-1]
        begun = self._left(last, turn)
        fast = turn.time_s - begun.time_s <= SWING_S
        if not fast or (self._count == 0 and begun.time_s > last.time_s):
            yield from self._over()
        if fast:
            if self._count == 0:
                self._start_s = begun.time_s
            self._count += 1
            self._swings += abs(turn.value - last.value)
        self._turns = [*self._turns[-2:], turn]

    def _over(self) -> Iterator[Event]:
        """The swings so far were all."""
        if self._count >= SWINGS:
            mean = self._swings / self._count
            end_s = self._turns[-1].time_s
            yield Event("flicker", self._start_s, end_s, min(1.0, mean / BAD_SWING), min(1.0, mean / (2 * SWING)))
        self._count, self._swings = 0, 0.0

    def end(self, end_s: float) -> Iterator[Event]:
        if self._extreme is not None and self._count:
            self._turns.append(self._extreme)
            yield from self._over()
        self._reset()

    @property
    def since_s(self) -> float | None:
        """Since when it has flickered; None where it does not."""
        return self._start_s if self._count >= SWINGS else None


def light_step(before: Array, after: Array, black: float) -> tuple[float, float]:
    """(relative change of light, how far the blocks are apart in it): median, and median distance from it."""
    a, b = before - black, after - black
    both = a + b
    lit = both > 2 * MIN_LIGHT
    if np.count_nonzero(lit) < MIN_BLOCKS:
        return 0.0, 1.0
    relative = 2 * (b - a)[lit] / both[lit]
    step = float(np.median(relative))
    return step, float(np.median(np.abs(relative - step)))
