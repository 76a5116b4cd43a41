"""What speaks for a dropped frame: figures of how far blocks move over one step and over the steps beside it.

    shift of a block   2.0  2.1 [4.1] 2.0  2.1     usual: 2.05; the step is 1.0 of it longer
                       2.0  2.5 [3.5] 4.0  4.4     usual: 3.2; 0.1 longer, the camera speeds up

Blocks count by what can be seen of their motion (`Flow.product`). "Off" are mean squared distances over the mean square
of the usual shift; figures that spread over decades are given as natural logarithms.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qclip_ffmpeg.temporal.flow import Flow
from qclip_ffmpeg.temporal.looks import Array

BESIDE = (-2, -1, 1, 2)
"""Steps whose shifts are asked for; 0 is the one that is judged."""
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
MOST_SAY = 2.0
"""Of what the median block has to say, the most that a block has: the blocks of a fence have the strongest slopes, and
are followed to the wrong bar together."""
LEAST_LENGTH = 0.02
"""Samples, of whichever picture the flow is of, added to lengths before they are held against each other."""
WHOLE_LENGTH = 0.05
"""The same of the picture as a whole."""
TINY = 1e-3


@dataclass(frozen=True, slots=True)
class Changes:
    """What is known of a step before its blocks are followed, from how much of the picture changes."""

    livelier: float
    """Activity of the step over the highest of the three on either side."""
    unlike: float
    """Activity of the weakest of these over their mean."""
    one: float
    """Mean change of the coarse picture over a step beside it, in 8-bit code values."""
    two: float
    """The same over two steps at once."""
    here: float
    """The same over this step."""

    @property
    def farther(self) -> float:
        """Where the step lies between one (0) and two (1)."""
        return (self.here - self.one) / max(self.two - self.one, 0.02 * self.one + 0.01)

    def figures(self) -> list[float]:
        one, two, here = (max(change, TINY) for change in (self.one, self.two, self.here))
        shares = [self.livelier + 0.01, self.unlike + 0.01, here / one, here / two, two / one]
        return [float(np.clip(self.farther, -1, 3)), *np.log(shares).tolist()]


def usual_of(beside: Mapping[int, Array]) -> Array:
    """What the shifts (rows, columns, 2) of the step should be, by those beside it."""
    return np.asarray((beside[-1] + beside[1]) / 3 + (beside[-2] + beside[2]) / 6, np.float32)


def evened(flow: Flow, usual: Array) -> Flow:
    """The flow with slopes made smaller where a block would say more than MOST_SAY of usual shifts."""
    say = np.maximum(flow.product(usual, usual), 0)
    most = MOST_SAY * float(np.median(say[say > 0])) if (say > 0).any() else 0.0
    share = np.asarray(np.minimum(say, most) / np.maximum(say, 1e-9), np.float32)
    xx, yy, xy = flow.slopes
    return replace(flow, slopes=(share * xx, share * yy, share * xy))


def longer(flow: Flow, usual: Array) -> float:
    """By how much a flow is longer than the usual shifts, over them: 0 as usual, 1 twice as far."""
    total = max(float(flow.product(usual, usual).sum()), TINY)
    return float(flow.product(usual, flow.shift - usual).sum()) / total


def standing_out(flow: Flow, beside: Mapping[int, Array]) -> tuple[float, float]:
    """Natural logarithms of the length of a step over the longer one of the two beside it: of the median block's
    lengths, and the median of the blocks' ratios."""
    here, before, after = (lengths_of(shift) for shift in (flow.shift, beside[-1], beside[1]))
    longest = max(middle(flow, before), middle(flow, after))
    whole = (middle(flow, here) + LEAST_LENGTH) / (longest + LEAST_LENGTH)
    ratio = middle(flow, (here + LEAST_LENGTH) / (np.maximum(before, after) + 3 * LEAST_LENGTH))
    return float(np.log(whole)), float(np.log(ratio))


def middle(flow: Flow, values: Any) -> float:
    """Median of a value of every block (rows, columns), by how clearly its motion is seen."""
    return quantile(flow, values, 0.5)


def quantile(flow: Flow, values: Any, share: float) -> float:
    """The value below which that share of the blocks lies, as `middle`."""
    xx, yy, _ = flow.slopes
    return quantiles(values.ravel(), ((xx + yy) / flow.doubt).ravel(), (share,))[0]


