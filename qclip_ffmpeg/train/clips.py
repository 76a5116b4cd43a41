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
from qclip_ffmpeg.probe import frame_views_of
from qclip_ffmpeg.reader import DEFAULT_FRAME_RATE, VideoReader, open_video
from qclip_ffmpeg.sampling import Policy, windows
from qclip_ffmpeg.scorer import WindowViews
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

    The window carries the flag "truncated" where the video broke off before its end, as the last segment of a track
    does.

    Raises:
        UsageError: the pictures of a folder differ in size.
        InputError: not one frame can be read, or a picture of a folder cannot.
    """
    width_px, height_px = sampling.display
    display = Display(width_px, clip.display_height_px or height_px)
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
        return WindowViews(window, frame_views_of(window, info, display, config, sampling.seed))


def views_of(
    clips: Iterable[Clip], sampling: SamplingRecipe, config: ModelConfig
) -> Generator[WindowViews, None, None]:
    """What the model is shown of each clip, one after the other; `clip_views` says more."""
    for clip in clips:
        yield clip_views(clip, sampling, config)


@contextmanager
def clip_frames(clip: Clip, options: InputOptions | None = None) -> Iterator[tuple[VideoInfo, Iterator[Frame]]]:
    """Open a clip for one pass: what is known of it, and its frames in presentation order.

    The pictures of a folder are shown at `options.frame_rate`, else `clip.frame_rate`, else 25 Hz.

    Raises:
        UsageError: the clip is missing or its folder empty, or (on the way) a picture has another size than the first.
        InputError: not one frame can be read, or (on the way) a picture of a folder cannot.
    """
    options = options or InputOptions()
    if clip.path.is_dir():
        rate = options.frame_rate or clip.frame_rate or DEFAULT_FRAME_RATE
        yield folder_frames(clip.path, rate, options)
    else:
        with open_video(str(clip.path), options) as video:
            yield video.info, truncation_flagged(video)


def truncation_flagged(video: VideoReader) -> Iterator[Frame]:
    """The frames of a video; the last one has the flag "truncated" where damage ended the stream early."""
    last: Frame | None = None
    for frame in video:
        if last is not None:
            yield last
        last = frame
    if last is not None:
        yield replace(last, flags=last.flags | {"truncated"}) if video.damage else last


def folder_frames(folder: Path, rate: Fraction, options: InputOptions) -> tuple[VideoInfo, Iterator[Frame]]:
    """The pictures of a folder as a video of `rate` Hz, described by the first. Each is read when its turn comes."""
    pictures = pictures_in(folder)
    if not pictures:
        raise UsageError(f"{folder}: is a folder without pictures; give a video or a folder of its frames")
    start_s, end_s = options.start_s, len(pictures) / rate
    stop_s = end_s if options.duration_s is None else start_s + options.duration_s
    shown = [(n / rate, picture) for n, picture in enumerate(pictures) if start_s <= n / rate < stop_s]
    if not shown:
        raise InputError(f"{folder}: has no frame in the span to measure; choose an earlier -ss or a longer -t")
    still = replace(options, start_s=Fraction(0), duration_s=None, frame_rate=None)
    first, _ = read_picture(shown[0][1], still)
    info = replace(first, name=folder.name, frame_rate=rate, time_base=1 / rate, start_s=None, duration_s=end_s)
    return info, picture_frames(shown, rate, stop_s, still)


def picture_frames(
    shown: Sequence[tuple[Fraction, Path]], rate: Fraction, stop_s: Fraction, options: InputOptions
) -> Iterator[Frame]:
    """Frames of pictures and their times in s, with the motion between them."""
    previous: NDArray[np.float32] | None = None
    size_px: tuple[int, int] | None = None
    for index, (time_s, picture) in enumerate(shown):
        info, frame = read_picture(picture, options)
        size_px = size_px or (info.width_px, info.height_px)
        if size_px != (info.width_px, info.height_px):
            raise UsageError(
                f"{picture}: is {info.width_px}x{info.height_px}, {shown[0][1].name} is {size_px[0]}x{size_px[1]}; "
                "the frames of a clip have one size: take out what is no frame of it"
            )
        motion = 0.0 if previous is None else float(np.abs(frame.thumbnail - previous).mean())
        previous = frame.thumbnail
        duration_s = min(1 / rate, stop_s - time_s)
        yield replace(frame, index=index, time_s=time_s, duration_s=duration_s, pts=None, motion=motion)


def read_picture(path: Path, options: InputOptions) -> tuple[VideoInfo, Frame]:
    """A still as a video of one frame. Raises InputError, with the folder in its message, where it cannot be read."""
    try:
        with open_video(str(path), options) as video:
            return video.info, next(iter(video))
    except InputError as error:
        raise InputError(f"{path.parent}: {error}") from None
