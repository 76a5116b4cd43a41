"""Recipes: clean frames -> damaged frames, with the truth of what was done.

A recipe works on lists of frame numbers wherever it can, so that what it did is known to the frame.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from benchmarks.temporal.contents import Clip, Planes, dimmed
from benchmarks.temporal.displacement import all_shifts, around, own_jumps

VISIBLE_MOTION = 0.5
"""Mean absolute luma difference a frame of means of 4 x 4 samples, 8-bit code values: below it a frame more or less
cannot be seen, and finding it or not counts neither way."""
LEAST_FLICKER, LEAST_FLASH = 0.03, 0.08
"""Relative change of the mean luma over black, to either side and once: below it nothing is asked of a detector. A
bright picture clips, and shows less of a gain than was put in; an encoder may skip what is left (`kept`)."""
ROUNDING = 0.9
"""Of that, what is left by rounding to whole code values, at least."""
LEAST_REPEATS = 4
"""Fewer make no cadence."""
CADENCES = {
    "24 in 30": (4, 5),
    "30 in 60": (1, 2),
    "25 in 50": (1, 2),
    "24 in 60": (2, 5),
    "25 in 30": (5, 6),
    "15 in 30": (1, 2),
    "20 in 30": (2, 3),
    "24 in 25": (24, 25),
}


@dataclass
class Truth:
    """Something that was put in."""

    kind: str
    start: int
    """Frame of the damaged clip."""
    end: int
    """The frame after the last."""
    counts: bool = True
    """False: it cannot be seen; neither finding nor missing it counts."""
    group: str = ""
    """What results are told apart by."""


@dataclass
class Damaged:
    """Frames to encode, and the truth of them."""

    planes: Planes
    rate: Fraction
    truths: list[Truth] = field(default_factory=list)
    ignored: set[str] = field(default_factory=set)
    """Kinds that the damage may rightly be called, too."""
    stamps: list[float] | None = None
    """When each frame is shown, in frames; None: one after the other."""
    order: list[int] | None = None
    """Which clean frame each is, where that is all that was done."""


def clean(clip: Clip, rng: np.random.Generator) -> Damaged:
    blacks = [Truth("black", *fade, counts=False) for fade in clip.fades]
    flashes = [Truth("flicker", *flash, counts=False, group="its own") for flash in clip.flashes]
    return Damaged(clip.planes, clip.rate, [Truth("fade", *fade) for fade in clip.fades] + blacks + flashes)


def freeze(clip: Clip, rng: np.random.Generator) -> Damaged:
    """One picture stays for 0.1 to 2 s; then time goes on where it was, or where it would be by then."""
    length_s = float(rng.choice([0.1, 0.2, 0.3, 0.5, 1.0, 2.0], p=[0.1, 0.2, 0.2, 0.2, 0.2, 0.1]))
    count = len(clip.planes)
    length = max(2, round(length_s * clip.rate))
    skip = bool(rng.random() < 0.5)
    first = int(rng.integers(count // 4, max(count // 4 + 1, count - length - 6)))
    if skip:
        order = [first - 1 if first <= n < first + length else n for n in range(count)]
    else:
        order = [n if n < first else max(first - 1, n - length) for n in range(count)]
    moved = clip.motion
    around = np.concatenate([moved[max(1, first - 5) : first], moved[first : first + 5]])
    seen = bool(np.min([around[:5].mean(), around[-5:].mean()]) > VISIBLE_MOTION) and first + length < count - 2
    group = f"{'skip' if skip else 'hold'} {'>= 0.2' if length_s >= 0.2 else '< 0.2'} s"
    truth = Truth("freeze", first, first + length, seen and length_s >= 0.2, group)
    also = {"drop"} | ({"judder"} if length_s < 0.2 else set()) | ({"cut"} if skip else set())
    return Damaged(clip.planes[order], clip.rate, [truth], also, None, order)


def drops(clip: Clip, rng: np.random.Generator) -> Damaged:
    """1 to 10 % of the frames are missing, one at a time; the rest follow each other at the same rate.

    One counts where the clean scene moves at that instant, and the step across the missing frame stands out.
    """
    share = float(rng.choice([0.01, 0.02, 0.05, 0.1]))
    count = len(clip.planes)
    wanted = max(1, round(share * count))
    gone: list[int] = []
    for n in rng.permutation(np.arange(6, count - 6)):
        if len(gone) < wanted and all(abs(n - other) > 3 for other in gone):
            gone.append(int(n))
    truths = []
    for k, n in enumerate(sorted(gone)):
        at = around(clip.luma, n)
        group = "still" if not at.moving else "a jump" if at.jump else "no jump"
        truths.append(Truth("drop", n - k, n - k + 1, at.jump, group))
    kept = sorted(set(range(count)) - set(gone))
    return Damaged(clip.planes[kept], clip.rate, truths, set(), None, kept)


def cadence(clip: Clip, rng: np.random.Generator) -> Damaged:
    """A frame rate inside a higher one: every so many frames one is shown again."""
    name = str(rng.choice(list(CADENCES)))
    source, shown = CADENCES[name]
    phase = int(rng.integers(shown))
    order = [(n + phase) * source // shown for n in range(len(clip.planes) * shown // source)]
    order = [n - order[0] for n in order]
    order = [n for n in order if n < len(clip.planes)]
    moved = clip.motion[1:]
    repeated = len(order) - len(set(order))
    seen = bool(np.median(moved) > VISIBLE_MOTION) and repeated >= LEAST_REPEATS
    rate = clip.rate * shown / source
    # A content that stops moving on the way shows no cadence there.
    return Damaged(clip.planes[order], rate, [Truth("repeat", 0, len(order), seen, name)], set(), None, order)


def judder(clip: Clip, rng: np.random.Generator) -> Damaged:
    """For a second or more, frames come unevenly: some are shown twice or three times, others not at all."""
    count = len(clip.planes)
    length = min(count - 20, int(rng.uniform(1.2, 2.5) * clip.rate))
    first = int(rng.integers(8, max(9, count - length - 8)))
    order = list(range(count))
    n = first
    last = first + 1
    while n < first + length:
        held = int(rng.choice([1, 1, 2]))
        order[n : n + held] = [n - 1] * held
        last = n + held
        n += held + int(rng.choice([1, 2, 2, 3, 4]))
    moved = clip.motion[first : first + length]
    seen = bool(np.percentile(moved, 20) > VISIBLE_MOTION)
    return Damaged(
        clip.planes[order], clip.rate, [Truth("judder", first, last, seen)], {"drop", "repeat", "freeze"}, None, order
    )


def flicker(clip: Clip, rng: np.random.Generator) -> Damaged:
    """Luma rises and falls by 1 to 10 % of itself, 2 to 12 times a second, for 2 s or more."""
    strength = float(rng.choice([0.01, 0.02, 0.03, 0.05, 0.1]))
    count = len(clip.planes)
    highest = min(12.0, float(clip.rate) / 2 * 0.9)
    frequency_hz = float(rng.uniform(2, highest))
    first = int(rng.integers(0, max(1, count // 3)))
    last = min(count, first + int(rng.uniform(2, 4) * clip.rate))
    time_s = np.arange(count) / float(clip.rate)
    wave = np.sin(2 * np.pi * frequency_hz * time_s + rng.uniform(0, 6))
    if rng.random() < 0.3:
        wave = np.sign(wave)
    wave[:first] = wave[last:] = 0
    out = clip.planes.copy()
    height = clip.height_px
    for picture, w in zip(out, wave, strict=True):
        light = (picture[:height].astype(np.float32) - 16) * (1 + strength * w) + 16
        picture[:height] = np.clip(np.rint(light), 16, 235).astype(np.uint8)
    seen = strength >= LEAST_FLICKER and flickers(clip.luma[first:last], out[first:last, :height])
    return Damaged(out, clip.rate, [Truth("flicker", first, last, seen, f"{strength:.0%}")])


def flash(clip: Clip, rng: np.random.Generator) -> Damaged:
    """One to three frames are brighter or darker by 8 to 30 %."""
    count = len(clip.planes)
    first = int(rng.integers(8, count - 8))
    last = first + int(rng.integers(1, 4))
    gain = 1 + float(rng.uniform(0.08, 0.3)) * float(rng.choice([-1, 1]))
    out = clip.planes.copy()
    light = (out[first:last, : clip.height_px].astype(np.float32) - 16) * gain + 16
    out[first:last, : clip.height_px] = np.clip(np.rint(light), 16, 235).astype(np.uint8)
    seen = flashes(clip.luma[first:last], out[first:last, : clip.height_px])
    return Damaged(out, clip.rate, [Truth("flicker", first, last, seen, "abrupt")])


def flickers(before: Planes, after: Planes) -> bool:
    """Whether the light of pictures (frames, height, width) was made to rise and fall by as much as is asked for."""
    return float(np.ptp(light_change(before, after))) / 2 >= ROUNDING * LEAST_FLICKER


def flashes(before: Planes, after: Planes) -> bool:
    """Whether all of these pictures were made brighter, or darker, by as much as is asked for."""
    return float(np.abs(light_change(before, after)).min()) >= ROUNDING * LEAST_FLASH


def light_change(before: Planes, after: Planes) -> NDArray[np.float64]:
    """(frames,): by how much the mean luma over black was changed, of pictures (frames, height, width)."""
    means = [luma.mean(axis=(1, 2), dtype=np.float64) - 16 for luma in (before, after)]
    return means[1] / np.maximum(means[0], 1) - 1


def black(clip: Clip, rng: np.random.Generator) -> Damaged:
    """A span of black, in place of pictures, 0.1 to 1 s."""
    length_s = float(rng.choice([0.1, 0.2, 0.3, 0.5, 1.0]))
    length = max(2, round(length_s * clip.rate))
    first = int(rng.integers(8, max(9, len(clip.planes) - length - 8)))
    out = clip.planes.copy()
    out[first : first + length, : clip.height_px] = 16
    out[first : first + length, clip.height_px :] = 128
    group = ">= 0.2 s" if length_s >= 0.2 else "< 0.2 s"
    truths = [Truth("black", first, first + length, length_s >= 0.2, group)]
    return Damaged(out, clip.rate, truths, {"cut", "fade"} | ({"flicker"} if length_s < 0.2 else set()))


def fade(clip: Clip, rng: np.random.Generator) -> Damaged:
    """Out to black or white over 0.4 to 2 s, a while of it, and in again."""
    count = len(clip.planes)
    length = min(count // 3, int(rng.uniform(0.4, 2) * clip.rate))
    rest = int(rng.choice([2, 6, 12]))
    first = int(rng.integers(4, max(5, count - 2 * length - rest - 4)))
    share = np.ones(count)
    down = 1 - np.arange(1, length + 1) / length
    share[first : first + length] = down
    share[first + length : first + length + rest] = 0
    up = share[first + length + rest : first + 2 * length + rest]
    up[:] = down[::-1][: len(up)]
    white = bool(rng.random() < 0.3)
    planes = dimmed(clip.planes, clip.height_px, share, 235 if white else 16)
    middle = first + length + rest
    truths = [Truth("fade", first, first + length, True, "white" if white else "black")]
    truths += [Truth("fade", middle, middle + len(up), len(up) == length, "white" if white else "black")]
    if not white:
        truths.append(Truth("black", first + length - 1, middle + 1, rest >= 0.2 * clip.rate, "after a fade"))
    return Damaged(planes, clip.rate, truths)


def cuts(clip: Clip, rng: np.random.Generator, others: list[Clip]) -> Damaged:
    """Pieces of several contents, one after the other."""
    pieces, truths, at = [], [], 0
    for n, piece in enumerate([clip, *others]):
        length = int(min(len(piece.planes), rng.uniform(0.7, 1.8) * piece.rate))
        first = int(rng.integers(len(piece.planes) - length + 1))
        if piece.fades:
            first = (len(piece.planes) - length) // 2
        if n:
            truths.append(Truth("cut", at, at + 1))
        truths += [own_drop(at + jump - first) for jump in piece.jumps if first < jump < first + length]
        pieces.append(piece.planes[first : first + length])
        at += length
    return Damaged(
        np.concatenate(pieces), clip.rate, truths, {"fade"} if any(p.fades for p in [clip, *others]) else set()
    )


def own_drop(frame: int) -> Truth:
    return Truth("drop", frame, frame + 1, counts=False, group="its own")


def own_drops(clip: Clip, recipe: str, damaged: Damaged) -> list[Truth]:
    """Steps of the clean clip that look like that of a dropped frame, where they are in the damaged one."""
    if recipe in ("cuts", "stamps"):  # one has told of them, the other may be called so anyway
        return []
    if recipe == "interlaced":
        fields = (list(clip.luma[first : len(damaged.planes) * 2 : 2]) for first in (0, 1))  # each is half of a frame
        return [own_drop(n) for n in sorted({n for field in fields for n in own_jumps(all_shifts(field))})]
    order = damaged.order or list(range(len(clip.planes)))
    steps = enumerate(pairwise(order), 1)
    return [own_drop(n) for n, (before, after) in steps if after in clip.jumps and before == after - 1]


def stamps(clip: Clip, rng: np.random.Generator) -> Damaged:
    """Frames are missing with their time (1 to 12 of them), or are stamped a moment after the one before."""
    count = len(clip.planes)
    places = sorted(int(n) for n in rng.choice(np.arange(10, count - 10, 6), 3, replace=False))
    kept, truths, times = list(range(count)), [], [float(n) for n in range(count)]
    for n in places:
        if rng.random() < 0.5:
            gone = int(rng.choice([1, 2, 4]))
            for frame in range(n, n + gone):
                kept.remove(frame)
            truths.append((n - 1, n + gone, "pts_gap", "1 frame" if gone == 1 else "2 frames or more"))
        else:
            times[n] = n - 1 + 0.03
            truths.append((n, n + 1, "pts_duplicate", ""))
    shown = [times[n] for n in kept]
    found = [
        Truth(kind, kept.index(a), kept.index(b) if b in kept else kept.index(a) + 1, True, group)
        for a, b, kind, group in truths
    ]
    return Damaged(clip.planes[kept], clip.rate, found, {"drop"}, shown)


def interlaced(clip: Clip, rng: np.random.Generator) -> Damaged:
    """Lines of two pictures woven into one, at half the rate, and no word of it."""
    count = len(clip.planes) // 2 * 2
    first, second = clip.planes[0:count:2], clip.planes[1:count:2]
    woven = first.copy()
    height, width = clip.height_px, clip.planes.shape[2]
    woven[:, 1:height:2] = second[:, 1:height:2]
    chroma, other = (p[:, height:].reshape(len(p), 2, height // 2, width // 2) for p in (woven, second))
    chroma[:, :, 1::2] = other[:, :, 1::2]
    moved = clip.motion[1:]
    seen = bool(np.median(moved) > VISIBLE_MOTION)
    return Damaged(woven, clip.rate / 2, [Truth("combing", 0, len(woven), seen)])


RECIPES: dict[str, Callable[[Clip, np.random.Generator], Damaged]] = {
    "clean": clean,
    "freeze": freeze,
    "drops": drops,
    "cadence": cadence,
    "judder": judder,
    "flicker": flicker,
    "flash": flash,
    "black": black,
    "fade": fade,
    "stamps": stamps,
    "interlaced": interlaced,
}
"""Those that need one content; `cuts` takes several."""
MOVING_ONLY = {"freeze", "drops", "cadence", "judder", "interlaced"}


def is_moving(clip: Clip) -> bool:
    """Whether there is motion to be damaged."""
    return clip.moves and bool(np.median(clip.motion[1:]) > VISIBLE_MOTION)
