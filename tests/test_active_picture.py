"""Black bars: found where they are, left alone where they are not, and then the score is that of the bare picture."""

import json
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from qclip_ffmpeg.active_picture import NO_BARS, ActivePicture, Margins
from qclip_ffmpeg.frame import Frame, Picture, VideoInfo
from qclip_ffmpeg.inputs import InputOptions
from qclip_ffmpeg.measurement import ProbeSettings, probe
from qclip_ffmpeg.reader import open_video
from qclip_ffmpeg.sampling import Window, windows
from qclip_ffmpeg.scorer import Scorer
from qclip_ffmpeg.showing import frame_views_of
from qclip_ffmpeg.track import Area
from qclip_ffmpeg.views import Display, frame_views

pytest_plugins = ["model_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")

SEED = 7
LETTERBOX, PILLARS, WINDOWBOX = Margins(30, 30, 0, 0), Margins(0, 0, 53, 54), Margins(30, 31, 40, 40)


def content(height_px: int = 180, width_px: int = 320, seed: int = SEED) -> NDArray[np.uint8]:
    """A bright picture with structure everywhere, (3, height, width)."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(60, 200, (3, height_px // 20 + 1, width_px // 20 + 1)).repeat(20, axis=1).repeat(20, axis=2)
    fine = rng.normal(0, 10, (3, height_px, width_px))
    return np.clip(coarse[:, :height_px, :width_px] + fine, 0, 255).astype(np.uint8)


def barred(picture: Picture, bars: Margins, level: float = 0, noise: float = 0) -> NDArray[np.uint8]:
    """The picture with bars around it; noise: standard deviation, in code values."""
    _, height_px, width_px = picture.shape
    shape = (3, height_px + bars.top + bars.bottom, width_px + bars.left + bars.right)
    whole = np.random.default_rng(0).normal(level, noise, shape) if noise else np.full(shape, level)
    bars.cut(whole)[...] = picture  # type: ignore[arg-type]
    return np.clip(whole, 0, 255).astype(np.uint8)


def settle(active: ActivePicture, *pictures: Picture) -> Margins:
    """The bars of a window of these pictures."""
    for picture in pictures:
        active.look(picture)
    active.settle()
    return active.bars_of(pictures[0])


def bars_of(*pictures: Picture) -> Margins:
    return settle(ActivePicture(), *pictures)


def black(picture: Picture) -> Picture:
    return np.zeros_like(picture)


# Bars that are there


@pytest.mark.parametrize(
    ("size_px", "bars"),
    [
        ((133, 320), Margins(23, 24, 0, 0)),
        ((320, 320), Margins(6, 6, 0, 0)),
        ((180, 239), Margins(0, 0, 41, 40)),
        ((180, 102), Margins(0, 0, 109, 109)),
        ((102, 180), Margins(109, 109, 0, 0)),
        ((135, 240), Margins(22, 23, 40, 40)),
        ((101, 241), Margins(39, 40, 39, 40)),
    ],
    ids=["2.39:1", "narrow", "4:3", "9:16 in 16:9", "16:9 in 9:16", "window", "2.39:1 in 4:3"],
)
@pytest.mark.parametrize("deep", [False, True], ids=["8 bit", "16 bit"])
def test_bars_are_found_to_the_pixel(size_px: tuple[int, int], bars: Margins, deep: bool) -> None:
    pictures: list[Picture] = [barred(content(*size_px, seed=seed), bars) for seed in (1, 2)]
    if deep:
        pictures = [picture.astype(np.uint16) << 8 for picture in pictures]
    assert bars_of(*pictures) == bars
    assert bars.cut(pictures[0]).shape == (3, *size_px)


@pytest.mark.parametrize(
    ("level", "noise"),
    [(0, 3), (5, 2), (16, 1), (19, 1)],
    ids=["grain", "lifted", "limited taken for full", "NTSC set-up"],
)
def test_bars_need_not_be_quite_black(level: float, noise: float) -> None:
    assert bars_of(*(barred(content(seed=s), LETTERBOX, level, noise) for s in range(4))) == LETTERBOX


def test_a_dim_picture_has_edges_too() -> None:
    assert bars_of(barred((content() * 0.4).astype(np.uint8), LETTERBOX)) == LETTERBOX


def test_a_windowbox_may_be_dark_along_half_an_edge() -> None:
    picture = content(160, 300)
    picture[:, :30, :150] = 0
    assert bars_of(barred(picture, Margins(40, 40, 130, 130))) == Margins(40, 40, 130, 130)


def test_a_blurred_edge_is_cut_at_its_middle() -> None:
    """As a scaler leaves it: a line that is nearer to the bar than to the picture goes with the bar."""
    whole = barred(content(), LETTERBOX).astype(np.float64)
    blurred = sum(np.roll(whole, shift, axis=1) for shift in (-1, 0, 1)) / 3
    assert bars_of(blurred.astype(np.uint8)) == LETTERBOX


def test_ringing_at_the_edge_is_no_picture() -> None:
    """Eight lines of it, a fifth of the picture's brightness, on both sides."""
    whole = barred(content(), LETTERBOX).astype(np.float64)
    ring = np.random.default_rng(1).uniform(0, 1, (3, 8, 320)) * np.linspace(5, 30, 8)[:, None]
    whole[:, 22:30] += ring
    whole[:, 210:218] += ring[:, ::-1]
    assert bars_of(whole.astype(np.uint8)) == LETTERBOX


