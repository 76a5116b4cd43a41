"""The rolling buffer: Frames -> Windows. A window is the T frames of one segment that will be scored.

Memory is bounded by the frames kept (at most 2T pictures), never by the length of a segment.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, Protocol

import numpy as np

from qclip_ffmpeg.frame import Frame

Policy = Literal["motion", "uniform", "random", "mixed"]
KEYFRAMES: Literal["keyframes"] = "keyframes"
KEYFRAME_SEGMENT_MIN_S = Fraction(1)  # intra-only streams would otherwise give a segment a frame
KEYFRAME_SLOT_S = Fraction(1, 2)  # the length of a key-frame segment is not known before it ends
LOW_MOTION = 0.05  # mean absolute luma difference in 8-bit code values; below it nothing moves but noise


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The frames picked from one segment, in presentation order."""

    index: int
    """Number of the segment in the track, from 0. Spans without a frame get no segment."""
    start_s: Fraction
    """Start of the segment, inclusive, in seconds after the first frame of the input."""
    end_s: Fraction
    """End of the segment, exclusive."""
    start_pts: int | None
    """Raw time stamp of the first frame of the segment, picked or not."""
    frames: tuple[Frame, ...]
    """1 to T frames."""
    frame_count: int
    """Frames the segment has, picked or not."""
    motion: float
    """Mean motion of all its frames, in 8-bit code values."""
    flags: frozenset[str]
    """Flags of any of its frames, and "few_frames", "low_motion"."""


class Buffer(Protocol):
    """Sees every frame of one segment once and keeps the ones to score."""

    def offer(self, frame: Frame, time_in_segment_s: Fraction) -> None: ...

    def take(self) -> list[Frame]: ...


class MotionBuffer:
    """The frame of highest motion in each slot of the segment, then the T slots of highest motion.

    A segment of known length has 2T slots, one of unknown length (key frames) a slot every half second. So the picks
    are spread: a burst of motion, or the jump at a scene cut, takes one or two of them and not all. The earlier frame
    wins a tie.
    """

    def __init__(self, frames_per_window: int, slot_s: Fraction) -> None:
        self._size = frames_per_window
        self._slot_s = slot_s
        self._best_of_slot: dict[int, Frame] = {}

    def offer(self, frame: Frame, time_in_segment_s: Fraction) -> None:
        slot = math.floor(time_in_segment_s / self._slot_s)
        best = self._best_of_slot.get(slot)
        if best is None or frame.motion > best.motion:
            self._best_of_slot[slot] = frame
        if len(self._best_of_slot) > self._size + 1:  # one more than T: the newest slot may still improve
            finished = [s for s in self._best_of_slot if s != slot]
            del self._best_of_slot[min(finished, key=lambda s: (self._best_of_slot[s].motion, -s))]

    def take(self) -> list[Frame]:
        return sorted(self._best_of_slot.values(), key=lambda f: (-f.motion, f.index))[: self._size]


class UniformBuffer:
    """T frames evenly spaced by frame count, as `linspace` over the segment's frames picks them.

    The length is not known beforehand: every n-th frame is kept, and n doubles whenever 2T frames are held.
    """

    def __init__(self, frames_per_window: int) -> None:
        self._size = frames_per_window
        self._stride = 1
        self._seen = 0
        self._kept: list[Frame] = []

    def offer(self, frame: Frame, time_in_segment_s: Fraction) -> None:
        if self._seen % self._stride == 0:
            if len(self._kept) == 2 * self._size:
                self._kept = self._kept[::2]
                self._stride *= 2
            if self._seen % self._stride == 0:
                self._kept.append(frame)
        self._seen += 1

    def take(self) -> list[Frame]:
        return [self._kept[i] for i in spread(len(self._kept), self._size)]


class RandomBuffer:
    """T frames drawn without replacement, each with the same chance (Vitter's algorithm R), from a seed."""

    def __init__(self, frames_per_window: int, rng: np.random.Generator) -> None:
        self._size = frames_per_window
        self._rng = rng
        self._seen = 0
        self._kept: list[Frame] = []

    def offer(self, frame: Frame, time_in_segment_s: Fraction) -> None:
        self._seen += 1
        if len(self._kept) < self._size:
            self._kept.append(frame)
        elif (place := int(self._rng.integers(self._seen))) < self._size:
            self._kept[place] = frame

    def take(self) -> list[Frame]:
        return list(self._kept)


