"""Flashes: for some frames the light is another one, then it is what it was.

A flash is a gain. The picture before it and the one after it are much alike, and what is in between is brighter than
both, or darker, by about the same factor in most places. That is measured twice, and the lesser one counts: block by
block, which a change of what is in the picture does not mislead, and by the tones of the whole picture, which motion
leaves as they are. What moves evenly, and light that fades, cancel out against the mean of the picture before and the
picture after.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qclip_ffmpeg.temporal.looks import Look

FLASH = 0.045
"""Natural logarithm of the gain, at least. One of 8 % is 0.077; where a part of the picture is white already less of it
is left."""
FLASH_S = 0.16
"""A flash lasts so long at most."""
FLASH_FRAMES = 3
"""At low frame rates, in place of FLASH_S."""
RETURN = 0.4
"""The gain over the picture on one side, over that over the other one: at least. Else it is a step that stays."""
BEFORE = 3
"""Steps before a flash that are looked at for a trend."""
TREND = 0.65
"""Gain that light would show that goes on as it did before, and turns in the middle, over that of the flash: at most.
Else it is that, as where a scene fades out and in again."""
AGREE = 0.65
"""Share of the blocks that change as the whole does in every frame of a flash, at least. What passes covers some, and
others in the next frame."""
MIN_LIGHT = 10.0
"""Of a block or a tone over black in all pictures, for its factor to mean something, in 8-bit code values."""
MIN_BLOCKS = 30
MIN_TONES = 6


def flash_gain(looks: Sequence[Look], black: float) -> float:
    """Of looks of which all but the first BEFORE + 1 and the last may be a flash: the natural logarithm of its gain, 0
    where it is none.

    Args:
        looks: BEFORE + 3 or more.
        black: 8-bit code value of black.
    """
    by_block, agree, _ = gain(np.array([look.light for look in looks[BEFORE:]], np.float64) - black, MIN_BLOCKS)
    if abs(by_block) < FLASH or agree < AGREE:
        return 0.0
    tones = np.array([look.tones() for look in looks]) - black
    by_tone, _, undone = gain(tones[BEFORE:], MIN_TONES)
    if by_block * by_tone <= 0 or abs(by_tone) < FLASH or undone < RETURN:
        return 0.0
    logs = np.log(np.maximum(tones, MIN_LIGHT))
    trend = float(np.median(logs[BEFORE] - logs[0])) / BEFORE
    turned = trend * (len(tones) - BEFORE + 1) / 4  # a tent over n frames is (n + 3) / 4 steps high on average, about
    if turned * np.sign(by_tone) > TREND * abs(float(np.median(logs[BEFORE + 1 : -1].mean(axis=0) - logs[BEFORE]))):
        return 0.0
    return min(by_block, by_tone, key=abs)


def gain(levels: NDArray[np.float64], least: int) -> tuple[float, float, float]:
    """(natural logarithm of the gain of the levels between over the mean of the first and the last ones, share of them
    that agree in its sign, of the look in between where it is least, gain on the side where it is less over that on the
    other one); zeros where fewer than `least` are bright enough.

    Args:
        levels: (looks, blocks or tones), over black.
        least: count.
    """
    lit = levels.min(axis=0) > MIN_LIGHT
    if np.count_nonzero(lit) < least:
        return 0.0, 0.0, 0.0
    logs = np.log(levels[:, lit])
    between = logs[1:-1].mean(axis=0)
    sides = (logs[0] + logs[-1]) / 2
    whole = float(np.median(between - sides))
    agree = float(((logs[1:-1] - sides) * whole > 0).mean(axis=1).min())
    less, more = sorted(float(np.median(between - side)) * np.sign(whole) for side in (logs[0], logs[-1]))
    return whole, agree, less / more if more > 0 else 0.0
