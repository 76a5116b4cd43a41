"""Frame and VideoInfo: what the reader hands on. Needs numpy only, so that anything can build frames by hand."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Transfer = Literal["sdr", "pq", "hlg"]
Picture = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded picture with its presentation time. Pixels stay in the decoder's format until `rgb()` is called."""

    index: int
    """Position in presentation order among the frames read, from 0."""
    time_s: Fraction
    """Presentation time relative to the first video frame of the input, in seconds, exact."""
    duration_s: Fraction
    """Time it stays on screen, in seconds: the container's word, else one nominal frame interval."""
    pts: int | None
    """Raw presentation time stamp in the stream's time base; None where the input has none."""
    thumbnail: NDArray[np.float32]
    """Luma, subsampled, (height, width), in 8-bit code values whatever the bit depth."""
    motion: float
    """Mean absolute difference of the thumbnail to the frame before, in 8-bit code values; 0 for the first frame."""
    keyframe: bool
    """A decoder may start here."""
    flags: frozenset[str]
    """What is wrong or special about it: "corrupt", "gap", "interlaced", "resized"."""
    convert: Callable[[], Picture]
    """Does the work of `rgb()`."""
    coded_bytes: int = 0
    """Size of the packets it was decoded from."""
    read_lines: Callable[[], NDArray[np.float32]] | None = None
    """Does the work of `lines()`."""
    starts_scene: bool = False
    """The first frame of a scene, where somebody looked for scenes."""

    def rgb(self) -> Picture:
        """Upright R'G'B' pixels, (3, height, width), full range: uint8, or uint16 for sources deeper than 8 bits."""
        return self.convert()

    def lines(self) -> NDArray[np.float32]:
        """Luma of some bands of lines, none left out within one, (bands, lines, width), in 8-bit code values, as
        stored; no band where there are none to be had."""
        return np.zeros((0, 0, 0), np.float32) if self.read_lines is None else self.read_lines()


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What is known of a video before its frames are read."""

    name: str
    """File name, URL without credentials or query, or "-" for standard input."""
    container: str
    """FFmpeg's name of the container format, for example "mov,mp4,m4a,3gp,3g2,mj2"."""
    codec: str
    """FFmpeg's name of the video codec, for example "av1"."""
    decoder: str
    """FFmpeg's name of the decoder that was used, for example "libdav1d"."""
    width_px: int
    """Coded columns as stored, before rotation."""
    height_px: int
    """Coded lines as stored, before rotation."""
    pixel_format: str
    """FFmpeg's name, for example "yuv420p10le"."""
    frame_rate: Fraction | None
    """Average or declared rate in Hz; None where the input does not say."""
    time_base: Fraction
    """Seconds a unit of `pts`."""
    start_s: Fraction | None
    """Time of the first frame in the stream's own clock, in seconds; None where frames have no time stamps."""
    duration_s: Fraction | None
    """Declared by the container, in seconds; None where it does not say (pipes, live streams)."""
    sample_aspect_ratio: Fraction
    """Width of a stored pixel over its height."""
    rotation_deg: int
    """Degrees that were applied counter-clockwise to stand the picture upright: 0, 90, 180 or 270."""
    mirrored: bool
    """Whether it was flipped top to bottom before it was turned, as its display matrix asks."""
    color_matrix: str
    """Matrix the conversion to R'G'B' used: "bt709", "bt601", "bt2020", "smpte240m", "fcc" or "rgb"."""
    color_range: Literal["limited", "full"]
    """Range the conversion took the stored values to have."""
    transfer: Transfer
    """"pq" and "hlg" are HDR and are mapped to SDR before scoring (see `views.to_sdr`)."""

    @property
    def display_aspect_ratio(self) -> Fraction:
        """Width over height of the upright picture with square pixels."""
        stored = self.sample_aspect_ratio * self.width_px / self.height_px
        return 1 / stored if self.rotation_deg % 180 else stored
