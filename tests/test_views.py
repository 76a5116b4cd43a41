"""Window -> model input: scaling, the places of the mosaic, the display, and HDR to SDR."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from qclip_ffmpeg.frame import VideoInfo
from qclip_ffmpeg.views import (
    HDR_WHITE_NITS,
    LARGEST_TILE_PX,
    SIZE_PX,
    Display,
    View,
    frame_views,
    hlg_to_nits,
    nits_to_pq,
    pq_to_nits,
    random_places,
    resample,
    roll_off,
    tile_size_px,
    to_sdr,
)

TILE_PX = LARGEST_TILE_PX
TILES = SIZE_PX // TILE_PX
GRID = [TILE_PX * i for i in range(TILES)]
EDGE_PX = 16

VIEWS: tuple[View, ...] = ("whole", "mosaic")


def make_info(width_px: int, height_px: int, aspect: Fraction = Fraction(1), rotation_deg: int = 0) -> VideoInfo:
    return VideoInfo(
        name="a.mp4",
        container="mp4",
        codec="h264",
        decoder="h264",
        width_px=width_px,
        height_px=height_px,
        pixel_format="yuv420p",
        frame_rate=Fraction(25),
        time_base=Fraction(1, 1000),
        start_s=Fraction(0),
        duration_s=None,
        sample_aspect_ratio=aspect,
        rotation_deg=rotation_deg,
        mirrored=False,
        color_matrix="bt709",
        color_range="limited",
        transfer="sdr",
    )


def noise(width_px: int, height_px: int, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (3, height_px, width_px), dtype, endpoint=True)


def smooth(width_px: int, height_px: int) -> np.ndarray:
    """Waves that no scaling here aliases or clips, uint16."""
    y, x = np.mgrid[:height_px, :width_px]
    waves = [np.sin(x / f + y / g) for f, g in ((9, 13), (17, 11), (15, 29))]
    return np.rint(32768 + 20000 * np.stack(waves)).astype(np.uint16)


def interpolated(picture: np.ndarray, width_px: int, height_px: int) -> Tensor:
    """PyTorch's own bicubic, which is Keys a = -0.5 when antialiasing."""
    pixels = torch.from_numpy(picture.astype(np.float64) / np.iinfo(picture.dtype).max)[None]
    size = (height_px, width_px)
    return torch.nn.functional.interpolate(pixels, size=size, mode="bicubic", antialias=True)[0].float()


