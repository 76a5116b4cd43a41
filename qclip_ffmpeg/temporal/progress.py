"""How far a frame goes on the way around it: what tells a frame that is shown again from a slow one.

    picture     0     1     2     2     3     4     5
    progress                0.5   0     0.5   0.33

The way is that from the frame two before it to the one after it. Alike steps have a third of it each.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qclip_ffmpeg.temporal.looks import Look

REACH = 4
"""Pictures that tell the progress of the third."""
FLOOR = 0.2
"""Root mean square of the way of a step, in 8-bit code values, of which nothing is to be seen."""
LEAST_PROGRESS, MOST_PROGRESS = -0.2, 1.0
"""What a step has beyond that is the encoder's doing."""

Picture = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Step:
    """A frame and how it differs from the ones around it."""

    index: int
    time_s: float
    progress: float
    activity: float


class Progress:
    """Looks -> Steps, one look later. Holds REACH looks."""

    def __init__(self) -> None:
        self._looks: deque[Look] = deque(maxlen=REACH)

    def add(self, look: Look) -> Step | None:
        """The step to the frame before this one; None where nothing is known of it."""
        if look.first:
            self._looks.clear()
        self._looks.append(look)
        if len(self._looks) < REACH:
            return None
        here = self._looks[-2]
        return Step(here.index, here.time_s, progress([n.coarse for n in self._looks]), here.activity)


def progress(pictures: Sequence[Picture]) -> float:
    """Of REACH pictures, (height, width) in 8-bit code values: the share of the third in the way to the last.

    The step to the third picture is projected on the way from the first to the last, less what all of it gets lighter
    or darker by. What coding adds to each of the four pictures is in the step or in the way, but not in both: none of
    it is in their product.
    """
    first, before, here, after = pictures
    step, way = (here - before).ravel(), (after - first).ravel()
    count = step.size
    means = float(step.sum()) / count, float(way.sum()) / count
    along = float(step @ way) / count - means[0] * means[1]
    length = max(0.0, float(way @ way) / count - means[1] ** 2)  # rounding alone may make it less
    return max(LEAST_PROGRESS, min(MOST_PROGRESS, along / (length + FLOOR**2)))
