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
TREND = 0.5
"""Mean change of the steps before a flash, over that to its mean, in the same direction: at most. Else it is light that
turns, as where a scene fades out and in again."""
AGREE = 0.65
"""Share of the blocks that change as the whole does, at least."""
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
    if trend * np.sign(by_tone) > TREND * abs(float(np.median(logs[BEFORE + 1 : -1].mean(axis=0) - logs[BEFORE]))):
        return 0.0
    return min(by_block, by_tone, key=abs)


def gain(levels: NDArray[np.float64], least: int) -> tuple[float, float, float]:
    """(natural logarithm of the gain of the levels between over the mean of the first and the last ones, share of them
    that agree in its sign, gain on the side where it is less over that on the other one); zeros where fewer than
    `least` are bright enough.

    Args:
        levels: (looks, blocks or tones), over black.
        least: count.
    """
    lit = levels.min(axis=0) > MIN_LIGHT
    if np.count_nonzero(lit) < least:
        return 0.0, 0.0, 0.0
    logs = np.log(levels[:, lit])
    between = logs[1:-1].mean(axis=0)
    over = between - (logs[0] + logs[-1]) / 2
    whole = float(np.median(over))
    less, more = sorted(float(np.median(between - side)) * np.sign(whole) for side in (logs[0], logs[-1]))
    return whole, float((over * whole > 0).mean()), less / more if more > 0 else 0.0
