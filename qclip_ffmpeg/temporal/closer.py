"""How far a scene moves over a step that hardly changes the picture, and which way it goes before and after.

A picture that is shown again, coded anew, changes by its noise; one of a camera that turns about changes as little:

    shift of a block   2.0  2.1 [0.1] 4.0  2.1     shown again: on in the same direction
                       2.1  1.0 [0.1] -0.9 -2.0    a turn: back

Blocks count by what can be seen of their motion (`Flow.product`). A flow takes half a millisecond, so only steps that
are in doubt are looked at so.
"""

import math

import numpy as np

from qclip_ffmpeg.temporal.evidence import TINY, longer
from qclip_ffmpeg.temporal.flow import Flow, flow_of
from qclip_ffmpeg.temporal.looks import Look


class Closer:
    """Some steps that hardly change the picture, looked at closely.

    Args:
        before: the look before `first`.
        first: before the steps.
        last: after them.
        after: the look after `last`.
    """

    def __init__(self, before: Look, first: Look, last: Look, after: Look) -> None:
        self._first, self._last = first, last
        self._came, self._went = flow_between(before, first), flow_between(last, after)

    @property
    def onward(self) -> float:
        """Cosine of the angle between motion before and after: 1 where it goes on, -1 where it turns back."""
        came, went = self._came.shift, self._went.shift
        lengths = [float(self._came.product(shift, shift).sum()) for shift in (came, went)]
        along = float(self._came.product(came, went).sum())
        return along / max(math.sqrt(max(lengths[0] * lengths[1], 0)), TINY)

    @property
    def moved(self) -> float:
        """How far the scene moves over the steps, in the mean of the step before and the one after: 0 of a repeat."""
        usual = np.asarray((self._came.shift + self._went.shift) / 2, np.float32)
        return 1 + longer(flow_between(self._first, self._last), usual)


def flow_between(before: Look, after: Look) -> Flow:
    return flow_of(before.coarse, after.coarse)
