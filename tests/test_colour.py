"""R'G'B' and luma of the reader: matrices, ranges, transfers and pixel formats, and the rules that choose them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np
import pytest

from qclip_ffmpeg.colour import color_matrix, color_range, transfer_of
from qclip_ffmpeg.ffmpeg import bundled_executable, run
from qclip_ffmpeg.frame import Frame, VideoInfo
from qclip_ffmpeg.inputs import InputOptions
from qclip_ffmpeg.reader import open_video

Media = Callable[..., Path]
SIZE = (320, 180)  # 240 to 479 columns: the thumbnail is the whole luma plane
KR_KB = {
    "bt709": (0.2126, 0.0722),
    "bt601": (0.299, 0.114),
    "bt2020": (0.2627, 0.0593),
    "smpte240m": (0.212, 0.087),
    "fcc": (0.30, 0.11),
}
BARS = np.array(
    [
        [255, 255, 255],
        [0, 0, 0],
        [255, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
        [128, 128, 128],
        [200, 120, 40],
        [30, 90, 160],
    ]
)
SD, WIDE, TALL = (320, 64), (1280, 64), (320, 720)  # HD begins at 1280 columns or 720 lines


def read_one(path: Path, **options: Any) -> tuple[Frame, VideoInfo, list[str]]:
    with open_video(str(path), InputOptions(**options)) as reader:
        return next(iter(reader)), reader.info, reader.warnings


def ycbcr_of(rgb: np.ndarray, matrix: str, full: bool, bits: int) -> np.ndarray:
    """The standards' own formula: R'G'B' 0..255 (n, 3) -> code values of Y', Cb, Cr (n, 3)."""
    kr, kb = KR_KB[matrix]
    red, green, blue = (rgb / 255).T
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))
    top, step = (1 << bits) - 1, 1 << (bits - 8)
    if full:
        codes = [luma * top, cb * top + 128 * step, cr * top + 128 * step]
    else:
        codes = [(16 + 219 * luma) * step, (128 + 224 * cb) * step, (128 + 224 * cr) * step]
    return np.clip(np.rint(np.stack(codes, axis=1)), 0, top).astype(np.uint8 if bits == 8 else "<u2")


def rgb_of(codes: np.ndarray, matrix: str, bits: int) -> np.ndarray:
    """The way back for limited range: code values (3, height, width) -> R'G'B' 0..255."""
    kr, kb = KR_KB[matrix]
    luma, cb, cr = codes / (1 << (bits - 8)) - np.array([16, 128, 128])[:, None, None]
    luma, cb, cr = luma / 219, cb / 224, cr / 224
    red, blue = luma + 2 * (1 - kr) * cr, luma + 2 * (1 - kb) * cb
    green = (luma - kr * red - kb * blue) / (1 - kr - kb)
    return 255 * np.clip(np.stack([red, green, blue]), 0, 1)


