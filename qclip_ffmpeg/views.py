"""Window -> model input. A view is one way of looking at a picture as it is displayed, a square of S x S pixels.

"whole": the displayed picture squashed to a square. Composition, blur and coarse damage.
"mosaic": the picture in cells, one tile at display resolution from each, put together: grain, blocking, ringing, what
shrinking the picture destroys (the fragments of FAST-VQA, Wu et al., arXiv 2207.02595). S is 224 with most CLIP towers:
7 x 7 cells, tiles of 32 x 32.

Both are the same operation, `resample`: a grid of tiles taken from the picture at some scale. The rows and the
columns of tiles are placed at random once a frame from a seed, so the two axes stay separable and only the pixels
that are needed are scaled. Bicubic (Keys, a = -0.5), widened when it shrinks so that it does not alias.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qclip_ffmpeg.frame import Picture, Transfer, VideoInfo

View = Literal["whole", "mosaic"]
LARGEST_TILE_PX = 32
SIZE_PX = 224
CUBIC_A = -0.5
WHOLE = (Fraction(1), Fraction(1))

# SMPTE ST 2084 (PQ) and ITU-R BT.2100 (HLG) constants.
PQ_M1, PQ_M2 = 2610 / 16384, 2523 / 4096 * 128
PQ_C1, PQ_C2, PQ_C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
PQ_PEAK_NITS = 10000.0
HLG_A, HLG_B, HLG_C = 0.17883277, 0.28466892, 0.55991073
HLG_PEAK_NITS, HLG_GAMMA = 1000.0, 1.2
HDR_WHITE_NITS = 203.0  # ITU-R BT.2408: diffuse white of HDR programmes; becomes the white of SDR
HDR_PEAK_NITS = 1000.0
SDR_GAMMA = 2.4  # ITU-R BT.1886
BT2020_TO_BT709 = ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187))  # ITU-R BT.2087
BT2020_LUMA = (0.2627, 0.6780, 0.0593)


@dataclass(frozen=True, slots=True)
class Display:
    """The screen a score is defined at. The picture is fitted into it, aspect kept."""

    width_px: int | None
    """Columns; None with height_px None: the picture's own size."""
    height_px: int | None
    """Lines."""

    def __str__(self) -> str:
        return "native" if self.width_px is None else f"{self.width_px}x{self.height_px}"

    def shown_size_px(self, info: VideoInfo, part: tuple[Fraction, Fraction] = WHOLE) -> tuple[int, int]:
        """(width, height) the upright picture takes on the display, at least 224 px each so that a mosaic fits.

        Args:
            info: of the video.
            part: shares of the picture's width and height; this part alone is then fitted in.
        """
        aspect = info.display_aspect_ratio * part[0] / part[1]
        if self.width_px is None or self.height_px is None:
            height_px = (info.width_px if info.rotation_deg % 180 else info.height_px) * part[1]
        else:
            height_px = min(Fraction(self.height_px), self.width_px / aspect)
        height_px = max(height_px, Fraction(SIZE_PX), SIZE_PX / aspect)
        return round(height_px * aspect), round(height_px)


def frame_views(
    picture: Picture,
    shown_size_px: tuple[int, int],
    transfer: Transfer,
    views: tuple[View, ...],
    rng: np.random.Generator,
    size_px: int = SIZE_PX,
) -> Tensor:
    """All views of one picture, float32 R'G'B' in 0..1, (len(views), 3, S, S).

    Args:
        picture: upright R'G'B', (3, height, width), uint8 or uint16, full range.
        shown_size_px: (width, height) it takes on the display.
        transfer: "pq" and "hlg" are mapped to SDR after resampling.
        views: which ones, in this order.
        rng: places the tiles of the mosaic; not used by "whole".
        size_px: S.
    """
    made = []
    tile_px = tile_size_px(size_px)
    for view in views:
        if view == "whole":
            width_px, height_px = size_px, size_px
            lefts = tops = list(range(0, size_px, tile_px))
        else:
            width_px, height_px = (max(length_px, size_px) for length_px in shown_size_px)
            tiles = size_px // tile_px
            lefts, tops = (random_places(length_px, tiles, tile_px, rng) for length_px in (width_px, height_px))
        made.append(resample(picture, width_px, height_px, lefts, tops, tile_px))
    stacked = torch.stack(made)
    return stacked if transfer == "sdr" else to_sdr(stacked, transfer)


