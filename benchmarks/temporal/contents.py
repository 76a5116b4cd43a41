"""Sources -> contents: short runs of clean 8-bit frames of one size, of videos and of photographs under a camera.

Which half a content belongs to, development or held out, follows from its name and a seed alone.
"""

import hashlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from benchmarks.temporal.displacement import all_shifts, own_jumps
from qclip_ffmpeg.ffmpeg import bundled_executable
from qclip_ffmpeg.frame import VideoInfo
from qclip_ffmpeg.inputs import InputOptions
from qclip_ffmpeg.reader import open_video

PICTURE_SUFFIXES = {".webp", ".png", ".jpg", ".jpeg"}
LONGEST_S = 5
RATES_HZ = (24, 25, 30)
"""Of cameras over photographs."""
CAMERAS = ("still", "grain", "pan", "fast_pan", "zoom", "handheld", "slow_fade", "title")
SHARP_CHANGE = 15.0
UNLIKE = 0.6
REPEAT_SHARE = 0.15
REPEAT_MOTION = 0.4
STAMP_GAP = 1.5
"""Time to a frame over the usual one, from which on there was another between."""
OWN_FLASH = 0.04
"""Natural logarithm of the mean luma over black, over that before it and after it: half of what is asked for."""
OWN_FLASH_FRAMES = 3

LEAST_BITS = 0.2
"""Of a source, for a sample of the clip's luma: what is made of fewer is no clean clip."""

BLACK, BLACK_SHARE = 28, 0.98
"""Highest code value of black, and how much of a black picture is."""
BLACK_S = 0.1

RHYTHM = 0.15
"""Natural logarithm of steps at a beat over those between, or the other way round."""
RHYTHM_SURE = 6.0
"""Standard errors."""

Half = Literal["development", "held-out"]
Planes = NDArray[np.uint8]
"""(frames, height * 3 / 2, width): yuv420p pictures as ffmpeg's rawvideo lays them out, limited range."""


@dataclass(frozen=True)
class Content:
    """A source and, of a photograph, how a camera moves over it."""

    path: Path
    camera: str | None

    @property
    def name(self) -> str:
        return self.path.stem if self.camera is None else f"{self.path.stem}+{self.camera}"