class TestResample:
    @pytest.mark.parametrize(
        ("width_px", "height_px"), [(640, 360), (1280, 720), (500, 281), (300, 226), (224, 224), (100, 60), (64, 224)]
    )
    def test_whole_picture_is_torchs_bicubic_away_from_the_edges(self, width_px: int, height_px: int) -> None:
        picture = smooth(width_px, height_px)
        made = resample(picture, SIZE_PX, SIZE_PX, GRID, GRID)
        expected = interpolated(picture, SIZE_PX, SIZE_PX)
        inner = (slice(None), slice(EDGE_PX, -EDGE_PX), slice(EDGE_PX, -EDGE_PX))
        assert made.shape == (3, SIZE_PX, SIZE_PX)
        assert (made - expected)[inner].abs().max() < 1e-5

    def test_noise_too_where_nothing_is_clipped(self) -> None:
        picture = noise(700, 500) // 2 + 64
        inner = (slice(None), slice(EDGE_PX, -EDGE_PX), slice(EDGE_PX, -EDGE_PX))
        made = resample(picture, SIZE_PX, SIZE_PX, GRID, GRID)
        assert (made - interpolated(picture, SIZE_PX, SIZE_PX))[inner].abs().max() < 1e-5

    @pytest.mark.parametrize("shown", [(640, 360), (960, 540), (1920, 1080), (320, 231), (333, 777)])
    def test_a_tile_is_that_region_of_the_scaled_picture(self, shown: tuple[int, int]) -> None:
        picture = smooth(640, 360)
        rng = np.random.default_rng(4)
        lefts, tops = (random_places(length_px, TILES, TILE_PX, rng) for length_px in shown)
        mosaic = resample(picture, *shown, lefts, tops)
        scaled = interpolated(picture, *shown)
        checked = 0
        for row, top in enumerate(tops):
            for column, left in enumerate(lefts):
                if min(top, left, shown[1] - top - TILE_PX, shown[0] - left - TILE_PX) < EDGE_PX:
                    continue  # beside an edge ours repeats it, PyTorch's does not
                tile = mosaic[:, row * TILE_PX :, column * TILE_PX :][:, :TILE_PX, :TILE_PX]
                assert (tile - scaled[:, top : top + TILE_PX, left : left + TILE_PX]).abs().max() < 1e-5
                checked += 1
        assert checked >= 25

    def test_native_size_keeps_the_pixels(self) -> None:
        picture = noise(400, 300)
        mosaic = resample(picture, 400, 300, [0, 50, 100, 150, 200, 250, 368], [0, 40, 80, 120, 160, 200, 268])
        assert torch.equal(mosaic[:, -TILE_PX:, :TILE_PX], torch.from_numpy(picture[:, 268:, :32] / np.float32(255)))
        assert torch.equal(mosaic[:, :TILE_PX, -TILE_PX:], torch.from_numpy(picture[:, :32, 368:] / np.float32(255)))

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    @pytest.mark.parametrize("value", [0, 1, 100, 255])
    def test_a_flat_picture_stays_flat_up_to_its_edges(self, dtype: Any, value: int) -> None:
        scale = np.iinfo(dtype).max // 255
        flat = np.full((3, 90, 160), value * scale, dtype)
        assert (resample(flat, 512, 288, GRID, GRID) - value / 255).abs().max() < 1e-6

    def test_depth_does_not_matter(self) -> None:
        picture = noise(640, 360)
        deep = picture.astype(np.uint16) * 257
        rng = np.random.default_rng(1)
        lefts, tops = (random_places(length_px, TILES, TILE_PX, rng) for length_px in (960, 540))
        difference = resample(picture, 960, 540, lefts, tops) - resample(deep, 960, 540, lefts, tops)
        assert difference.abs().max() < 1e-6

    def test_overshoot_is_clipped(self) -> None:
        stripes = np.zeros((3, 64, 64), np.uint8)
        stripes[:, :, ::8] = 255
        made = resample(stripes, 300, 300, GRID, GRID)
        assert (made.min().item(), made.max().item()) == (0, 1)


class TestPlaces:
    @pytest.mark.parametrize("length_px", [224, 225, 231, 500, 1080, 3840])
    def test_one_tile_inside_each_cell(self, length_px: int) -> None:
        assert_one_tile_inside_each_cell(length_px, TILES, TILE_PX)

    @pytest.mark.parametrize(("tiles", "tile_px"), [(12, 28), (8, 32), (12, 32), (3, 32)])
    @pytest.mark.parametrize("length_px", [384, 385, 1080, 3840])
    def test_also_in_grids_of_other_sizes(self, length_px: int, tiles: int, tile_px: int) -> None:
        assert_one_tile_inside_each_cell(length_px, tiles, tile_px)

    def test_every_place_is_reached(self) -> None:
        rng = np.random.default_rng(0)
        first = {random_places(245, TILES, TILE_PX, rng)[0] for _ in range(200)}
        assert first == {0, 1, 2, 3}  # cells of 35, tiles of 32

    def test_at_224_there_is_one_place(self) -> None:
        assert random_places(224, TILES, TILE_PX, np.random.default_rng(0)) == GRID

    @pytest.mark.parametrize(
        ("size_px", "tile_px"), [(224, 32), (336, 28), (384, 32), (256, 32), (96, 32), (378, 27), (448, 32), (16, 16)]
    )
    def test_tiles_fill_a_view(self, size_px: int, tile_px: int) -> None:
        assert tile_size_px(size_px) == tile_px
        assert size_px % tile_px == 0