def on_screen(picture: Picture, transfer: Transfer) -> Picture:
    """A picture with the depth that it is judged and shown in: SDR in 8 bits, HDR as it is."""
    return in_8_bits(picture) if transfer == "sdr" else picture


def in_8_bits(picture: Picture) -> NDArray[np.uint8]:
    """A picture rounded to 8 bits a sample: what the models have seen of SDR, and what its screens show.

    The rounding of 8 bits is grain of 0.3 codes to a model that looks for grain: without it, the same picture sent as
    10 bits scored 1.7 points less.
    """
    rounded = picture if picture.dtype == np.uint8 else (picture - (picture >> 8) + 128) >> 8
    return rounded.astype(np.uint8, copy=False)


def tile_size_px(size_px: int) -> int:
    """Side of a tile: the largest divisor of a view's side up to LARGEST_TILE_PX (32 of 224, 28 of 336)."""
    return max(d for d in range(1, LARGEST_TILE_PX + 1) if size_px % d == 0)


def random_places(length_px: int, tiles: int, tile_px: int, rng: np.random.Generator) -> list[int]:
    """Start of one tile in each of `tiles` equal cells of an axis, in display pixels."""
    edges = [i * length_px // tiles for i in range(tiles + 1)]
    return [int(rng.integers(a, b - tile_px, endpoint=True)) for a, b in pairwise(edges)]


def resample(
    picture: Picture, width_px: int, height_px: int, lefts: list[int], tops: list[int], tile_px: int = LARGEST_TILE_PX
) -> Tensor:
    """The tiles at tops x lefts of the picture scaled to width_px x height_px, joined: (3, S, S) in 0..1."""
    full_scale = float(np.iinfo(picture.dtype).max)
    bands = []
    for top in tops:
        first, weights = tile_weights(picture.shape[1], height_px, top, tile_px)
        rows = torch.from_numpy(picture[:, first : first + weights.shape[1]].astype(np.float32))
        bands.append(weights @ rows)  # (3, tile_px, W)
    tall = torch.cat(bands, dim=1)  # (3, S, W)
    tiles = []
    for left in lefts:
        first, weights = tile_weights(picture.shape[2], width_px, left, tile_px)
        tiles.append(tall[:, :, first : first + weights.shape[1]] @ weights.T)
    return torch.cat(tiles, dim=2).div_(full_scale).clamp_(0, 1)


def small_picture(picture: Picture, size_px: tuple[int, int], transfer: Transfer) -> NDArray[np.uint8]:
    """A whole picture as a person would be shown it, scaled to (width, height): SDR R'G'B', (3, height, width)."""
    (width_px, height_px), full_scale = size_px, float(np.iinfo(picture.dtype).max)
    _, rows = tile_weights(picture.shape[1], height_px, 0, height_px)
    _, columns = tile_weights(picture.shape[2], width_px, 0, width_px)
    pixels = (rows @ torch.from_numpy(picture.astype(np.float32)) @ columns.T).div_(full_scale).clamp_(0, 1)
    shown = pixels if transfer == "sdr" else to_sdr(pixels, transfer)
    return (shown * 255).round_().to(torch.uint8).numpy()


def tile_weights(length_px: int, shown_px: int, start_px: int, tile_px: int = LARGEST_TILE_PX) -> tuple[int, Tensor]:
    """Weights of the source samples in each of tile_px output samples of one axis scaled from length_px to shown_px.

    Returns:
        (first source sample, weights (tile_px, samples used)); samples past an edge repeat the edge.
    """
    scale = length_px / shown_px  # source samples an output sample
    reach = 2 * max(1.0, scale)  # half the width of the kernel in source samples
    centres = (start_px + np.arange(tile_px) + 0.5) * scale - 0.5
    low = math.floor(centres[0] - reach) + 1
    high = math.ceil(centres[-1] + reach)
    positions = np.arange(low, high)
    weights = keys_cubic((positions[None, :] - centres[:, None]) / max(1.0, scale))
    weights /= weights.sum(axis=1, keepdims=True)
    first, last = max(low, 0), min(high, length_px)
    inside = np.zeros((tile_px, last - first))
    np.add.at(inside.T, np.clip(positions, 0, length_px - 1) - first, weights.T)
    return first, torch.from_numpy(inside.astype(np.float32))


def keys_cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cubic convolution kernel of Keys (1981), a = -0.5, support 2."""
    x = np.abs(x)
    near = ((CUBIC_A + 2) * x - (CUBIC_A + 3)) * x**2 + 1
    far = CUBIC_A * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def to_sdr(pixels: Tensor, transfer: Transfer) -> Tensor:
    """HDR R'G'B' to SDR R'G'B', (..., 3, H, W) in 0..1: the rule for every HDR input.

    Display light by ST 2084 (PQ) or BT.2100 (HLG at 1000 cd/m2); each channel through the BT.2390 EETF from 1000 cd/m2
    to diffuse white, 203 cd/m2, so that mid-tones stay and highlights roll off; BT.2020 to BT.709 primaries; clipped;
    encoded by the inverse of BT.1886. White of an SDR screen is diffuse white.
    """
    nits = pq_to_nits(pixels) if transfer == "pq" else hlg_to_nits(pixels)
    mapped = pq_to_nits(roll_off(nits_to_pq(nits))) / HDR_WHITE_NITS
    linear = torch.einsum("rc,...chw->...rhw", mapped.new_tensor(BT2020_TO_BT709), mapped)
    encoded: Tensor = linear.clamp(0, 1) ** (1 / SDR_GAMMA)
    return encoded


def pq_to_nits(signal: Tensor) -> Tensor:
    """EOTF of SMPTE ST 2084: signal 0..1 to cd/m2."""
    p = signal.clamp(0, 1) ** (1 / PQ_M2)
    return PQ_PEAK_NITS * ((p - PQ_C1).clamp(min=0) / (PQ_C2 - PQ_C3 * p)) ** (1 / PQ_M1)


def nits_to_pq(nits: Tensor) -> Tensor:
    """Inverse EOTF of SMPTE ST 2084: cd/m2 to signal 0..1."""
    y = (nits / PQ_PEAK_NITS).clamp(0, 1) ** PQ_M1
    return ((PQ_C1 + PQ_C2 * y) / (1 + PQ_C3 * y)) ** PQ_M2


def hlg_to_nits(signal: Tensor) -> Tensor:
    """ITU-R BT.2100 HLG: inverse OETF, then the OOTF of a 1000 cd/m2 display; (..., 3, H, W) 0..1 to cd/m2."""
    scene = torch.where(signal <= 0.5, signal**2 / 3, (torch.exp((signal - HLG_C) / HLG_A) + HLG_B) / 12)
    luma = torch.einsum("c,...chw->...hw", scene.new_tensor(BT2020_LUMA), scene).unsqueeze(-3)
    return HLG_PEAK_NITS * luma.clamp(min=1e-6) ** (HLG_GAMMA - 1) * scene


def roll_off(signal: Tensor) -> Tensor:
    """EETF of ITU-R BT.2390 in the PQ domain, from HDR_PEAK_NITS to HDR_WHITE_NITS: a knee with a Hermite spline."""
    peak, white = nits_to_pq(signal.new_tensor([HDR_PEAK_NITS, HDR_WHITE_NITS])).tolist()
    target = white / peak
    knee = 1.5 * target - 0.5
    e1 = (signal / peak).clamp(0, 1)
    t = ((e1 - knee) / (1 - knee)).clamp(0, 1)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * target
    mapped: Tensor = torch.where(e1 < knee, e1, spline) * peak
    return mapped
