"""What a gate takes for no change: the noise of encoding one content again, and of taking the largest of many.

A track's `pooled.noise_band` is measured with one segment of each encode and is not made smaller with more: nearly all
of it is the content's and the encode's, the same in all segments. A policy can say less for two encodes of the same
codec and size, which is what a rung and its baseline are.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

from qclip_ffmpeg.ladder import Rung
from qclip_ffmpeg.policy import Noise

OUTSIDE = 0.05
"""Share of the comparisons of what is equally good that a noise band leaves outside."""
T_99 = {1: 31.821, 2: 6.965, 3: 4.541, 4: 3.747, 5: 3.365, 6: 3.143, 7: 2.998, 8: 2.896, 9: 2.821, 10: 2.764}
T_99 |= {12: 2.681, 15: 2.602, 20: 2.528, 30: 2.457, 60: 2.390, 120: 2.358}
"""99th percentile of Student's t by degrees of freedom."""


def any_encode(one: Rung, other: Rung, noise: Noise) -> float | None:
    """Band between the means of two encodes of one content: the larger of both. None: nobody measured it."""
    if noise.any_encode is not None:
        return noise.any_encode
    bands = [track.pooled.noise_band or track.model.noise_band for track in (one.track, other.track)]
    return max((band for band in bands if band is not None), default=None)


def same_encode(new: Rung, old: Rung, noise: Noise) -> float | None:
    """Band between the means of a rung and its baseline: narrower where codec and size are still the same."""
    if noise.same_encode is not None and is_same(new, old):
        return noise.same_encode
    return any_encode(new, old, noise)


def same_segment(new: Rung, old: Rung, noise: Noise) -> float | None:
    """Band between two segments at one time of a rung and its baseline.

    The model's own was measured with one segment: it is that over all scores, or at the mean if that is more.
    """
    if noise.same_segment is not None and is_same(new, old):
        return noise.same_segment
    bands = [any_encode(new, old, noise), new.track.model.noise_band if noise.any_encode is None else None]
    return max((band for band in bands if band is not None), default=None)


def is_same(new: Rung, old: Rung) -> bool:
    """Whether two encodes have the same codec and size."""
    one, other = new.track.source.video, old.track.source.video
    if one is None or other is None:
        return False
    return (one.codec, one.width_px, one.height_px) == (other.codec, other.width_px, other.height_px)


def widened(band: float, comparisons: int) -> float:
    """The band that the largest of several differences keeps to as often as one difference keeps to `band`.

    Normal differences are assumed, and Bonferroni's bound is taken: it holds however they hang together.
    """
    normal = NormalDist()
    one, many = (normal.inv_cdf(1 - OUTSIDE / 2 / count) for count in (1, max(1, comparisons)))
    return band * many / one


def uncertain(differences: Sequence[float]) -> float:
    """How far above their true mean the mean of differences may lie by chance: one-sided, once in a hundred.

    Student's t, from their own spread; infinite with fewer than two.
    """
    count = len(differences)
    if count < 2:
        return math.inf
    degrees = max(known for known in T_99 if known <= count - 1)
    return T_99[degrees] * stdev(differences, fmean(differences)) / math.sqrt(count)