def whole_shift(flow: Flow, shift: Array) -> Array:
    """The one shift (2,) that blocks of such shifts (rows, columns, 2) have in common: least squares, by what is seen
    of them."""
    xx, yy, xy = (slope / flow.doubt for slope in flow.slopes)
    seen = np.array([[xx.sum(), xy.sum()], [xy.sum(), yy.sum()]], np.float64) + TINY * np.eye(2)
    x, y = shift[..., 0], shift[..., 1]
    return np.asarray(np.linalg.solve(seen, [(xx * x + xy * y).sum(), (xy * x + yy * y).sum()]), np.float32)


def of_the_whole(flow: Flow, usual: Array, beside: Mapping[int, Array]) -> list[float]:
    """How the picture moves as one, which is what a jerked camera does: how much longer the step is than the usual
    shift and how far it goes across it, and how far the steps BESIDE it are off; all over the usual one, whose length
    is the third figure, as a natural logarithm."""
    here, plain = whole_shift(flow, flow.shift), whole_shift(flow, usual)
    length = float(np.hypot(*plain)) + WHOLE_LENGTH
    along = float(here @ plain) / length**2 - 1
    across = abs(float(here[0] * plain[1] - here[1] * plain[0])) / length**2
    off = [float(np.hypot(*(whole_shift(flow, beside[n]) - plain))) / length for n in BESIDE]
    return [float(np.clip(along, -2, 4)), min(across, 4.0), float(np.log(length)), *(min(o, 4.0) for o in off)]


def blocks_with_a_say(weight: Array) -> float:
    """How many blocks of equal weight would weigh as evenly: 1 where all weight is on one."""
    return float(weight.sum()) ** 2 / max(float((weight * weight).sum()), TINY)


def evidence(flow: Flow, beside: Mapping[int, Array], changes: Changes) -> NDArray[np.float32]:
    """The figures of one step, (figures,).

    Args:
        flow: over the step, `evened`.
        beside: shifts (rows, columns, 2) over the steps BESIDE it.
        changes: of the picture.
    """
    usual = usual_of(beside)
    weight = flow.product(usual, usual)
    total = max(float(weight.sum()), TINY)

    def off(shift: Array) -> float:
        return float(flow.product(shift, shift).sum()) / total

    near, far = beside[-1] + beside[1], beside[-2] + beside[2]
    bent = np.asarray((4 * near - far) / 6, np.float32)  # a parabola through the four, in its middle
    spread = np.asarray((25 * near - 9 * far) / 32, np.float32)  # the same if a frame is missing there
    as_one, as_two = off(flow.shift - usual), off(flow.shift - 2 * usual)
    offs = [as_two / max(as_one, TINY), off(flow.shift - bent), off(flow.shift - 2 * spread)]
    offs += [off(beside[n] - usual) for n in BESIDE]
    votes = (flow.product(usual, flow.shift - usual) / np.maximum(weight, 1e-9)).ravel()
    seen = [
        quantiles(lengths_of(usual).ravel(), weight.ravel(), (0.5,))[0] + 0.01,
        blocks_with_a_say(weight) + 1,
        float(np.median(flow.rest)) + 0.1,
        float(weight.sum()) + 1,
    ]
    steps = [flow.shift, *(beside[n] for n in BESIDE)]
    told = [longer(replace(flow, shift=step), usual) for step in steps]
    told += [*np.log(np.array(offs) + TINY), *quantiles(votes, weight.ravel(), SHARES), *np.log(np.maximum(seen, TINY))]
    whole = of_the_whole(flow, usual, beside)
    return np.asarray([*told, *standing_out(flow, beside), *changes.figures(), *whole], np.float32)


def lengths_of(shift: Array) -> Array:
    """(rows, columns, 2) -> (rows, columns)"""
    return np.asarray(np.sqrt((shift * shift).sum(axis=-1)), np.float32)


def quantiles(values: Any, weights: Any, shares: tuple[float, ...]) -> list[float]:
    """The lowest value such that at least that share of the weight lies at it or below, for every share."""
    order = np.argsort(values)
    sums = np.cumsum(np.maximum(weights[order], 0) + 1e-9)
    places = np.minimum(np.searchsorted(sums, np.array(shares) * sums[-1]), len(order) - 1)
    return [float(values[order[place]]) for place in places]
