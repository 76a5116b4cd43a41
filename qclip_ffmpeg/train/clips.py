"""Clip -> what the model is shown of it in training: the frames of the whole clip are one window.

Videos are read, sampled and resampled by the code that serves the probe. A folder of pictures, one a frame, is read
as the video it came from: what only training data sets have, `qclip-probe` does not take.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from qclip_ffmpeg.errors import InputError, UsageError
from qclip_ffmpeg.frame import Frame, VideoInfo
from qclip_ffmpeg.inputs import InputOptions
from qclip_ffmpeg.model import ModelConfig
from qclip_ffmpeg.opening import DEFAULT_FRAME_RATE
from qclip_ffmpeg.reader import VideoReader, open_video
from qclip_ffmpeg.sampling import Policy, windows
from qclip_ffmpeg.scorer import WindowViews
from qclip_ffmpeg.showing import shown_of
from qclip_ffmpeg.train.labels import Clip, pictures_in
from qclip_ffmpeg.train.recipe import Positive
from qclip_ffmpeg.views import Display

WHOLE_S = Fraction(10**9)  # longer than any clip


class SamplingRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    """A [sampling] table: which frames of a clip the model is shown, and on which screen."""

    frames: Positive
    """Most frames of a clip."""
    policy: Policy = "motion"
    seed: Annotated[int, Meta(ge=0)] = 0
    """Of the random policy and of the tiles of the mosaic."""
    display: tuple[Positive, Positive] = (1920, 1080)
    """(width, height) in px of the screen; the label file may say another height for a clip."""


def clip_views(clip: Clip, sampling: SamplingRecipe, config: ModelConfig) -> WindowViews:
    """What the model of `config` is shown of a clip: at most `sampling.frames` of its frames, (T, V, 3, S, S).

    Raises:
        UsageError: the pictures of a folder differ in size.
        InputError: not one frame can be read, the video breaks off before its end, or a picture cannot be read. What
            was rated was the whole clip.
    """
    width_px, height_px = sampling.display
    display = Display(width_px, clip.display_height_px or height_px)
    try:
        with clip_frames(clip) as (info, frames):
            window = next(
                windows(
                    frames,
                    segment_s=WHOLE_S,
                    frames_per_window=sampling.frames,
                    policy=sampling.policy,
                    seed=sampling.seed,
                )
            )
            return shown_of(window, info, display, config, sampling.seed)
    except InputError as error:
        raise InputError(f"{clip.name}, line {clip.line} of the labels: {error}") from None


def views_of(
    clips: Iterable[Clip], sampling: SamplingRecipe, config: ModelConfig
) -> Generator[WindowViews, None, None]:
    """What the model is shown of each clip, one after the other; `clip_views` says more."""
    for clip in clips:
        yield clip_views(clip, sampling, config)


@contextmanager
def clip_frames(clip: Clip) -> Iterator[tuple[VideoInfo, Iterator[Frame]]]:
    """Open a clip for one pass: what is known of it, and its frames in presentation order.

    The pictures of a folder are shown at `clip.frame_rate`, else 25 Hz.

    Raises:
        UsageError: the clip is missing or its folder empty, or (on the way) a picture has another size than the first.
        InputError: not one frame can be read, or (on the way) a picture cannot, or the video breaks off.
    """
    if clip.path.is_dir():
        yield folder_frames(clip.path, clip.frame_rate or DEFAULT_FRAME_RATE)
    else:
        with open_video(str(clip.path), InputOptions()) as video:
            yield video.info, whole(video)


def whole(video: VideoReader) -> Iterator[Frame]:
    """The frames of a video; at its end, InputError if that came early."""
    yield from video
    if video.damage:
        raise InputError(f"{video.damage}; get the whole clip, or take it out of the labels")


def folder_frames(folder: Path, rate: Fraction) -> tuple[VideoInfo, Iterator[Frame]]:
    """The pictures of a folder as a video of `rate` Hz, described by the first. Each is read when its turn comes."""
    pictures = pictures_in(folder)
    if not pictures:
        raise UsageError(f"{folder}: is a folder without pictures; give a video or a folder of its frames")
    first, _ = read_picture(pictures[0])
    info = replace(
        first, name=folder.name, frame_rate=rate, time_base=1 / rate, start_s=None, duration_s=len(pictures) / rate
    )
    return info, picture_frames(pictures, rate)


def picture_frames(pictures: Sequence[Path], rate: Fraction) -> Iterator[Frame]:
    """Frames of pictures, and the motion between them."""
    previous: NDArray[np.float32] | None = None
    size_px: tuple[int, int] | None = None
    for index, picture in enumerate(pictures):
        info, frame = read_picture(picture)
        size_px = size_px or (info.width_px, info.height_px)
        if size_px != (info.width_px, info.height_px):
            raise UsageError(
                f"{picture}: is {info.width_px}x{info.height_px}, {pictures[0].name} is {size_px[0]}x{size_px[1]}; "
                "the frames of a clip have one size: take out what is no frame of it"
            )
        motion = 0.0 if previous is None else float(np.abs(frame.thumbnail - previous).mean())
        previous = frame.thumbnail
        yield replace(frame, index=index, time_s=index / rate, duration_s=1 / rate, pts=None, motion=motion)


def read_picture(path: Path) -> tuple[VideoInfo, Frame]:
    """A still as a video of one frame. Raises InputError, with the folder in its message, where it cannot be read."""
    try:
        with open_video(str(path), InputOptions()) as video:
            return video.info, next(iter(video))
    except InputError as error:
        raise InputError(f"{path.parent}: {error}") from None
