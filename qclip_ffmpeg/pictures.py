"""Decoded pictures to arrays: luma thumbnails, upright R'G'B'. With `reader` the only door to PyAV."""

import struct
from fractions import Fraction
from typing import Any

import numpy as np
from av.codec import CodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from qclip_ffmpeg.frame import Picture, VideoInfo

THUMBNAIL_WIDTH_PX = 240
BANDS, BAND_LINES, BAND_WIDTH_PX = 8, 18, 240
JPEG_QUANTISER = "4"  # of 2 to 31
SWS_OF_MATRIX = {
    "bt709": Colorspace.ITU709,
    "bt601": Colorspace.ITU601,
    "bt2020": Colorspace.BT2020,
    "smpte240m": Colorspace.SMPTE240M,
    "fcc": Colorspace.FCC,
    "rgb": Colorspace.DEFAULT,
}
# Bit-exact flags: the same pixels on every processor; chroma is interpolated rather than repeated.
EXACT_BICUBIC = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)


class Converter:
    """Thumbnails and R'G'B' of one stream's pictures; swscale contexts are made once and shared."""

    def __init__(self, info: VideoInfo) -> None:
        self._info = info
        self._to_rgb = VideoReformatter()
        self._to_planar = VideoReformatter()
        self._range = ColorRange.JPEG if info.color_range == "full" else ColorRange.MPEG
        self._planar: tuple[VideoFrame, VideoFrame] | None = None
        """The last picture that had to be converted for its luma, and what became of it."""

    def thumbnail(self, picture: VideoFrame) -> NDArray[np.float32]:
        """Every n-th luma sample, (height, width), in 8-bit code values, about THUMBNAIL_WIDTH_PX wide."""
        luma, bits = self._luma(picture)
        step = max(1, picture.width // THUMBNAIL_WIDTH_PX)
        return in_8_bits(luma[step // 2 :: step, step // 2 :: step], bits)

    def lines(self, picture: VideoFrame) -> NDArray[np.float32]:
        """BANDS bands of luma from top to bottom, (bands, BAND_LINES, width), in 8-bit code values. Of wide pictures
        BAND_WIDTH_PX samples, those on the left and those on the right by turns. No band of pictures that are lower."""
        luma, bits = self._luma(picture)
        height, width = luma.shape
        if height < BAND_LINES:
            return np.zeros((0, BAND_LINES, 0), np.float32)
        tops = [int((n + 0.5) * (height - BAND_LINES) / BANDS) // 2 * 2 for n in range(BANDS)]
        seen = min(width, BAND_WIDTH_PX)
        lefts = [(width - seen) * (n % 2) for n in range(BANDS)]
        bands = [luma[top : top + BAND_LINES, left : left + seen] for top, left in zip(tops, lefts, strict=True)]
        return in_8_bits(np.stack(bands), bits)

    def _luma(self, picture: VideoFrame) -> tuple[NDArray[Any], int]:
        """(samples (height, width), bits a sample)."""
        luma, bits = luma_plane(picture)
        if luma is not None:
            return luma, bits
        last = self._planar
        if last is None or last[0] is not picture:
            planar = self._to_planar.reformat(
                picture,
                format="yuv444p",
                src_color_range=self._range,
                dst_color_range=self._range,
                interpolation=EXACT_BICUBIC,
                threads=1,
            )
            self._planar = last = picture, planar
        return plane_samples(last[1].planes[0], 8, last[1].width), 8

    def rgb(self, picture: VideoFrame) -> Picture:
        """Upright R'G'B', (3, height, width), full range; uint16 for sources deeper than 8 bits."""
        deep = max(component.bits for component in picture.format.components) > 8
        if picture.format.name.startswith("yuvj") and self._info.color_range == "limited":
            # swscale takes yuvj for full range whatever it is told; the user said otherwise.
            picture = relabelled(picture, picture.format.name.replace("yuvj", "yuv"))
        converted = self._to_rgb.reformat(
            picture,
            format="gbrp16le" if deep else "gbrp",  # planar takes a third of the time of rgb24, for the same pixels
            src_colorspace=SWS_OF_MATRIX[self._info.color_matrix],
            src_color_range=self._range,
            dst_color_range=ColorRange.JPEG,
            interpolation=EXACT_BICUBIC,
            threads=1,
        )
        green, blue, red = (plane_samples(plane, 16 if deep else 8, picture.width) for plane in converted.planes)
        pixels = np.stack([red, green, blue])
        if deep and self._info.color_matrix != "rgb":  # swscale's white of what it converts is 255 * 256
            pixels = np.minimum(pixels, 255 << 8)
            pixels += pixels >> 8
        if self._info.mirrored:
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(np.rot90(pixels, self._info.rotation_deg // 90, axes=(1, 2)))


def in_8_bits(samples: NDArray[Any], bits: int) -> NDArray[np.float32]:
    """Samples of any depth in 8-bit code values."""
    values = samples.astype(np.float32)
    return values if bits == 8 else values / np.float32(1 << (bits - 8))


def jpeg(picture: NDArray[np.uint8]) -> bytes:
    """R'G'B', (3, height, width), as a JPEG file without visible loss. The same picture gives the same bytes."""
    _, height_px, width_px = picture.shape
    encoder = CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width_px, height_px, "yuvj444p", Fraction(1)
    encoder.options = {"flags": "+bitexact", "qmin": JPEG_QUANTISER, "qmax": JPEG_QUANTISER}
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture.transpose(1, 2, 0)), format="rgb24")
    converted = VideoReformatter().reformat(
        frame,
        format="yuvj444p",
        dst_colorspace=Colorspace.ITU601,
        dst_color_range=ColorRange.JPEG,
        interpolation=EXACT_BICUBIC,
        threads=1,
    )
    return b"".join(bytes(packet) for packet in [*encoder.encode(converted), *encoder.encode(None)])


def relabelled(picture: VideoFrame, pixel_format: str) -> VideoFrame:
    """A copy of a picture whose 8-bit samples are taken for another pixel format of the same layout."""
    copy = VideoFrame(picture.width, picture.height, pixel_format)
    for source, target in zip(picture.planes, copy.planes, strict=True):
        samples = np.zeros((target.height, target.line_size), np.uint8)
        columns = min(source.line_size, target.line_size)
        samples[:, :columns] = plane_samples(source, 8, columns)
        target.update(samples.tobytes())
    return copy


def luma_plane(picture: VideoFrame) -> tuple[NDArray[Any] | None, int]:
    """(samples (height, width) without a copy, bits a sample); None where luma is not a plane of its own."""
    layout = picture.format
    name = layout.name
    planar_luma = name.startswith(("yuv", "yuvj", "gray", "nv", "p0", "p2", "p4")) and not name.startswith("yuyv")
    bits = layout.components[0].bits
    if not planar_luma or name.endswith(("f32le", "f32be", "f16le", "f16be")) or not 8 <= bits <= 16:
        return None, 8
    if name.startswith(("p0", "p2", "p4")):
        bits = 16  # P010 and its kin keep their samples in the high bits
    return plane_samples(picture.planes[0], bits, picture.width, big_endian=name.endswith("be")), bits


def plane_samples(plane: VideoPlane, bits: int, width_px: int, big_endian: bool = False) -> NDArray[Any]:
    """One plane without a copy, (height, width): uint8 up to 8 bits, uint16 above."""
    dtype = np.dtype(np.uint8) if bits == 8 else np.dtype(">u2" if big_endian else "<u2")
    samples = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, plane.line_size // dtype.itemsize)
    return samples[:, :width_px]


def is_mirrored(picture: VideoFrame) -> bool:
    """Whether the display matrix, nine 32-bit numbers in rows, flips the picture as well as turning it."""
    try:
        side_data: Any = picture.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV 18 stumbles over side data it does not know, whatever is asked for
        return False
    if side_data is None:
        return False
    matrix = struct.unpack("=9i", bytes(side_data))
    return bool(matrix[0] * matrix[4] < matrix[1] * matrix[3])
