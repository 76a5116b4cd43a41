"""How far a scene moves over a step that hardly changes the picture, and which way it goes before and after.

A picture that is shown again, coded anew, changes by its noise; one of a camera that turns about changes as little:

    shift of a block   2.0  2.1 [0.1] 4.0  2.1     shown again: on in the same direction
                       2.1  1.0 [0.1] -0.9 -2.0    a turn: back

Blocks count by what can be seen of their motion (`Flow.product`). It takes three flows, so only steps that are in doubt
are looked at so.
"""

import math
from typing import NamedTuple

import numpy as np

from qclip_ffmpeg.temporal.evidence import TINY, longer
from qclip_ffmpeg.temporal.flow import flow_of
from qclip_ffmpeg.temporal.looks import Look


class Moved(NamedTuple):
    """What a scene does over some steps, by the one before them and the one after."""

    steps: float
    """How far it moves, in the mean of the two: 0 where a picture is shown again."""
    onward: float
    """Cosine of the angle between the two: 1 where it goes on in the same direction, -1 where it turns back."""


def moved(before: Look, first: Look, last: Look, after: Look) -> Moved:
    """From `first` to `last`; `before` and `after` are the looks one step outside."""
    came, here, went = (flow_of(a.coarse, b.coarse) for a, b in ((before, first), (first, last), (last, after)))
    usual = np.asarray((came.shift + went.shift) / 2, np.float32)
    lengths = [float(here.product(shift, shift).sum()) for shift in (came.shift, went.shift)]
    along = float(here.product(came.shift, went.shift).sum())
    return Moved(1 + longer(here, usual), along / max(math.sqrt(max(lengths[0] * lengths[1], 0)), TINY))