def raw_bars(folder: Path, matrix: str, *, full: bool = False, bits: int = 8, size: tuple[int, int] = SD) -> Path:
    """One raw 4:4:4 frame of vertical bars in the colours of BARS."""
    codes = ycbcr_of(BARS, matrix, full, bits)
    rows = np.repeat(codes.T, size[0] // len(BARS), axis=1)  # (3, width)
    path = folder / "bars.yuv"
    path.write_bytes(np.repeat(rows[:, None], size[1], axis=1).tobytes())
    return path


def encode_bars(raw: Path, name: str, size: tuple[int, int], tags: str | None, bits: int = 8, **codec: Any) -> Path:
    """The raw bars, losslessly, with the tags that FFmpeg's setparams filter is told."""
    pixel_format = "yuv444p" if bits == 8 else f"yuv444p{bits}le"
    node = ffmpeg.input(str(raw), f="rawvideo", pix_fmt=pixel_format, s="{}x{}".format(*size), r=25)
    codec = codec or {"c": "libx264", "qp": 0, "preset": "ultrafast"}
    filters = {"vf": f"setparams={tags}"} if tags else {}
    path = raw.parent / name
    run(node.output(str(path), pix_fmt=pixel_format, **codec, **filters), program=bundled_executable())
    return path


def check_bars(frame: Frame, tolerance: float = 2) -> None:
    """Every pixel but those beside an edge has its bar's colour, in 8-bit code values."""
    pixels = frame.rgb()
    shown = pixels.astype(np.float64) / (257 if pixels.dtype == np.uint16 else 1)
    width = shown.shape[2] // len(BARS)
    for n, colour in enumerate(BARS):
        inner = shown[:, :, n * width + 4 : (n + 1) * width - 4]
        assert np.abs(inner - colour[:, None, None]).max() <= tolerance, f"bar {n}"


TAGGED = [
    ("bt709", "bt709", SD),
    ("bt601", "smpte170m", WIDE),
    ("bt601", "bt470bg", TALL),
    ("bt2020", "bt2020nc", SD),
    ("smpte240m", "smpte240m", SD),
    ("fcc", "fcc", WIDE),
]


class TestKnownColours:
    @pytest.mark.parametrize(("matrix", "tag", "size"), TAGGED)
    @pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
    def test_tags_of_the_stream_decide(
        self, tmp_path: Path, matrix: str, tag: str, size: tuple[int, int], full: bool
    ) -> None:
        raw = raw_bars(tmp_path, matrix, full=full, size=size)
        path = encode_bars(raw, "tagged.mp4", size, f"colorspace={tag}:range={'pc' if full else 'tv'}")
        frame, info, _ = read_one(path)
        assert (info.color_matrix, info.color_range) == (matrix, "full" if full else "limited")
        check_bars(frame)

    def test_tags_of_the_container_decide_where_the_stream_has_none(self, tmp_path: Path) -> None:
        raw = raw_bars(tmp_path, "bt2020", bits=10)
        tags = "colorspace=bt2020nc:range=tv"
        frame, info, _ = read_one(encode_bars(raw, "tagged.mkv", SD, tags, bits=10, c="ffv1"))
        assert (info.color_matrix, info.color_range) == ("bt2020", "limited")
        assert frame.rgb().dtype == np.uint16
        check_bars(frame)

    @pytest.mark.parametrize(
        ("size", "matrix"), [(SD, "bt601"), (WIDE, "bt709"), (TALL, "bt709"), ((1272, 64), "bt601")]
    )
    def test_untagged_pictures_are_bt709_from_hd_on(self, tmp_path: Path, size: tuple[int, int], matrix: str) -> None:
        raw = raw_bars(tmp_path, matrix, size=size)
        frame, info, _ = read_one(encode_bars(raw, "untagged.mp4", size, None))
        assert (info.color_matrix, info.color_range) == (matrix, "limited")
        check_bars(frame)

    @pytest.mark.parametrize(
        ("matrix", "said"),
        [("bt709", "bt709"), ("bt601", "bt470bg"), ("bt601", "smpte170m"), ("bt2020", "bt2020nc"), ("fcc", "fcc")],
    )
    def test_the_user_overrides_wrong_tags(self, tmp_path: Path, matrix: str, said: str) -> None:
        raw = raw_bars(tmp_path, matrix, full=True)
        wrong = "colorspace=smpte240m:range=tv"
        path = encode_bars(raw, "wrong.mp4", SD, wrong)
        frame, info, _ = read_one(path, color_matrix=said, color_range="pc")
        assert (info.color_matrix, info.color_range) == (matrix, "full")
        check_bars(frame)

    def test_the_user_overrides_a_wrong_full_range_tag(self, tmp_path: Path) -> None:
        raw = raw_bars(tmp_path, "bt709", full=False)
        path = encode_bars(raw, "wrong.mp4", SD, "colorspace=bt709:range=pc")
        assert read_one(path)[1].color_range == "full"
        frame, info, _ = read_one(path, color_range="tv")
        assert info.color_range == "limited"
        check_bars(frame)

    @pytest.mark.parametrize("bits", [8, 10, 12])
    @pytest.mark.parametrize(("said", "full"), [(None, False), ("tv", False), ("mpeg", False), ("full", True)])
    def test_raw_frames_take_the_users_word(self, tmp_path: Path, bits: int, said: Any, full: bool) -> None:
        raw = raw_bars(tmp_path, "bt709", full=full, bits=bits)
        frame, info, _ = read_one(
            raw,
            format="rawvideo",
            size_px=SD,
            pixel_format="yuv444p" if bits == 8 else f"yuv444p{bits}le",
            color_matrix="bt709",
            color_range=said,
        )
        assert info.color_matrix == "bt709"
        assert frame.rgb().dtype == (np.uint8 if bits == 8 else np.uint16)
        check_bars(frame)

    def test_rgb_needs_no_matrix(self, tmp_path: Path) -> None:
        rows = np.repeat(BARS.astype(np.uint8), SD[0] // len(BARS), axis=0)
        raw = tmp_path / "bars.rgb"
        raw.write_bytes(np.tile(rows, (SD[1], 1)).tobytes())
        frame, info, _ = read_one(raw, format="rawvideo", size_px=SD, pixel_format="rgb24", color_matrix="bt709")
        assert (info.color_matrix, info.color_range) == ("rgb", "full")
        check_bars(frame, tolerance=0)

    def test_chroma_of_raw_frames_lies_to_the_left_as_in_mpeg2(self, tmp_path: Path) -> None:
        """Cr crosses neutral at column 160, once rising and once falling, 100 of 65536 a column: there red is the same.

        Were the samples taken to lie half a column further right, it would differ by 0.67 of 255.
        """
        width, height = SD

        def red_in_the_middle(slope: int) -> float:
            cr = 32768 + slope * (np.arange(0, width, 2) - width // 2)
            planes = [np.full(width * height, 126 << 8), np.full(width * height // 4, 32768), np.tile(cr, height // 2)]
            raw = tmp_path / "ramp.yuv"
            raw.write_bytes(np.concatenate(planes).astype("<u2").tobytes())
            frame, _, _ = read_one(raw, format="rawvideo", size_px=SD, pixel_format="yuv420p16le")
            return float(frame.rgb()[0, height // 2, width // 2]) / 257

        assert red_in_the_middle(100) == pytest.approx(red_in_the_middle(-100), abs=0.1)

    @pytest.mark.parametrize(("bits", "pixel_format"), [(8, "gray"), (10, "gray10le")])
    def test_gray_is_full_range_as_ffmpeg_takes_it(self, tmp_path: Path, bits: int, pixel_format: str) -> None:
        top = (1 << bits) - 1
        ramp = np.linspace(0, top, SD[0]).round().astype(np.uint8 if bits == 8 else "<u2")
        raw = tmp_path / "ramp.gray"
        raw.write_bytes(np.tile(ramp, (SD[1], 1)).tobytes())
        frame, info, _ = read_one(raw, format="rawvideo", size_px=SD, pixel_format=pixel_format)
        assert info.color_range == "full"
        pixels = frame.rgb() / (255 if bits == 8 else 65535)
        assert np.abs(pixels - ramp / top).max() <= 2 / 255


class TestTransfer:
    @pytest.mark.parametrize(("trc", "transfer"), [("smpte2084", "pq"), ("arib-std-b67", "hlg"), ("bt2020-10", "sdr")])
    @pytest.mark.parametrize("container", ["hevc.mp4", "hevc.mkv", "ffv1.mkv"])
    def test_hdr_is_recognised_by_its_tag_and_announced(
        self, media: Media, trc: str, transfer: str, container: str
    ) -> None:
        x265 = {"c": "libx265", "preset": "ultrafast", "x265-params": "log-level=none"}
        codec = {"c": "ffv1"} if "ffv1" in container else x265
        tags = f"setparams=color_trc={trc}:colorspace=bt2020nc:color_primaries=bt2020"
        path = media(f"{transfer}-{container}", 0.2, SIZE, filters=tags, pix_fmt="yuv420p10le", **codec)
        _, info, warnings = read_one(path)
        assert (info.transfer, info.color_matrix) == (transfer, "bt2020")
        said = [w for w in warnings if "HDR" in w]
        assert len(said) == (0 if transfer == "sdr" else 1)
        assert all(transfer.upper() in w and "SDR" in w for w in said)

    def test_the_users_word_wins(self, media: Media) -> None:
        path = media("plain.mp4", 0.2, SIZE, c="libx264", preset="ultrafast", pix_fmt="yuv420p10le")
        assert read_one(path)[1].transfer == "sdr"
        assert read_one(path, transfer="smpte2084")[1].transfer == "pq"


YUV = ["yuv420p", "nv12", "nv16", "nv24", "yuv422p", "yuv444p", "yuva420p", "yuyv422", "uyvy422"]
YUV_DEEP = [
    "yuv420p10le",
    "yuv420p10be",
    "yuv422p10le",
    "yuv444p12le",
    "yuv420p16le",
    "p010le",
    "p016le",
    "p210le",
    "nv20le",
    "y210le",
]
RGB = ["rgb24", "bgr24", "gbrp", "bgr0", "rgba", "rgb48le", "gbrp10le", "gbrpf32le"]
SOFT = "gblur=sigma=6"  # no edges in colour: where chroma samples lie does not matter
GRAY = ["gray", "gray10le", "gray16be", "ya8"]


class TestPixelFormats:
    """The same picture in every layout: one luma, one R'G'B'."""

    @pytest.fixture
    def read_raw(self, media: Media) -> Callable[[str], Frame]:
        def read(pixel_format: str) -> Frame:
            path = media(f"{pixel_format}.raw", 0.04, SIZE, filters=SOFT, f="rawvideo", pix_fmt=pixel_format)
            return read_one(path, format="rawvideo", size_px=SIZE, pixel_format=pixel_format)[0]

        return read

    @pytest.fixture
    def luma(self, media: Media) -> np.ndarray:
        raw = media("reference.raw", 0.04, SIZE, filters=SOFT, f="rawvideo", pix_fmt="yuv420p")
        return np.fromfile(raw, np.uint8)[: SIZE[0] * SIZE[1]].reshape(SIZE[1], SIZE[0]).astype(np.float32)

    @pytest.mark.parametrize("pixel_format", YUV + YUV_DEEP)
    def test_luma_of_every_ycbcr_layout_is_the_same(
        self, read_raw: Callable[[str], Frame], luma: np.ndarray, pixel_format: str
    ) -> None:
        frame = read_raw(pixel_format)
        assert frame.thumbnail.dtype == np.float32
        assert np.abs(frame.thumbnail - luma).max() <= 1

    @pytest.mark.parametrize("pixel_format", RGB + GRAY)
    def test_luma_of_full_range_layouts_is_the_same(
        self, read_raw: Callable[[str], Frame], luma: np.ndarray, pixel_format: str
    ) -> None:
        difference = np.abs(read_raw(pixel_format).thumbnail - (luma - 16) * 255 / 219)
        assert difference.mean() <= 1.5

    @pytest.mark.parametrize("pixel_format", YUV + YUV_DEEP + RGB)
    def test_rgb_of_every_layout_is_the_same(
        self, media: Media, read_raw: Callable[[str], Frame], pixel_format: str
    ) -> None:
        raw = media("reference-444.raw", 0.04, SIZE, filters=SOFT, f="rawvideo", pix_fmt="yuv444p12le")
        expected = rgb_of(np.fromfile(raw, "<u2").reshape(3, SIZE[1], SIZE[0]), "bt601", bits=12)
        pixels = read_raw(pixel_format).rgb()
        deep = pixel_format in YUV_DEEP or pixel_format in ("rgb48le", "gbrp10le", "gbrpf32le")
        assert (pixels.dtype, pixels.shape) == (np.uint16 if deep else np.uint8, (3, SIZE[1], SIZE[0]))
        assert np.abs(pixels / (257 if deep else 1) - expected).mean() <= 2

    @pytest.mark.parametrize("pixel_format", GRAY)
    def test_gray_layouts_give_three_equal_channels(self, read_raw: Callable[[str], Frame], pixel_format: str) -> None:
        pixels = read_raw(pixel_format).rgb()
        assert np.array_equal(pixels[0], pixels[1])
        assert np.array_equal(pixels[0], pixels[2])
        assert pixels.std() > 0

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("palette.gif", {}),
            ("palette.mkv", {"c": "png", "pix_fmt": "pal8"}),
            ("mjpeg.avi", {"c": "mjpeg", "q": 2}),
            ("mjpeg422.avi", {"c": "mjpeg", "q": 2, "pix_fmt": "yuvj422p"}),
            ("prores4444.mov", {"c": "prores_ks", "pix_fmt": "yuva444p10le"}),
            ("v210.mov", {"c": "v210", "pix_fmt": "yuv422p10le"}),
            ("animation.mov", {"c": "qtrle"}),
            ("bitmap.avi", {"c": "rawvideo", "pix_fmt": "bgr24"}),
            ("h264-gray.mp4", {"c": "libx264", "pix_fmt": "gray", "preset": "ultrafast", "crf": 4}),
        ],
    )
    def test_encoded_layouts_look_as_ffmpeg_shows_them(
        self, media: Media, encode: Media, name: str, options: dict[str, Any]
    ) -> None:
        path = media(name, 0.2, SIZE, **options)
        shown = encode(path, f"{name}.rgb", f="rawvideo", pix_fmt="rgb24", fps_mode="passthrough")
        expected = np.fromfile(shown, np.uint8).reshape(-1, SIZE[1], SIZE[0], 3).transpose(0, 3, 1, 2)
        with open_video(str(path)) as reader:
            frames = list(reader)
        assert len(frames) == len(expected) == 5
        for frame, picture in zip(frames, expected, strict=True):
            pixels = frame.rgb()
            scaled = pixels / (257 if pixels.dtype == np.uint16 else 1)
            assert np.abs(scaled - picture).mean() <= 3
            assert frame.thumbnail.shape == (SIZE[1], SIZE[0])
            assert frame.thumbnail.std() > 10
        assert all(f.motion > 0 for f in frames[1:])


class TestRules:
    @pytest.mark.parametrize(
        ("tag", "is_rgb", "size", "said", "matrix"),
        [
            (1, False, (320, 180), None, "bt709"),
            (5, False, (1920, 1080), None, "bt601"),
            (6, False, (1920, 1080), None, "bt601"),
            (9, False, (320, 180), None, "bt2020"),
            (10, False, (320, 180), None, "bt2020"),
            (2, False, (1279, 719), None, "bt601"),
            (2, False, (1280, 544), None, "bt709"),
            (2, False, (406, 720), None, "bt709"),
            (0, False, (320, 180), None, "bt601"),
            (9, False, (320, 180), "bt709", "bt709"),
            (2, False, (320, 180), "smpte240m", "smpte240m"),
            (1, True, (320, 180), "bt709", "rgb"),
        ],
    )
    def test_matrix(self, tag: int, is_rgb: bool, size: tuple[int, int], said: Any, matrix: str) -> None:
        assert color_matrix(tag, is_rgb, *size, "sdr", said) == matrix

    @pytest.mark.parametrize("transfer", ["pq", "hlg"])
    def test_untagged_hdr_is_bt2020(self, transfer: Any) -> None:
        assert color_matrix(2, False, 1920, 1080, transfer, None) == "bt2020"
        assert color_matrix(1, False, 1920, 1080, transfer, None) == "bt709"

    @pytest.mark.parametrize(
        ("tag", "is_rgb", "pixel_format", "said", "expected"),
        [
            (0, False, "yuv420p", None, "limited"),
            (1, False, "yuv420p", None, "limited"),
            (2, False, "yuv420p", None, "full"),
            (0, False, "yuvj420p", None, "full"),
            (0, True, "gbrp", None, "full"),
            (2, False, "yuv420p", "tv", "limited"),
            (2, False, "yuv420p", "limited", "limited"),
            (2, False, "yuv420p", "mpeg", "limited"),
            (1, False, "yuv420p", "pc", "full"),
            (1, False, "yuv420p", "full", "full"),
            (1, False, "yuv420p", "jpeg", "full"),
            (0, False, "yuvj420p", "tv", "limited"),
            (1, True, "gbrp", "tv", "full"),
            (1, False, "gray10le", "tv", "full"),
        ],
    )
    def test_range(self, tag: int, is_rgb: bool, pixel_format: str, said: Any, expected: str) -> None:
        assert color_range(tag, is_rgb, pixel_format, said) == expected

    @pytest.mark.parametrize(
        ("tag", "said", "transfer"),
        [
            (1, None, "sdr"),
            (2, None, "sdr"),
            (14, None, "sdr"),
            (16, None, "pq"),
            (18, None, "hlg"),
            (16, "bt709", "sdr"),
            (1, "smpte2084", "pq"),
            (2, "arib-std-b67", "hlg"),
        ],
    )
    def test_transfer(self, tag: int, said: Any, transfer: str) -> None:
        assert transfer_of(tag, said) == transfer


@pytest.mark.parametrize(("pixel_format", "size"), [("yuvj420p", (321, 181)), ("yuvj422p", (320, 180))])
def test_limited_range_can_be_said_of_any_jpeg_layout(media: Media, pixel_format: str, size: tuple[int, int]) -> None:
    options = {"c": "mjpeg", "pix_fmt": pixel_format, "strict": "unofficial"}
    path = media(f"motion-{pixel_format}.mkv", 0.2, (320, 180), filters=f"scale={size[0]}:{size[1]}", **options)
    with open_video(str(path), InputOptions(color_range="tv")) as video:
        told = next(iter(video)).rgb()
    with open_video(str(path)) as video:
        tagged = next(iter(video)).rgb()
    assert told.shape == tagged.shape == (3, size[1], size[0])
    middle = (tagged > 140) & (tagged < 220)
    assert (told[middle] > tagged[middle]).mean() > 0.9  # limited range is stretched away from middle gray