def text(picture: Picture, first: int, lines: int, ink: float = 0.4, seed: int = 0) -> NDArray[np.uint8]:
    """White strokes in the middle half of some lines."""
    rng = np.random.default_rng(seed)
    written = picture.copy()
    width_px = picture.shape[2]
    strokes = rng.uniform(size=(lines, width_px // 2)) < ink
    written[:, first : first + lines, width_px // 4 : width_px // 4 + width_px // 2][:, strokes] = 235
    return written


def test_subtitles_in_one_bar_are_no_picture() -> None:
    whole = barred(content(), LETTERBOX)
    assert bars_of(whole, text(whole, 218, 10)) == LETTERBOX
    assert bars_of(text(whole, 218, 10), text(whole, 218, 10)) == LETTERBOX
    assert bars_of(text(whole, 5, 10)) == LETTERBOX
    assert bars_of(text(text(whole, 5, 10), 218, 10)) == NO_BARS, "panels of a program, as likely as bars"


def test_fades_and_black_frames_do_not_hide_bars() -> None:
    whole = barred(content(), WINDOWBOX)
    fading = [(whole * share).astype(np.uint8) for share in (0, 0, 0, 0, 0.05, 0.3, 0.7)]
    assert bars_of(*fading, whole) == WINDOWBOX


# Bars that are not


def lamp(height_px: int, width_px: int) -> NDArray[np.uint8]:
    """A night shot: light that falls off from the middle to black."""
    y, x = np.ogrid[-1 : 1 : height_px * 1j, -1 : 1 : width_px * 1j]
    return (content(height_px, width_px) * np.clip(1.2 - np.hypot(1.1 * x, 1.3 * y), 0, 1)).astype(np.uint8)


def sunset(slope: float) -> NDArray[np.uint8]:
    """Straight, even, symmetric, and no edge: light that falls to the top and the bottom by `slope` codes a line."""
    lines = np.clip(slope * (np.minimum(np.arange(180), np.arange(180)[::-1]) - 20), 0, 200)
    return np.broadcast_to(lines[None, :, None], (3, 180, 320)).astype(np.uint8)


def skyline() -> NDArray[np.uint8]:
    """Straight on the whole, but column by column the picture begins anywhere within 40 lines."""
    first = np.random.default_rng(0).permutation(np.linspace(50, 90, 320))
    line = np.arange(240)[:, None]
    return content(240, 320) * ((line >= first) & (line[::-1] >= first)).astype(np.uint8)


def lit_in_bars(lines: tuple[slice, ...], colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A letterboxed picture with light in some of the lines of its bars, away from the corners."""
    whole = barred(content(), LETTERBOX)
    for part in lines:
        whole[:, part, 30:290] = np.array(colour)[:, None, None]
    return whole


def rolling(frame: int) -> NDArray[np.uint8]:
    """Credits, justified, with blanks between the lines."""
    page = np.zeros((3, 400, 320), np.uint8)
    for first in range(0, 380, 18):
        page = text(page, first, 11, ink=0.5, seed=first)
    return np.roll(page, -7 * frame, axis=1)[:, :180]


def striped(*colours: tuple[int, int, int]) -> NDArray[np.uint8]:
    stripes = [np.broadcast_to(np.array(c, np.uint8)[:, None, None], (3, 60, 320)) for c in colours]
    return np.concatenate(stripes, axis=1)


HOSTILE: dict[str, list[Picture]] = {
    "no bars": [content()],
    "black": [black(content())] * 4,
    "night": [lamp(180, 320)] * 3,
    "sunset": [sunset(2)] * 3,
    "sunset, steep": [sunset(4)] * 3,
    "skyline": [skyline()] * 3,
    "crushed": [np.clip(content().astype(np.int16) - drop, 0, 255).astype(np.uint8) for drop in (100, 120)],
    "a card of text": [text(np.zeros((3, 180, 320), np.uint8), 80, 20)] * 4,
    "credits": [rolling(frame) for frame in range(8)],
    "one bar": [barred(content(), Margins(40, 0, 0, 0))],
    "uneven bars": [barred(content(), Margins(40, 30, 0, 0))],
    "narrow bars": [barred(content(), Margins(5, 5, 0, 0))],
    "grey bars": [barred(content(), LETTERBOX, level=40)],
    "white bars": [barred(content(), LETTERBOX, level=235)],
    "a blue flag": [striped((0, 0, 255), (255, 255, 255), (0, 0, 255))],
    "a red flag": [striped((120, 0, 0), (255, 220, 0), (120, 0, 0))],
    "a screen in a dark room": [barred(content(80, 140), Margins(50, 50, 90, 90))],
    "a slit": [barred(content(20, 320), Margins(80, 80, 0, 0))],
    "tiny": [barred(content(30, 60), Margins(8, 8, 0, 0))],
    "bars for a while": [barred(content(), LETTERBOX), content(240, 320)],
    "blue light in them": [lit_in_bars((slice(0, 20), slice(220, 240)), (0, 0, 255))],
    "picture in one": [barred(content(), LETTERBOX)] * 2 + [lit_in_bars((slice(222, 238),), (90, 90, 90))],
    "a dim picture in them": [barred(content(), LETTERBOX), (content(240, 320) * 0.25).astype(np.uint8)],
    "two sizes": [barred(content(), LETTERBOX), barred(content(), PILLARS)],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_is_cut_where_there_is_doubt(name: str) -> None:
    active = ActivePicture()
    assert settle(active, *HOSTILE[name]) == NO_BARS
    assert settle(active, *HOSTILE[name]) == NO_BARS, "nor in the next window"


def test_keep_keeps_them() -> None:
    active = ActivePicture("keep")
    assert settle(active, barred(content(), LETTERBOX)) == NO_BARS
    assert active.area_px == Area(0, 0, 320, 240)


# From window to window


def test_bars_last_through_the_dark_and_end_with_the_first_picture_in_them() -> None:
    whole, full = barred(content(), LETTERBOX), content(240, 320)
    active = ActivePicture()
    history = [
        (black(whole), NO_BARS, False),  # nothing is known yet
        (whole, LETTERBOX, True),
        (black(whole), LETTERBOX, False),
        (barred(content() // 12, LETTERBOX), LETTERBOX, False),  # night
        (text(whole, 218, 10), LETTERBOX, False),
        (text(black(whole), 218, 10), LETTERBOX, False),
        (full, NO_BARS, True),
        (black(whole), NO_BARS, False),
        (whole, LETTERBOX, True),
        (barred(content(210, 320), Margins(30, 0, 0, 0)), NO_BARS, True),  # picture in one of them
        (whole, LETTERBOX, True),  # another aspect, back again
        (barred(content(240, 200), Margins(0, 0, 60, 60)), Margins(0, 0, 60, 60), True),
    ]
    for place, (picture, bars, changed) in enumerate(history):
        assert (place, settle(active, picture, picture), active.changed) == (place, bars, changed)


def test_the_first_windows_bars_are_no_change() -> None:
    active = ActivePicture()
    assert settle(active, barred(content(), LETTERBOX)) == LETTERBOX
    assert not active.changed


def test_an_edge_does_not_wander() -> None:
    """What an encoder makes of the edge differs from scene to scene; the picture must not change its size by it."""
    active = ActivePicture()
    settle(active, barred(content(), LETTERBOX))
    assert settle(active, barred(content(178, 320), Margins(31, 31, 0, 0))) == LETTERBOX
    assert not active.changed
    assert settle(active, barred(content(160, 320), Margins(40, 40, 0, 0))) == Margins(40, 40, 0, 0)
    assert active.changed


def test_another_size_starts_anew() -> None:
    active = ActivePicture()
    settle(active, barred(content(), LETTERBOX))
    small = barred(content(90, 200), Margins(20, 20, 0, 0))
    assert settle(active, black(small)) == NO_BARS
    assert active.area_px == Area(0, 0, 200, 130)
    assert not active.changed
    assert settle(active, small) == Margins(20, 20, 0, 0)


def test_sizes_that_meet_in_a_window_are_shown_whole() -> None:
    active = ActivePicture()
    letterbox = barred(content(), LETTERBOX)
    settle(active, letterbox)
    assert settle(active, letterbox, content(90, 160)) == NO_BARS
    assert active.bars_of(content(90, 160)) == NO_BARS
    assert active.area_px is None
    assert settle(active, letterbox) == LETTERBOX


# What the model is shown


def info_of(width_px: int, height_px: int) -> VideoInfo:
    return VideoInfo(
        "x", "nut", "rawvideo", "rawvideo", width_px, height_px, "gbrp", Fraction(25), Fraction(1, 25), None, None,
        Fraction(1), 0, False, "rgb", "full", "sdr",
    )  # fmt: skip


class Counted:
    """A window of pictures that counts how often they are converted."""

    def __init__(self, pictures: Iterable[Picture]) -> None:
        self.conversions = 0
        self.pictures = list(pictures)
        frames = tuple(
            Frame(
                i, Fraction(i), Fraction(1), i, np.zeros((1, 1), np.float32), 0.0, False, frozenset(),
                convert=self._convert(p),
            )
            for i, p in enumerate(self.pictures)
        )  # fmt: skip
        self.window = Window(0, Fraction(0), Fraction(1), 0, frames, len(frames), 0.0, frozenset())

    def _convert(self, picture: Picture) -> Callable[[], Picture]:
        def convert() -> Picture:
            self.conversions += 1
            return picture

        return convert

    def views(self, scorer: Scorer, display: Display, active: ActivePicture | None = None) -> torch.Tensor:
        _, height_px, width_px = self.pictures[0].shape
        config = scorer.model.card.config
        return frame_views_of(self.window, info_of(width_px, height_px), display, config, SEED, active)


@pytest.mark.parametrize("display", [Display(1920, 1080), Display(None, None)], ids=str)
@pytest.mark.parametrize("bars", [LETTERBOX, PILLARS, WINDOWBOX], ids=["letterbox", "pillars", "window"])
def test_a_picture_with_bars_is_shown_as_the_one_without(bars: Margins, display: Display, tiny_scorer: Scorer) -> None:
    """Bit by bit. 300 lines, so that the native display need not enlarge them to be seen at all."""
    pictures = [content(300, 520, seed) for seed in (1, 2)]
    bare = Counted(pictures).views(tiny_scorer, display)
    with_bars = [barred(p, bars) for p in pictures]
    assert torch.equal(Counted(with_bars).views(tiny_scorer, display), bare)
    kept = Counted(with_bars).views(tiny_scorer, display, ActivePicture("keep"))
    assert not torch.equal(kept, bare)


def test_a_picture_without_bars_is_shown_as_ever(tiny_scorer: Scorer) -> None:
    """Bit by bit, and converted once."""
    window, display = Counted([content(seed=1), content(seed=2)]), Display(1920, 1080)
    config = tiny_scorer.model.card.config
    ever = [
        frame_views(p, (1920, 1080), "sdr", config.views, np.random.default_rng([SEED, i]), config.backbone.image_px)
        for i, p in enumerate(window.pictures)
    ]
    assert torch.equal(window.views(tiny_scorer, display), torch.stack(ever))
    assert window.conversions == 2


def test_bars_that_last_cost_nothing_more(tiny_scorer: Scorer) -> None:
    active = ActivePicture()
    first, second = (Counted([barred(content(seed=s), LETTERBOX) for s in seeds]) for seeds in ((1, 2), (3, 4)))
    for window in (first, second):
        window.views(tiny_scorer, Display(1920, 1080), active)
    assert (first.conversions, second.conversions) == (4, 2)


# Real encodes

PAD = "scale=480:270,pad=480:360:0:44"  # 44 lines above, 46 below
ENCODES: dict[str, dict[str, Any]] = {
    "H.264": {"c": "libx264", "crf": 23},
    "H.264, low": {"c": "libx264", "crf": 44, "preset": "veryfast"},
    "H.264, 10 bit": {"c": "libx264", "crf": 28, "pix_fmt": "yuv420p10le"},
    "HEVC, low": {"c": "libx265", "crf": 40, "preset": "ultrafast", "x265-params": "log-level=error"},
    "MPEG-2, low": {"c": "mpeg2video", "qscale": 20},
    "limited taken for full": {"c": "libx264", "crf": 28, "bsf": "h264_metadata=video_full_range_flag=1"},
    "PQ": {"c": "libx264", "crf": 28, "color_trc": "smpte2084", "pix_fmt": "yuv420p10le"},
}


def bars_in(path: Path, options: InputOptions | None = None) -> list[Margins]:
    """The bars of each second of a file."""
    active = ActivePicture()
    with open_video(str(path), options) as video:
        return [
            settle(active, *(frame.rgb() for frame in window.frames))
            for window in windows(video, segment_s=Fraction(1), frames_per_window=4)
        ]


@pytest.mark.parametrize("name", ENCODES)
def test_bars_are_found_in_encodes(name: str, example_clip: Path, encode: Callable[..., Path]) -> None:
    options = {"vf": PAD, "t": 1, "pix_fmt": "yuv420p", **ENCODES[name]}
    (found,) = bars_in(encode(example_clip, f"bars {name}.mkv", **options))
    assert all(abs(a - b) <= 2 for a, b in zip(found, (44, 46, 0, 0), strict=True)), found


def test_bars_are_found_upright(example_clip: Path, encode: Callable[..., Path]) -> None:
    """Letterbox bars of a video that is turned to be shown are pillars."""
    letterbox = encode(example_clip, "bars upright.mp4", vf=PAD, t=1, c="libx264", crf=23)
    turned = encode(letterbox, "bars turned.mp4", input_options={"display_rotation": 90}, c="copy")
    (found,), (upright,) = bars_in(turned), bars_in(letterbox)
    assert found[:2] == (0, 0)
    assert sorted(found[2:]) == sorted(upright[:2])
    assert min(found[2:]) > 40


def test_nothing_is_cut_from_the_example(example_clip: Path, encode: Callable[..., Path]) -> None:
    assert set(bars_in(example_clip)) == {NO_BARS}
    night = encode(example_clip, "night.mkv", vf="scale=480:270,lutyuv=y='16+(val-16)*0.12'", t=2, c="libx264", crf=35)
    assert set(bars_in(night)) == {NO_BARS}


LOSSLESS = {"c": "ffv1", "pix_fmt": "yuv444p"}
UNIFORM = ProbeSettings(sampling="uniform", frames_per_window=2, segment_s=Fraction(1, 2))


@pytest.fixture
def bare(media: Callable[..., Path]) -> Path:
    return media("bare.mkv", 1, (320, 180), 10, **LOSSLESS)


def test_the_score_does_not_move_by_bars(bare: Path, encode: Callable[..., Path], tiny_scorer: Scorer) -> None:
    """To the last digit; the track says what was scored."""
    boxed = encode(bare, "boxed.mkv", vf="pad=400:240:40:30", **LOSSLESS)
    plain, cut = (probe(str(path), scorer=tiny_scorer, settings=UNIFORM) for path in (bare, boxed))
    assert [s.score for s in cut.segments] == [s.score for s in plain.segments]
    assert [s.active_picture_px for s in cut.segments] == [Area(40, 30, 320, 180)] * 2
    assert [s.active_picture_px for s in plain.segments] == [Area(0, 0, 320, 180)] * 2
    assert [w for w in cut.warnings if "bars" in w] == [
        "black bars were cut, 320x180 px were scored (--bars keep scores all of the picture)"
    ]
    assert not [w for w in plain.warnings if "bars" in w]
    assert not {f for s in cut.segments for f in s.flags if "bars" in f}
    assert cut.settings.bars == "cut"


def test_bars_that_come_are_said(bare: Path, encode: Callable[..., Path], tiny_scorer: Scorer) -> None:
    drawn = (
        "drawbox=h=40:color=black:t=fill:enable='gte(t,0.5)',drawbox=y=140:h=40:color=black:t=fill:enable='gte(t,0.5)'"
    )
    track = probe(str(encode(bare, "come.mkv", vf=drawn, **LOSSLESS)), scorer=tiny_scorer, settings=UNIFORM)
    assert [s.active_picture_px for s in track.segments] == [Area(0, 0, 320, 180), Area(0, 40, 320, 100)]
    assert ["bars_changed" in s.flags for s in track.segments] == [False, True]
    assert "the bars change (first at 0.5 s): the picture is shown at different sizes" in track.warnings


def test_the_command_keeps_them_when_asked(
    bare: Path, encode: Callable[..., Path], tiny_weights: Path, qclip_probe: Callable[..., Any]
) -> None:
    boxed = encode(bare, "boxed.mkv", vf="pad=400:240:40:30", **LOSSLESS)
    kept, cut = (
        json.loads(qclip_probe(str(boxed), "--json", "--frames", "1", *more).stdout)
        for more in (("--bars", "keep"), ())
    )
    assert (kept["settings"]["bars"], cut["settings"]["bars"]) == ("keep", "cut")
    assert kept["segments"][0]["active_picture_px"] == {"x": 0, "y": 0, "width": 400, "height": 240}
    assert cut["segments"][0]["active_picture_px"] == {"x": 40, "y": 30, "width": 320, "height": 180}
    assert kept["segments"][0]["score"] != cut["segments"][0]["score"]
    assert qclip_probe(str(boxed), "--bars", "crop").code == 2
