"""Where scenes begin: the picture changes far more than around it, into one unlike it, and does not come back.

Everything is judged on block means, so that motion within a block, noise and encoding matter little. Where much moves
already, a cut does not change them far more than what is beside it. But motion only takes what is in the picture
elsewhere, and so leaves its tones nearly as they are; few cuts do.
"""

from collections import deque
from collections.abc import Iterator

import numpy as np

from qclip_ffmpeg.temporal.looks import Array, Look
from qclip_ffmpeg.track import Event

AHEAD = 2
"""Looks after a frame that are waited for before it is judged."""
UNLIKE = 0.2
"""1 less the correlation of the blocks before and after: at least. Two views of one scene have less."""
CLEAR = 3.4
"""Unlikeness times the change over the largest change beside it, from which on it is a cut whatever its tones are."""
OVER_BESIDE = 1.5
"""Else: the change over the largest change beside it, at least."""
OTHER_TONES = 4.5
"""And unlikeness times the mean change of the tones, in 8-bit code values, at least. A jerked camera of which some
frames are left out, which is the most that motion does, has 2.7."""
MIN_CHANGE = 5.0
"""Mean change of the blocks against each other, in 8-bit code values."""
STAYS = 0.6
"""Of the change, what is left of it AHEAD frames on; of a flash nothing is."""
PLAIN = 2.5
"""Standard deviation of the blocks of a plain picture, in 8-bit code values: none of a scene can be told by it."""


class Cuts:
    """Looks -> (look, is it the first of a scene), AHEAD looks later. Holds AHEAD + 3 looks."""

    def __init__(self) -> None:
        self._looks: deque[Look] = deque(maxlen=2 * AHEAD + 1)
        self._changes: deque[float] = deque(maxlen=2 * AHEAD + 1)
        """Of each look to the one before it."""
        self._waiting = 0

    def add(self, look: Look) -> Iterator[tuple[Look, Event | None]]:
        """The look that can be judged now, and the cut before it."""
        before = self._looks[-1] if self._looks else None
        self._changes.append(0.0 if before is None or look.first else centred_change(before.light, look.light))
        self._looks.append(look)
        self._waiting += 1
        if self._waiting > AHEAD:
            yield self._judge()

    def end(self) -> Iterator[tuple[Look, Event | None]]:
        """The last looks."""
        while self._waiting:
            yield self._judge()

    def _judge(self) -> tuple[Look, Event | None]:
        at = len(self._looks) - self._waiting
        looks = list(self._looks)
        self._waiting -= 1
        look = looks[at]
        if at == 0 or look.first:
            return look, None
        changes = list(self._changes)
        here = changes.pop(at)
        if here < MIN_CHANGE:
            return look, None
        over = here / max([1.0, *changes])
        before = looks[at - 1]
        apart = unlikeness(before.light, look.light)
        if apart < UNLIKE or min(before.light.std(), look.light.std()) < PLAIN:
            return look, None
        if any(centred_change(before.light, after.light) < STAYS * here for after in looks[at + 1 :]):
            return look, None
        clearness = apart * over / CLEAR
        if clearness < 1 and over >= OVER_BESIDE:
            clearness = apart * float(np.abs(look.tones() - before.tones()).mean()) / OTHER_TONES
        if clearness < 1:
            return look, None
        return look, Event("cut", look.time_s, look.end_s, min(1.0, apart), min(1.0, clearness / 2))


def centred_change(before: Array, after: Array) -> float:
    """Mean absolute change of the blocks, without the change of the whole."""
    moved = after - before
    count = len(moved)
    return float(np.abs(moved - moved.sum() / count).sum() / count)


def unlikeness(before: Array, after: Array) -> float:
    """1 less the correlation, 0 to 2."""
    a, b = before - before.mean(), after - after.mean()
    return 1.0 - float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + 1e-6))
