"""What does not touch the picture does not move what is scored. Bars: test_active_picture; containers: test_probe."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from qclip_ffmpeg.measurement import ProbeSettings
from qclip_ffmpeg.reader import open_video
from qclip_ffmpeg.sampling import windows
from qclip_ffmpeg.scorer import Scorer
from qclip_ffmpeg.showing import frame_views_of
from qclip_ffmpeg.views import in_8_bits

pytest_plugins = ["model_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")


def shown(path: Path, scorer: Scorer) -> torch.Tensor:
    """The views of a file's first second."""
    with open_video(str(path)) as video:
        window = next(windows(video, segment_s=1, frames_per_window=2))  # type: ignore[arg-type]
        return frame_views_of(window, video.info, ProbeSettings().display, scorer.model.card.config, 0)


def test_the_same_picture_in_10_bits(
    media: Callable[..., Path], encode: Callable[..., Path], tiny_scorer: Scorer
) -> None:
    """The rounding of 8 bits is grain to a model, and has to be there in both."""
    eight = media("8bit.mkv", 1, (320, 180), 5, c="ffv1", pix_fmt="yuv420p")
    ten = encode(eight, "10bit.mkv", c="ffv1", pix_fmt="yuv420p10le")
    difference = 255 * (shown(ten, tiny_scorer) - shown(eight, tiny_scorer)).abs()
    assert difference.max() < 1.1
    assert difference.mean() < 0.01


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "yuv444p12le", "yuv422p16le", "gray10le"])
def test_white_is_white_at_any_depth(pixel_format: str, media: Callable[..., Path]) -> None:
    path = media(
        f"white-{pixel_format}.nut", 0.2, (64, 64), 5, source="color=white", c="rawvideo", pix_fmt=pixel_format
    )
    with open_video(str(path)) as video:
        picture = next(iter(video)).rgb()
    assert picture.dtype == np.uint16
    assert picture.min() > 65535 - 80


def test_rounding_to_8_bits_undoes_what_8_bits_became() -> None:
    codes = np.arange(256, dtype=np.uint16)
    assert np.array_equal(in_8_bits(codes * 257), codes)
    every = np.arange(65536, dtype=np.uint16)
    assert np.abs(in_8_bits(every) - every / 257).max() <= 0.51
