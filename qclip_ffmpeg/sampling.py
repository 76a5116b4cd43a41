"""The rolling buffer: Frames -> Windows. A window is the T frames of one segment that will be scored.

Memory is bounded by the frames kept (2T pictures; 3T for `mixed`), never by the length of a segment.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import zip_longest
from typing import Literal, Protocol

import numpy as np

from qclip_ffmpeg.frame import Frame

Policy = Literal["motion", "uniform", "random", "mixed"]
KEYFRAME_SEGMENT_MIN_S = Fraction(1)  # intra-only streams would otherwise give a segment a frame
MOST_FRAMES = 64  # of a window: every one of them is scored
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
    coded_bytes: int = 0
    """Size of the packets of all its frames, picked or not."""


class Buffer(Protocol):
    """Sees every frame of one segment once and keeps the ones to score."""

    def offer(self, frame: Frame) -> None: ...

    def take(self) -> list[Frame]: ...


class MotionBuffer:
    """The frame of highest motion in each slot of the segment, then the T slots of highest motion.

    A slot is one frame long at first. Whenever more than 2T slots are held, neighbours are merged, the better frame of
    each pair stays and slots are twice as long: at its end a segment of any length has T to 2T slots. So the picks are
    spread: a burst of motion, or the jump at a scene cut, takes one or two of them and not all. The earlier frame wins
    a tie.
    """

    def __init__(self, frames_per_window: int) -> None:
        self._size = frames_per_window
        self._slot_length = 1  # frames
        self._seen = 0
        self._best_of_slot: list[Frame] = []

    def offer(self, frame: Frame) -> None:
        slot = self._seen // self._slot_length
        self._seen += 1
        if slot < len(self._best_of_slot):
            self._best_of_slot[slot] = livelier(self._best_of_slot[slot], frame)
            return
        self._best_of_slot.append(frame)
        if len(self._best_of_slot) > 2 * self._size:
            pairs = zip_longest(self._best_of_slot[::2], self._best_of_slot[1::2])
            self._best_of_slot = [a if b is None else livelier(a, b) for a, b in pairs]
            self._slot_length *= 2

    def take(self) -> list[Frame]:
        return sorted(self._best_of_slot, key=lambda f: (-f.motion, f.index))[: self._size]


def livelier(earlier: Frame, later: Frame) -> Frame:
    return later if later.motion > earlier.motion else earlier


class UniformBuffer:
    """T frames evenly spaced by frame count, as `linspace` over the segment's frames picks them.

    The length is not known beforehand: every n-th frame is kept, and n doubles whenever 2T frames are held.
    """

    def __init__(self, frames_per_window: int) -> None:
        self._size = frames_per_window
        self._stride = 1
        self._seen = 0
        self._kept: list[Frame] = []

    def offer(self, frame: Frame) -> None:
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

    def offer(self, frame: Frame) -> None:
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

    def __init__(self, frames_per_window: int) -> None:
        self._size = frames_per_window
        self._motion = MotionBuffer(frames_per_window // 2) if frames_per_window > 1 else None
        self._uniform = UniformBuffer(frames_per_window)

    def offer(self, frame: Frame) -> None:
        if self._motion:
            self._motion.offer(frame)
        self._uniform.offer(frame)

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


def make_buffer(policy: Policy, frames_per_window: int, seed: int, segment: int) -> Buffer:
    """The buffer of one segment. `segment` and `seed` decide what `random` draws."""
    if policy == "motion":
        return MotionBuffer(frames_per_window)
    if policy == "uniform":
        return UniformBuffer(frames_per_window)
    if policy == "random":
        return RandomBuffer(frames_per_window, np.random.default_rng([seed, segment]))
    if policy == "mixed":
        return MixedBuffer(frames_per_window)
    raise ValueError(f"no sampling policy {policy!r}")


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
    coded_bytes: int = 0

    def add(self, frame: Frame) -> None:
        self.buffer.offer(frame)
        self.frame_count += 1
        self.motion_sum += frame.motion
        self.end_s = frame.time_s + frame.duration_s
        self.flags |= frame.flags
        self.coded_bytes += frame.coded_bytes

    def close(self, index: int, end_s: Fraction, frames_per_window: int) -> Window:
        frames = tuple(sorted(self.buffer.take(), key=lambda f: f.index))
        motion = self.motion_sum / self.frame_count
        if len(frames) < frames_per_window:
            self.flags.add("few_frames")
        if motion < LOW_MOTION:
            self.flags.add("low_motion")
        return Window(
            index=index,
            start_s=self.start_s,
            end_s=end_s,
            start_pts=self.start_pts,
            frames=frames,
            frame_count=self.frame_count,
            motion=motion,
            flags=frozenset(self.flags),
            coded_bytes=self.coded_bytes,
        )


def windows(
    frames: Iterable[Frame],
    *,
    segment_s: Fraction | Literal["keyframes"],
    frames_per_window: int,
    policy: Policy = "motion",
    seed: int = 0,
    start_s: Fraction = Fraction(0),
    split_at_cuts: bool = False,
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
        split_at_cuts: a segment ends where a frame starts a scene, too, so that no window holds frames of two. The
            grid stays where it is.

    Yields:
        One Window a segment that has a frame. The last one ends where its last frame does.
    """
    index = 0
    current: OpenSegment | None = None
    grid_end_s: Fraction | None = None  # of the segment of the grid that the open one is a part of
    for frame in frames:
        is_cut = split_at_cuts and frame.starts_scene
        if current is not None:
            end_s = end_of(current, frame, segment_s, grid_end_s)
            if end_s is not None or is_cut:
                yield current.close(index, frame.time_s if end_s is None else end_s, frames_per_window)
                index += 1
                current = None
        if current is None:
            begin_s = frame.time_s
            if segment_s != "keyframes":
                grid_s = start_s + (frame.time_s - start_s) // segment_s * segment_s
                grid_end_s = grid_s + segment_s
                begin_s = frame.time_s if is_cut else grid_s
            current = OpenSegment(begin_s, frame.pts, make_buffer(policy, frames_per_window, seed, index))
        current.add(frame)
    if current is not None:
        end_s = current.end_s
        if grid_end_s is not None:
            end_s = min(end_s, grid_end_s)
        yield current.close(index, end_s, frames_per_window)


def end_of(
    segment: OpenSegment, frame: Frame, segment_s: Fraction | Literal["keyframes"], grid_end_s: Fraction | None
) -> Fraction | None:
    """Where the open segment ends if `frame` no longer belongs to it, else None."""
    if segment_s == "keyframes":
        ends = frame.keyframe and frame.time_s - segment.start_s >= KEYFRAME_SEGMENT_MIN_S
        return frame.time_s if ends else None
    return grid_end_s if grid_end_s is not None and frame.time_s >= grid_end_s else None