def assert_one_tile_inside_each_cell(length_px: int, tiles: int, tile_px: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        places = random_places(length_px, tiles, tile_px, rng)
        assert len(places) == tiles
        for i, place in enumerate(places):
            assert i * length_px // tiles <= place
            assert place + tile_px <= (i + 1) * length_px // tiles


class TestDisplay:
    @pytest.mark.parametrize(
        ("display", "info", "shown"),
        [
            (Display(1920, 1080), make_info(1280, 720), (1920, 1080)),
            (Display(1920, 1080), make_info(3840, 2160), (1920, 1080)),
            (Display(1920, 1080), make_info(1920, 800), (1920, 800)),
            (Display(1920, 1080), make_info(640, 480), (1440, 1080)),
            (Display(1920, 1080), make_info(1080, 1920), (608, 1080)),
            (Display(1080, 1920), make_info(1080, 1920), (1080, 1920)),
            (Display(1920, 1080), make_info(1920, 1080, rotation_deg=90), (608, 1080)),
            (Display(1920, 1080), make_info(1920, 1080, rotation_deg=180), (1920, 1080)),
            (Display(1920, 1080), make_info(1440, 1080, Fraction(4, 3)), (1920, 1080)),
            (Display(1920, 1080), make_info(720, 576, Fraction(64, 45)), (1920, 1080)),
            (Display(1920, 1080), make_info(1440, 1080, Fraction(4, 3), 270), (608, 1080)),
            (Display(1280, 720), make_info(640, 360), (1280, 720)),
            (Display(None, None), make_info(1280, 720), (1280, 720)),
            (Display(None, None), make_info(720, 576, Fraction(64, 45)), (1024, 576)),
            (Display(None, None), make_info(1280, 720, rotation_deg=90), (720, 1280)),
            (Display(None, None), make_info(1280, 720, rotation_deg=180), (1280, 720)),
            (Display(None, None), make_info(64, 64), (224, 224)),
            (Display(None, None), make_info(160, 90), (398, 224)),
            (Display(None, None), make_info(90, 160), (224, 398)),
            (Display(320, 180), make_info(1920, 1080), (398, 224)),
            (Display(1920, 1080), make_info(4000, 100), (8960, 224)),
        ],
    )
    def test_the_picture_is_fitted_aspect_kept_224_at_least(
        self, display: Display, info: VideoInfo, shown: tuple[int, int]
    ) -> None:
        assert display.shown_size_px(info) == shown
        assert min(shown) >= SIZE_PX

    @pytest.mark.parametrize("seed", range(30))
    def test_no_size_is_too_small_for_a_mosaic(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        width_px, height_px = (int(n) for n in rng.integers(1, 400, 2))
        for display in (Display(None, None), Display(300, 200), Display(1920, 1080)):
            assert min(display.shown_size_px(make_info(width_px, height_px))) >= SIZE_PX

    def test_its_name(self) -> None:
        assert (str(Display(1920, 1080)), str(Display(None, None))) == ("1920x1080", "native")


class TestFrameViews:
    def test_views_come_in_the_order_asked_for(self) -> None:
        picture = noise(640, 360)
        both = frame_views(picture, (640, 360), "sdr", ("whole", "mosaic"), np.random.default_rng(0))
        turned = frame_views(picture, (640, 360), "sdr", ("mosaic", "whole"), np.random.default_rng(0))
        assert both.shape == (2, 3, SIZE_PX, SIZE_PX)
        assert both.dtype == torch.float32
        assert torch.equal(both, turned.flip(0))
        assert torch.equal(both[0], resample(picture, SIZE_PX, SIZE_PX, GRID, GRID))

    def test_the_seed_places_the_mosaic_and_not_the_whole(self) -> None:
        picture = noise(640, 360)
        first, again, other = (
            frame_views(picture, (640, 360), "sdr", VIEWS, np.random.default_rng(seed)) for seed in (1, 1, 2)
        )
        assert torch.equal(first, again)
        assert torch.equal(first[0], other[0])
        assert not torch.equal(first[1], other[1])

    def test_the_mosaic_shows_every_part_of_the_picture(self) -> None:
        """Each cell of the picture has a gray of its own: the tiles have the same grays in the same places."""
        grays = np.arange(TILES * TILES, dtype=np.uint8).reshape(TILES, TILES) * 5
        cells = np.repeat(np.repeat(grays, 50, axis=0), 90, axis=1)
        picture = np.stack([cells] * 3)
        _, mosaic = frame_views(picture, (630, 350), "sdr", VIEWS, np.random.default_rng(3))
        centres = mosaic[0, TILE_PX // 2 :: TILE_PX, TILE_PX // 2 :: TILE_PX]
        assert torch.equal(centres, torch.from_numpy(grays / np.float32(255)))

    @pytest.mark.parametrize("size_px", [96, 256, 336, 384])
    def test_views_are_as_large_as_the_backbone_needs(self, size_px: int) -> None:
        picture = smooth(640, 480)
        views = frame_views(picture, (1440, 1080), "sdr", VIEWS, np.random.default_rng(0), size_px)
        assert views.shape == (2, 3, size_px, size_px)
        inner = (slice(None), slice(EDGE_PX, -EDGE_PX), slice(EDGE_PX, -EDGE_PX))
        assert (views[0] - interpolated(picture, size_px, size_px))[inner].abs().max() < 1e-5
        tile_px = tile_size_px(size_px)
        rng = np.random.default_rng(0)
        lefts, tops = (random_places(length_px, size_px // tile_px, tile_px, rng) for length_px in (1440, 1080))
        tile = interpolated(picture, 1440, 1080)[:, tops[1] : tops[1] + tile_px, lefts[2] : lefts[2] + tile_px]
        assert (views[1][:, tile_px:, 2 * tile_px :][:, :tile_px, :tile_px] - tile).abs().max() < 1e-5

    def test_a_display_smaller_than_a_view_is_enlarged(self) -> None:
        """224 lines are the least a display shows; a backbone may look at more."""
        views = frame_views(noise(640, 360), (398, 224), "sdr", VIEWS, np.random.default_rng(0), 336)
        assert views.shape == (2, 3, 336, 336)

    def test_hdr_is_mapped_after_scaling(self) -> None:
        picture = noise(640, 360, np.uint16)
        sdr = frame_views(picture, (640, 360), "sdr", VIEWS, np.random.default_rng(0))
        pq = frame_views(picture, (640, 360), "pq", VIEWS, np.random.default_rng(0))
        assert torch.equal(pq, to_sdr(sdr, "pq"))


def gray(*signal: float) -> Tensor:
    """Pictures of one gray pixel each, (n, 3, 1, 1)."""
    return torch.tensor(signal, dtype=torch.float64)[:, None, None, None].expand(-1, 3, 1, 1)


class TestHdr:
    def test_pq_round_trip(self) -> None:
        signal = torch.linspace(0, 1, 1001, dtype=torch.float64)
        assert (nits_to_pq(pq_to_nits(signal)) - signal).abs().max() < 1e-6
        nits = torch.logspace(-3, 4, 200, dtype=torch.float64)
        assert (pq_to_nits(nits_to_pq(nits)) / nits - 1).abs().max() < 1e-9

    @pytest.mark.parametrize(
        ("signal", "nits"), [(0.0, 0.0), (0.508, 100.0), (0.581, 203.0), (0.752, 1000.0), (1, 1e4)]
    )
    def test_pq_reference_values(self, signal: float, nits: float) -> None:
        """ITU-R BT.2408 and ST 2084."""
        assert pq_to_nits(torch.tensor(signal, dtype=torch.float64)).item() == pytest.approx(nits, rel=0.01, abs=1e-6)
        assert nits_to_pq(torch.tensor(nits, dtype=torch.float64)).item() == pytest.approx(signal, abs=1e-3)

    @pytest.mark.parametrize(("signal", "nits"), [(0.75, 203.0), (1.0, 1000.0), (0.38, 26.0), (0.0, 0.0)])
    def test_hlg_reference_values_on_a_1000_nit_display(self, signal: float, nits: float) -> None:
        """ITU-R BT.2408, table 1: 75 % is diffuse white, 38 % an 18 % gray card (26 cd/m2)."""
        assert hlg_to_nits(gray(signal)).flatten()[0].item() == pytest.approx(nits, rel=0.02, abs=1e-3)

    @pytest.mark.parametrize("transfer", ["pq", "hlg"])
    def test_brighter_stays_brighter(self, transfer: Any) -> None:
        out = to_sdr(gray(*np.linspace(0, 1, 500)), transfer)[:, 1, 0, 0]
        assert (out.diff() >= -1e-9).all()
        assert (out[out < 0.99].diff() > 0).all()
        assert out.min() >= 0
        assert out.max() <= 1

    @pytest.mark.parametrize("transfer", ["pq", "hlg"])
    def test_black_stays_black(self, transfer: Any) -> None:
        assert to_sdr(gray(0.0), transfer).abs().max() < 0.01

    @pytest.mark.parametrize(("transfer", "white"), [("pq", 0.581), ("hlg", 0.75)])
    def test_diffuse_white_comes_near_the_top_and_highlights_above_it(self, transfer: Any, white: float) -> None:
        diffuse, peak = to_sdr(gray(white, 1.0), transfer)[:, 1, 0, 0].tolist()
        assert 0.8 < diffuse < peak <= 1
        assert peak > 0.99

    @pytest.mark.parametrize("transfer", ["pq", "hlg"])
    def test_gray_stays_gray(self, transfer: Any) -> None:
        out = to_sdr(gray(*np.linspace(0, 1, 50)), transfer)
        assert (out - out[:, :1]).abs().max() < 0.01

    def test_mid_tones_keep_their_light(self) -> None:
        """Below the knee an SDR display shows the same share of its white that the HDR one showed of diffuse white."""
        nits = torch.tensor([1.0, 5.0, 20.0, 50.0], dtype=torch.float64)
        out = to_sdr(nits_to_pq(nits)[:, None, None, None].expand(-1, 3, 1, 1), "pq")[:, 1, 0, 0]
        assert (out**2.4 * HDR_WHITE_NITS).tolist() == pytest.approx(nits.tolist(), rel=0.02)

    def test_roll_off_reaches_diffuse_white_at_the_peak(self) -> None:
        signal = nits_to_pq(torch.tensor([10.0, 1000.0, 4000.0], dtype=torch.float64))
        low, peak, above = pq_to_nits(roll_off(signal)).tolist()
        assert low == pytest.approx(10, rel=1e-3)
        assert peak == pytest.approx(HDR_WHITE_NITS, rel=1e-3)
        assert above == pytest.approx(HDR_WHITE_NITS, rel=1e-3)

    def test_roll_off_begins_at_the_knee_of_bt2390(self) -> None:
        """Worked by hand from the report, 1000 to 203 cd/m2: the knee is at PQ 0.495 and 0.581 becomes 0.5555."""
        before, knee, white = roll_off(torch.tensor([0.3, 0.495, 0.581], dtype=torch.float64)).tolist()
        assert (before, knee) == pytest.approx((0.3, 0.495), abs=1e-9)
        assert white == pytest.approx(0.5555, abs=5e-4)

    def test_bt709_red_in_bt2020_comes_back_red(self) -> None:
        """100 cd/m2 of BT.709 red, written in BT.2020 primaries, ITU-R BT.2087."""
        nits = 100 * torch.tensor([0.6274, 0.0691, 0.0164], dtype=torch.float64)
        red, green, blue = to_sdr(nits_to_pq(nits)[:, None, None], "pq").flatten().tolist()
        assert red > 0.6
        assert max(green, blue) < 0.25 * red
