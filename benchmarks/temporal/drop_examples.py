"""Clips -> examples for the judge of dropped frames: steps across a frame that was taken out, and steps as they are.

A clean clip that moves is used four times: as it is, backwards, and every second frame of it (both halves), which is
the same scene at twice the speed. In each of these every frame is left out once, where its step stands out by the
truth's own measure (`displacement`); steps of the clean clip that are like that already are no examples of anything.
Clips with other damage have nothing that is to be found: whatever is looked at in them is none.
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.temporal.displacement import all_shifts, instant, own_jump, own_jumps, shifts
from benchmarks.temporal.items import ItemTruth, read
from qclip_ffmpeg.frame import Frame
from qclip_ffmpeg.reader import open_video
from qclip_ffmpeg.temporal.cuts import Cuts
from qclip_ffmpeg.temporal.drops import REACH, Suspect, Suspects
from qclip_ffmpeg.temporal.light import BLACK_MARGIN
from qclip_ffmpeg.temporal.looks import Look, Looker

BLACK = 16 + BLACK_MARGIN
OTHER_DAMAGE = ("cadence", "flicker", "flash", "black", "fade", "interlaced", "cuts")
"""Recipes that leave out no frames, and whose damage may not be called so either."""
HALVED_FROM_HZ = 20
"""Every second frame of fewer is not what a camera does."""


Played = Literal["clean", "otherwise", "damaged"]
"""A clean clip as it is; backwards or halved; or one with other damage."""


@dataclass(frozen=True)
class Example:
    """One step that is looked at closely."""

    source: str
    figures: NDArray[np.float32]
    dropped: bool
    clip: Played


@dataclass
class Examples:
    """Of all clips."""

    seen: list[Example] = field(default_factory=list)
    dropped: int = 0
    """How many frames there were to be found in clean clips as they are, looked at or not."""
    minutes: dict[Played, float] = field(default_factory=lambda: {"clean": 0.0, "otherwise": 0.0, "damaged": 0.0})

    @property
    def figures(self) -> NDArray[np.float32]:
        """(examples, figures)"""
        return np.stack([example.figures for example in self.seen])

    @property
    def are_dropped(self) -> NDArray[np.bool_]:
        """(examples,)"""
        return np.array([example.dropped for example in self.seen])

    def of_clips(self, played: Played) -> NDArray[np.bool_]:
        """(examples,)"""
        return np.array([example.clip == played for example in self.seen])


def source_of(content: str) -> str:
    """What is filmed over one photograph, or cut from one video (`name_of_it_3`), is one source: kept in one fold."""
    name, _, camera = content.partition("+")
    return name if camera else "_".join(name.split("_")[:2])


def examples_of(path: Path, into: Examples, leave_out: Container[str] = ()) -> None:
    """Add those of one clip of the benchmark, if its source is not one of `leave_out`."""
    truth = read(path.with_suffix(".truth.json"))
    if not isinstance(truth, ItemTruth) or not truth.moving or truth.recipe not in ("clean", *OTHER_DAMAGE):
        return
    if (source := source_of(truth.content)) in leave_out:
        return
    with open_video(str(path)) as video:
        frames = list(video)
    minutes = len(frames) / truth.rate / 60
    if truth.recipe != "clean":
        into.minutes["damaged"] += minutes
        luma = [frame.thumbnail.astype(np.uint8) for frame in frames]
        for suspect in suspects(frames):
            n = suspect.look.index
            if not own_jump(*(shifts(luma[k - 1], luma[k]) for k in (n - 1, n, n + 1))):
                into.seen.append(Example(source, suspect.figures, False, "damaged"))
        return
    frame_s = Fraction(1) / Fraction(truth.rate).limit_denominator(1001)
    played = [frames, frames[::-1]]
    if truth.rate >= HALVED_FROM_HZ and "+" not in truth.content:
        played += [frames[::2], frames[1::2]]
    for n, run in enumerate(played):
        clip: Played = "otherwise" if n else "clean"
        into.minutes[clip] += len(run) / truth.rate / 60
        timed = [replace(frame, time_s=k * frame_s, keyframe=False) for k, frame in enumerate(run)]
        moved = all_shifts([frame.thumbnail.astype(np.uint8) for frame in timed])
        own = own_jumps(moved)
        into.seen += [Example(source, s.figures, False, clip) for s in suspects(timed) if s.look.index not in own]
        for suspect in left_out(timed, moved):
            into.dropped += not n
            if suspect is not None:
                into.seen.append(Example(source, suspect.figures, True, clip))


def suspects(frames: Sequence[Frame]) -> Iterator[Suspect]:
    looker, cuts, found = Looker(BLACK), Cuts(), Suspects()
    for frame in frames:
        look = looker.look(frame)
        assert look is not None
        for judged, cut in cuts.add(look):
            if (suspect := found.add(judged, cut is not None)) is not None:
                yield suspect


def left_out(frames: Sequence[Frame], moved: Sequence[NDArray[np.float64]]) -> Iterator[Suspect | None]:
    """For every frame that would be missed: the step across it once it is left out, None where it is not looked at.

    Args:
        frames: of one scene.
        moved: their `all_shifts`.
    """
    looker = Looker(BLACK)
    looks = [look for frame in frames if (look := looker.look(frame)) is not None]
    for n in range(REACH + 2, len(frames) - REACH - 1):  # the first look has no activity
        if instant(*moved[n - 1 : n + 3]).jump:
            yield across(frames, looks, n)


def across(frames: Sequence[Frame], looks: Sequence[Look], n: int) -> Suspect | None:
    """The step from the frame before frame n to the one after it."""
    pair = Looker(BLACK)
    pair.look(frames[n - 1])
    over = pair.look(frames[n + 1])
    assert over is not None
    found = Suspects()
    sequence = [*looks[n - REACH - 1 : n], over, *looks[n + 2 : n + REACH + 2]]
    suspect = None
    for k, look in enumerate(sequence):
        length_s = look.end_s - look.time_s
        suspect = found.add(replace(look, index=k, time_s=k * length_s, end_s=(k + 1) * length_s), False)
    return suspect
