"""Window -> WindowViews: its frames as displayed, without black bars, and what the model is told beside them."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from qclip_ffmpeg.active_picture import ActivePicture, Margins
from qclip_ffmpeg.frame import Frame, Picture, VideoInfo
from qclip_ffmpeg.heads import DISPLAY_LINES, LARGEST_ENLARGEMENT, LINES_TOLD
from qclip_ffmpeg.model import ModelConfig
from qclip_ffmpeg.sampling import Window
from qclip_ffmpeg.scorer import WindowViews
from qclip_ffmpeg.views import Display, View, frame_views, on_screen


def shown_of(
    window: Window,
    info: VideoInfo,
    display: Display,
    config: ModelConfig,
    seed: int,
    active: ActivePicture | None = None,
) -> WindowViews:
    """A window with all that the model is shown and told of it; the arguments are those of `frame_views_of`."""
    active = active or ActivePicture()
    views = frame_views_of(window, info, display, config, seed, active)
    if not config.measures:
        return WindowViews(window, views)
    lowest, highest = LINES_TOLD
    shown_lines = display.shown_size_px(info, active.part)[1]
    stored_lines = float((info.width_px if info.rotation_deg % 180 else info.height_px) * active.part[1])
    lines = min(max(shown_lines, lowest), highest)
    enlargement = min(max(shown_lines / stored_lines, 1.0), LARGEST_ENLARGEMENT)
    made = {
        # Nothing moves in bars: without them the mean is larger.
        "motion": math.log1p(window.motion / float(active.part[0] * active.part[1])),
        "display": math.log2(lines / DISPLAY_LINES),
        "enlargement": math.log2(enlargement),
    }
    return WindowViews(window, views, torch.tensor([made[name] for name in config.measures]))


def frame_views_of(
    window: Window,
    info: VideoInfo,
    display: Display,
    config: ModelConfig,
    seed: int,
    active: ActivePicture | None = None,
) -> Tensor:
    """What the model is shown of a window: (looks, len(views), 3, S, S), R'G'B' in 0..1.

    A look is one frame through every view or, as `ModelConfig.view_frames` says, one frame for each view. The n-th look
    of every window has its mosaic tiles at the same places, so that two encodes of one content are looked at alike.
    Black bars are not shown. Of SDR, 8 bits are.

    Args:
        window: the frames, in presentation order.
        info: of the video.
        display: the screen that the active picture is fitted into.
        config: of the model.
        seed: of the places of mosaic tiles.
        active: what the windows before this one showed of bars; nothing is known when None.
    """
    active = active or ActivePicture()

    def views_of(place: int, frame: Frame, views: tuple[View, ...], bars_of: Callable[[Picture], Margins]) -> Tensor:
        whole = on_screen(frame.rgb(), info.transfer)
        picture = bars_of(whole).cut(whole)
        _, height_px, width_px = picture.shape
        return frame_views(
            picture,
            display.shown_size_px(info, (Fraction(width_px, whole.shape[2]), Fraction(height_px, whole.shape[1]))),
            info.transfer,
            views,
            np.random.default_rng([seed, place]),
            config.backbone.image_px,
        )

    def seen(bars_of: Callable[[Picture], Margins]) -> Tensor:
        return torch.stack(
            [
                torch.cat([views_of(place, frame, views, bars_of) for frame, views in look])
                for place, look in enumerate(looks_of(window.frames, config))
            ]
        )

    views = seen(active.look)
    return views if active.settle() else seen(active.bars_of)  # other bars than those of the window before it


def looks_of(frames: Sequence[Frame], config: ModelConfig) -> list[list[tuple[Frame, tuple[View, ...]]]]:
    """Which frames are seen through which views, a look at a time. No frame is left out."""
    if config.view_frames == "same":
        return [[(frame, config.views)] for frame in frames]
    count = len(config.views)
    turns = [frames[min(turn, len(frames) - 1)] for turn in range(count * math.ceil(len(frames) / count))]
    return [
        [(turns[first + v], (view,)) for v, view in enumerate(config.views)] for first in range(0, len(turns), count)
    ]