class MixedBuffer:
    """Half uniform, half motion. Our definition of the variant that the Q-CLIP paper names and does not define:

    the motion policy picks T//2 frames; of T evenly spaced frames, those not yet picked fill
    the rest, spread evenly. No frame is picked twice.
    """

    def __init__(self, frames_per_window: int, slot_s: Fraction) -> None:
        self._size = frames_per_window
        motion_size = frames_per_window // 2
        self._motion = MotionBuffer(motion_size, slot_s) if motion_size else None
        self._uniform = UniformBuffer(frames_per_window)

    def offer(self, frame: Frame, time_in_segment_s: Fraction) -> None:
        if self._motion:
            self._motion.offer(frame, time_in_segment_s)
        self._uniform.offer(frame, time_in_segment_s)

    def take(self) -> list[Frame]:
        picked = self._motion.take() if self._motion else []
        indices = {f.index for f in picked}
        rest = [f for f in self._uniform.take() if f.index not in indices]
        return picked + [rest[i] for i in spread(len(rest), self._size - len(picked))]


def spread(available: int, wanted: int) -> list[int]:
    """Indices of `wanted` items evenly spread over `available`: the middle of each of `wanted` equal parts."""
    if available <= wanted:
        return list(range(available))
    return [(2 * i + 1) * available // (2 * wanted) for i in range(wanted)]


def make_buffer(policy: Policy, frames_per_window: int, slot_s: Fraction, seed: int, segment: int) -> Buffer:
    """The buffer of one segment. `segment` and `seed` decide what `random` draws."""
    if policy == "motion":
        return MotionBuffer(frames_per_window, slot_s)
    if policy == "uniform":
        return UniformBuffer(frames_per_window)
    if policy == "random":
        return RandomBuffer(frames_per_window, np.random.default_rng([seed, segment]))
    return MixedBuffer(frames_per_window, slot_s)


@dataclass(slots=True)
class OpenSegment:
    """The segment that frames are arriving for."""

    start_s: Fraction
    start_pts: int | None
    buffer: Buffer
    frame_count: int = 0
    motion_sum: float = 0.0
    end_s: Fraction = Fraction(0)
    flags: set[str] = field(default_factory=set)

    def add(self, frame: Frame) -> None:
        self.buffer.offer(frame, frame.time_s - self.start_s)
        self.frame_count += 1
        self.motion_sum += frame.motion
        self.end_s = frame.time_s + frame.duration_s
        self.flags |= frame.flags

    def close(self, index: int, end_s: Fraction, frames_per_window: int) -> Window:
        frames = tuple(sorted(self.buffer.take(), key=lambda f: f.index))
        motion = self.motion_sum / self.frame_count
        if len(frames) < frames_per_window:
            self.flags.add("few_frames")
        if motion < LOW_MOTION:
            self.flags.add("low_motion")
        return Window(
            index, self.start_s, end_s, self.start_pts, frames, self.frame_count, motion, frozenset(self.flags)
        )


def windows(
    frames: Iterable[Frame],
    *,
    segment_s: Fraction | Literal["keyframes"],
    frames_per_window: int,
    policy: Policy = "motion",
    seed: int = 0,
    start_s: Fraction = Fraction(0),
) -> Iterator[Window]:
    """Cut a stream of frames into segments and pick each one's frames, lazily.

    Args:
        frames: in presentation order.
        segment_s: length of a segment in seconds, on a grid anchored at `start_s`; or "keyframes": a segment ends at
            the first key frame at least one second after its start.
        frames_per_window: T, the most frames picked from a segment.
        policy: how they are picked.
        seed: of the random policy.
        start_s: where the first segment begins, seconds after the first frame of the input.

    Yields:
        One Window a segment that has a frame. The last one ends where its last frame does.
    """
    slot_s = KEYFRAME_SLOT_S if segment_s == "keyframes" else segment_s / (2 * frames_per_window)
    index = 0
    current: OpenSegment | None = None
    for frame in frames:
        if current is not None and (end_s := end_of(current, frame, segment_s)) is not None:
            yield current.close(index, end_s, frames_per_window)
            index += 1
            current = None
        if current is None:
            begin_s = frame.time_s
            if segment_s != "keyframes":
                begin_s = start_s + (frame.time_s - start_s) // segment_s * segment_s
            current = OpenSegment(begin_s, frame.pts, make_buffer(policy, frames_per_window, slot_s, seed, index))
        current.add(frame)
    if current is not None:
        end_s = current.end_s
        if segment_s != "keyframes":
            end_s = min(end_s, current.start_s + segment_s)
        yield current.close(index, end_s, frames_per_window)


def end_of(segment: OpenSegment, frame: Frame, segment_s: Fraction | Literal["keyframes"]) -> Fraction | None:
    """Where the open segment ends if `frame` no longer belongs to it, else None."""
    if segment_s == "keyframes":
        ends = frame.keyframe and frame.time_s - segment.start_s >= KEYFRAME_SEGMENT_MIN_S
        return frame.time_s if ends else None
    end_s = segment.start_s + segment_s
    return end_s if frame.time_s >= end_s else None