@dataclass(frozen=True)
class Clip:
    """Clean frames."""

    planes: Planes
    rate: Fraction
    fades: tuple[tuple[int, int], ...] = ()
    """First and last frame of fades that belong to the content."""
    moves: bool = True
    """False: a still, whatever grain or light does."""

    @property
    def height_px(self) -> int:
        return self.planes.shape[1] * 2 // 3

    @property
    def luma(self) -> Planes:
        """(frames, height, width)"""
        return self.planes[:, : self.height_px]

    @cached_property
    def motion(self) -> NDArray[np.float64]:
        """Mean absolute change of every frame to the one before, of means of 4 x 4 samples: grain does not count."""
        height, width = (side // 4 * 4 for side in self.luma.shape[1:])
        rows = self.luma[:, :height:4, :width].astype(np.uint16)
        for n in range(1, 4):
            rows += self.luma[:, n:height:4, :width]
        coarse = sum(rows[:, :, n::4].astype(np.float32) for n in range(4)) / 16
        return np.array([0.0, *(float(np.abs(b - a).mean()) for a, b in pairwise(coarse))])

    @cached_property
    def jumps(self) -> list[int]:
        """Frames that look as if the one before them were missing."""
        return own_jumps(all_shifts(list(self.luma))) if self.moves else []

    @cached_property
    def flashes(self) -> list[tuple[int, int]]:
        """Flashes of the source itself, as of a photographer: (first frame, the one after the last)."""
        return own_flashes(self.luma)


def digest(*names: object) -> int:
    return int.from_bytes(hashlib.sha256("/".join(map(str, names)).encode()).digest()[:8])


def rng_for(*names: object) -> np.random.Generator:
    return np.random.default_rng(digest(*names))


def half_of(path: Path, seed: int) -> Half:
    """All contents of one source are in the same half."""
    return "development" if digest("half", seed, path.stem) % 2 == 0 else "held-out"


def find_contents(folders: list[Path], cameras_a_photograph: int) -> list[Content]:
    """Every video of the folders, and every photograph under some of the cameras; by name."""
    found = []
    for path in sorted({p for folder in folders for p in folder.iterdir() if p.is_file()}):
        if path.suffix.lower() not in PICTURE_SUFFIXES:
            found.append(Content(path, None))
            continue
        order = rng_for("camera", path.stem).permutation(len(CAMERAS))
        found += [Content(path, CAMERAS[n]) for n in sorted(order[:cameras_a_photograph])]
    return found


def load(content: Content, size_px: tuple[int, int]) -> Clip:
    """The frames of a content, (width, height) px; videos are cut to the longest run without a cut or a missing frame.

    Raises:
        ValueError: it is not clean (`unclean`), too short, or repeats frames itself: nothing done to it would be known
            for sure.
    """
    if content.camera is not None:
        return filmed(content, size_px)
    with open_video(str(content.path), InputOptions()) as video:
        info = video.info
    rate = info.frame_rate or Fraction(25)
    if reason := unclean(info, content.path.stat().st_size, size_px):
        raise ValueError(reason)
    planes = decoded(content.path, size_px, LONGEST_S * float(rate))
    clip = Clip(longest_scene(planes, size_px[1], stamp_gaps(content.path, len(planes))), rate)
    if len(clip.planes) < 1.5 * rate:
        raise ValueError("too short")
    if len(where := own_repeats(clip.luma)):
        raise ValueError(f"repeats frames itself, {len(where)} of {len(clip.planes)}, first {where[0]}")
    if (black := int(own_black(clip.luma).sum())) >= BLACK_S * rate:
        raise ValueError(f"is black itself, {black} of {len(planes)}")
    if every := own_rhythm(clip.luma):
        raise ValueError(f"every {every} frames a step is larger or smaller: it was made from another frame rate")
    return clip


def unclean(info: VideoInfo, size_bytes: int, size_px: tuple[int, int]) -> str | None:
    """Why a video of that many bytes makes no clean clips of (width, height) px; None if it does."""
    sides = (info.width_px, info.height_px)
    if info.rotation_deg in (90, 270):
        sides = sides[::-1]
    if sides[0] < size_px[0] or sides[1] < size_px[1]:
        return f"{sides[0]}x{sides[1]} would be enlarged"
    if info.duration_s is None:
        return None
    frames = float(info.duration_s * (info.frame_rate or 25))
    if (bits := 8 * size_bytes / frames / (size_px[0] * size_px[1])) < LEAST_BITS:
        return f"coded hard itself, {bits:.2f} bits for a sample of the clip"
    return None


def decoded(path: Path, size_px: tuple[int, int], frames: float) -> Planes:
    """Fitted over (width, height), what stands out cut off."""
    width, height = size_px
    fit = f"scale={width}:{height}:force_original_aspect_ratio=increase:flags=area,crop={width}:{height},format=yuv420p"
    command = [bundled_executable(), "-v", "error", "-i", str(path), "-vf", fit, "-frames:v", str(int(frames))]
    command += ["-fps_mode", "passthrough", "-f", "rawvideo", "-"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(data, np.uint8).reshape(-1, height * 3 // 2, width)


def steps(luma: Planes) -> NDArray[np.float64]:
    """Mean absolute difference of every frame to the one before, (frames,); 0 for the first."""
    moved = [float(np.abs(b.astype(np.int16) - a).mean()) for a, b in pairwise(luma)]
    return np.array([0.0, *moved])


def stamp_gaps(path: Path, count: int) -> list[int]:
    """Of the first frames of a video: before which its time stamps leave some out."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        shown = (packet for packet in container.demux(stream) if not packet.is_discard)
        stamps = sorted(packet.pts for packet in shown if packet.pts is not None)
    lengths = np.diff(stamps[:count])
    return [int(n) + 1 for n in np.flatnonzero(lengths > STAMP_GAP * np.median(lengths))] if len(lengths) else []


def longest_scene(planes: Planes, height_px: int, gaps: list[int]) -> Planes:
    """The longest run of (frames, height * 3 / 2, width) without a cut or a gap."""
    luma = planes[:, :height_px]
    moved = steps(luma)
    cuts = [n for n in np.flatnonzero(moved > SHARP_CHANGE) if likeness(luma[n - 1], luma[n]) < UNLIKE]
    edges = sorted({0, *cuts, *gaps, len(planes)})
    first, last = max(pairwise(edges), key=lambda pair: pair[1] - pair[0])
    return planes[first:last]


def likeness(before: Planes, after: Planes) -> float:
    """Correlation of two pictures (height, width), coarsely."""
    coarse = [gaussian_filter(p.astype(np.float32), 8)[::8, ::8].ravel() for p in (before, after)]
    return float(np.corrcoef(*coarse)[0, 1]) if min(c.std() for c in coarse) > 0.5 else 1.0


def own_repeats(luma: Planes) -> NDArray[np.intp]:
    """Frames that are hardly different from the one before while those around them move."""
    moved = steps(luma)
    around = np.array([np.median(moved[max(1, n - 4) : n + 5]) for n in range(len(moved))])
    return np.flatnonzero((moved < REPEAT_SHARE * around) & (around > REPEAT_MOTION))[1:]


def own_black(luma: Planes) -> NDArray[np.bool_]:
    """(frames,)"""
    return np.array([np.count_nonzero(picture <= BLACK) >= BLACK_SHARE * picture.size for picture in luma])


def own_flashes(luma: Planes) -> list[tuple[int, int]]:
    """Where the whole picture is brighter, or darker, for some frames than right before and right after."""
    light = np.log(np.maximum(luma.mean(axis=(1, 2), dtype=np.float64) - 16, 1))
    found = []
    for first in range(1, len(light)):
        for last in range(first + 1, min(first + OWN_FLASH_FRAMES + 1, len(light))):
            over = np.subtract.outer(light[first:last], light[[first - 1, last]])
            if max(over.min(), -over.max()) > OWN_FLASH:
                found.append((first, last))
    return found


def own_rhythm(luma: Planes) -> int | None:
    """Every how many frames the picture steps further than around, as where 30 frames a second were made 24, or less
    far, as where frames were mixed to make 24 of them 30."""
    moved = np.log(steps(luma)[1:] + 0.05)
    level = np.array([np.median(moved[max(0, n - 5) : n + 6]) for n in range(len(moved))])
    rest = np.clip(moved - level, -1, 1)
    for every in range(2, 8):
        for phase in range(every):
            on = rest[phase::every]
            off = np.delete(rest, np.s_[phase::every])
            spread = np.sqrt(on.var() / len(on) + off.var() / len(off)) + 1e-3
            if (apart := abs(on.mean() - off.mean())) > RHYTHM and apart / spread > RHYTHM_SURE:
                return every
    return None


def filmed(content: Content, size_px: tuple[int, int]) -> Clip:
    """A photograph under a camera, LONGEST_S long."""
    rng = rng_for("filmed", content.name)
    rate = Fraction(int(rng.choice(RATES_HZ)))
    count = int(LONGEST_S * rate)
    whole_px = (size_px[0] * 3 // 2 // 2 * 2, size_px[1] * 3 // 2 // 4 * 4)
    whole = decoded(content.path, whole_px, 1)[0]
    fades: tuple[tuple[int, int], ...] = ()
    if content.camera in ("still", "grain", "slow_fade", "title"):
        planes = np.repeat(view(whole, whole_px, size_px, (0.0, 0.0), 1.0)[None], count, axis=0)
        if content.camera == "grain":
            planes = with_grain(planes, size_px[1], rng)
        if content.camera == "slow_fade":
            planes, fades = faded_in(planes, size_px[1], int(rng.uniform(1, 2.5) * rate))
        if content.camera == "title":
            planes = titled(planes, size_px, rng, rate)
        return Clip(planes, rate, fades, moves=False)
    path = list(camera_path(content.camera or "", count, whole_px, size_px, rng, rate))
    return Clip(np.stack([view(whole, whole_px, size_px, place, zoom) for place, zoom in path]), rate)


def camera_path(
    camera: str,
    count: int,
    whole_px: tuple[int, int],
    size_px: tuple[int, int],
    rng: np.random.Generator,
    rate: Fraction,
) -> Iterator[tuple[tuple[float, float], float]]:
    """((x, y) px off the middle, zoom) of every frame."""
    room = np.array([(w - s) / 2 for w, s in zip(whole_px, size_px, strict=True)])
    time = np.arange(count) / float(rate)
    if camera == "zoom":
        yield from (((0.0, 0.0), z) for z in 1.4 * np.exp(-rng.uniform(0.02, 0.07) * time))
        return
    if camera == "handheld":
        noise = rng.normal(size=(count + 60, 2))
        smooth = gaussian_filter(noise, (float(rate) * rng.uniform(0.06, 0.15), 0))[30:-30]
        places = smooth / smooth.std() * rng.uniform(3, 12)
    else:
        speed = rng.uniform(0.15, 0.8) if camera == "pan" else rng.uniform(2, 6)
        angle = rng.uniform(0, 2 * np.pi)
        direction = np.array([np.cos(angle), np.sin(angle)])
        # There and back with a soft turn, so that a fast camera stays over the photograph.
        reach = float(min(room / np.maximum(np.abs(direction), 0.2))) * 0.9
        turns = np.arange(count) * speed / reach
        places = np.sin(turns + rng.uniform(0, 6))[:, None] * direction * reach
    yield from ((tuple(place), 1.0) for place in np.clip(places, -room + 1, room - 1))


def view(
    whole: Planes, whole_px: tuple[int, int], size_px: tuple[int, int], place: tuple[float, float], zoom: float
) -> Planes:
    """One yuv420p picture (height * 3 / 2, width): what a camera sees at `place` px off the middle."""
    height = whole_px[1]
    chroma = whole[height:].reshape(2, height // 2, whole_px[0] // 2)
    seen = [look(whole[:height], size_px, place, zoom)]
    half = (size_px[0] // 2, size_px[1] // 2)
    seen += [look(plane, half, (place[0] / 2, place[1] / 2), zoom) for plane in chroma]
    return np.concatenate([plane.ravel() for plane in seen]).reshape(-1, size_px[0])


def look(plane: Planes, size_px: tuple[int, int], place: tuple[float, float], zoom: float) -> Planes:
    """A plane resampled, bilinear; (height, width) of size_px."""
    width, height = size_px
    middle = ((plane.shape[1] - 1) / 2 + place[0], (plane.shape[0] - 1) / 2 + place[1])
    x = (np.arange(width) - (width - 1) / 2) / zoom + middle[0]
    y = (np.arange(height) - (height - 1) / 2) / zoom + middle[1]
    grid = np.meshgrid(y, x, indexing="ij")
    seen = map_coordinates(plane.astype(np.float32), grid, order=1, mode="reflect")
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8)


def with_grain(planes: Planes, height_px: int, rng: np.random.Generator) -> Planes:
    """Film grain on luma, another in every frame."""
    grainy = planes.copy()
    strength = rng.uniform(1.5, 5)
    for picture in grainy:
        grain = gaussian_filter(rng.normal(size=(height_px, planes.shape[2])), 0.6) * 2 * strength
        picture[:height_px] = np.clip(picture[:height_px] + grain, 16, 235).astype(np.uint8)
    return grainy


def faded_in(planes: Planes, height_px: int, frames: int) -> tuple[Planes, tuple[tuple[int, int], ...]]:
    """In from black at the start, out to black at the end."""
    share = np.ones(len(planes))
    share[:frames] = np.arange(frames) / frames
    share[-frames:] = np.minimum(share[-frames:], np.arange(frames)[::-1] / frames)
    return dimmed(planes, height_px, share), ((0, frames), (len(planes) - frames, len(planes)))


def dimmed(planes: Planes, height_px: int, share: NDArray[np.float64], to: float = 16) -> Planes:
    """Every picture mixed with a plain one: `share` (frames,) of itself, the rest luma `to` without colour."""
    out = np.empty_like(planes)
    for n, (picture, s) in enumerate(zip(planes, share, strict=True)):
        out[n, :height_px] = np.rint(to + (picture[:height_px] - float(to)) * s).astype(np.uint8)
        out[n, height_px:] = np.rint(128 + (picture[height_px:] - 128.0) * s).astype(np.uint8)
    return out


def titled(planes: Planes, size_px: tuple[int, int], rng: np.random.Generator, rate: Fraction) -> Planes:
    """A still with blocks as words of a title that appear one by one."""
    out = planes.copy()
    width, height = size_px
    for word in range(3):
        first = int((1 + word * rng.uniform(0.8, 1.2)) * rate)
        left, top = int(width * (0.15 + 0.25 * word)), int(height * rng.uniform(0.4, 0.6))
        letters = gaussian_filter((rng.random((14, width // 5)) > 0.5).astype(np.float32), 0.7) > 0.5
        region = out[first:, top : top + 14, left : left + letters.shape[1]]
        region[:, letters[:, : region.shape[2]]] = 230
    return out
