"""Where there is no picture: black, and fades to and from black and white."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from qclip_ffmpeg.temporal.looks import Look
from qclip_ffmpeg.track import Event

BLACK_SHARE = 0.98
"""Of the samples that must be black; FFmpeg's blackdetect asks for the same."""
BLACK_MARGIN = 12.0
"""8-bit code values above black that count as black: noise and the ripples of an encoder."""
LONG_BLACK_S = 1.0

WHITE = 215.0
WHITE_LIMITED, WHITE_FULL = 235.0, 255.0
"""Nominal, in 8-bit code values."""
STRAIGHT = (0.25, 0.75)
"""Shares of the light between which a fade is taken for a straight line: where it meets none and all of it, it begins
and ends. The first frames of a slow fade are too much like the picture, and the last ones like black, to be told."""
FARTHEST = 0.25
"""Of the length of what is told, how far it may lie beyond."""
MIN_FADE_S = 0.2
MIN_FADE = 8.0
"""Change of the mean over a fade, in 8-bit code values."""
LONGEST_FADE_S = 4.0
LEVEL = 0.2
"""Where a step is less than this share of the fade's mean step, the fade begins or ends."""
MOST_AT_ONCE = 0.5
"""Of a fade, in one step: more is a cut."""


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


class Fades:
    """Looks -> fade events. Holds the means of LONGEST_FADE_S."""

    def __init__(self, black: float) -> None:
        self._black, self._white = black, WHITE_LIMITED if black else WHITE_FULL
        self._since_s = 0.0  # of this shot
        self._past: deque[Moment] = deque()
        self._rising: list[Moment] = []  # of a fade in, from the last plain picture on
        self._plain = False

    def add(self, look: Look, is_cut: bool) -> Iterator[Event]:
        mean = look.mean
        now = Moment(look.time_s, mean)
        plain = look.plain and (mean <= self._black + BLACK_MARGIN or mean >= WHITE)
        if look.first or is_cut:
            self._past.clear()
            self._rising = []
            self._since_s = look.time_s
        if plain:
            if not self._plain and (event := self._fade([*self._past, now][::-1])) is not None:
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
            if (event := self._fade(rising)) is not None:
                yield event

    def end(self) -> Iterator[Event]:
        if self._rising:
            yield from self._risen(self._rising[-1].time_s, at_end=True)

    def _fade(self, moments: Sequence[Moment]) -> Event | None:
        plain_luma = max(self._white, moments[0].mean) if moments[0].mean >= WHITE else self._black
        event = fade(moments, plain_luma)
        if event is None or event.start_s >= self._since_s:
            return event
        return msgspec.structs.replace(event, start_s=self._since_s)


def fade(moments: Sequence[Moment], plain_luma: float) -> Event | None:
    """The fade that begins with a plain picture, the first of `moments`, in their order; None where there is none.

    Args:
        moments: backward in time where the picture fades out.
        plain_luma: mean luma of where it comes from, in 8-bit code values.
    """
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
    if length < 4 or lasted_s < MIN_FADE_S or levels[last] < MIN_FADE:
        return None
    if steps[first:last].max() > MOST_AT_ONCE * levels[last]:
        return None
    smooth = float((steps[first:last] > 0).mean())
    return Event("fade", *span_s(moments[first : last + 1], plain_luma), 1.0, smooth)


def span_s(moments: Sequence[Moment], plain_luma: float) -> tuple[float, float]:
    """When a fade begins and ends: with its first frame, and with the first that is none of it; in s.

    Args:
        moments: all that is told of it, in the order that `fade` has.
        plain_luma: as there.
    """
    times_s = [m.time_s for m in moments]
    light = np.maximum.accumulate(np.abs(np.array([m.mean for m in moments]) - plain_luma))
    less, more = STRAIGHT
    less_at, more_at = np.interp(STRAIGHT, light / light[-1], np.arange(len(light)))
    slope = (more_at - less_at) / (more - less)
    told = np.array([0, len(light) - 1])
    reach = FARTHEST * told[1]
    met = np.clip([less_at - less * slope, more_at + (1 - more) * slope], told - reach, told + reach)
    backward = times_s[-1] < times_s[0]  # the line meets all of the light one frame before the first that has less
    start_s, end_s = sorted(time_at(times_s, round(at) - backward) for at in met)
    return start_s, end_s


def time_at(times_s: Sequence[float], n: int) -> float:
    """The time of frame n, which may lie before the first and behind the last, at the usual distance."""
    near = min(max(n, 0), len(times_s) - 1)
    return times_s[near] + (n - near) * float(np.median(np.diff(times_s)))
