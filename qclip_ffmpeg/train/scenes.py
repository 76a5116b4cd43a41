"""Source -> scene: a short lossless reference at the size of a display, of a photograph, a clip or a folder of frames.

A photograph becomes one frame, or a camera moves over it (pan, zoom, shake, cuts between parts of it): encoders then
have motion to predict, and the reference is as clean as the photograph. Everything follows from the seed and the names.
"""

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np

from qclip_ffmpeg.errors import FFmpegError, InputError, UsageError
from qclip_ffmpeg.ffmpeg import bundled_executable, run
from qclip_ffmpeg.inputs import InputOptions
from qclip_ffmpeg.reader import open_video
from qclip_ffmpeg.train.labels import PICTURE_SUFFIXES, pictures_in
from qclip_ffmpeg.train.recipe import SceneRecipe

FRAME_RATE_HZ = 24
CAMERA_SHARE = 0.8  # of the picture's width and height is in view while a camera moves over it
SHAKE_SHARE = 0.02  # of the view; how far a shaken camera strays
ZOOM_A_FRAME = 0.006  # growth; 15 % over a second
CUTS = 3  # parts of a photograph that are cut between


@dataclass(frozen=True, slots=True)
class Source:
    """A photograph, a clip, or a folder of frames. Its name is the content's name: splits keep it together."""

    path: Path
    is_picture: bool

    @property
    def content(self) -> str:
        return self.path.name if self.path.is_dir() else self.path.stem


def find_sources(folder: Path) -> list[Source]:
    """What a folder holds, by name.

    Raises:
        UsageError: it is no folder, is empty, or two sources have one name.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: is no folder; give one with photographs, clips or folders of frames")
    found = [
        Source(path, path.suffix.lower() in PICTURE_SUFFIXES)
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".") and (path.is_file() or pictures_in(path))
    ]
    if not found:
        raise UsageError(f"{folder}: holds no sources; give a folder with photographs, clips or folders of frames")
    names = [source.content for source in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"{folder}: {twice[0]} is the name of two sources; rename one, a content needs one name")
    return found


def rng_for(seed: int, *names: str) -> np.random.Generator:
    """Random numbers that depend on a seed and on names, and on nothing else."""
    return np.random.default_rng([seed, *hashlib.sha256("/".join(names).encode()).digest()[:8]])


def even(value: float) -> int:
    return max(2, 2 * round(value / 2))


def scene_size_px(source: Source, scene: SceneRecipe) -> tuple[int, int] | None:
    """(width, height) of a scene: the source fitted into the display. None where it is not large enough for that.

    Raises:
        InputError: the source cannot be read.
    """
    first = pictures_in(source.path)[0] if source.path.is_dir() else source.path
    with open_video(str(first), InputOptions()) as video:
        width_px, height_px = (
            (video.info.height_px, video.info.width_px)
            if video.info.rotation_deg % 180
            else (video.info.width_px, video.info.height_px)
        )
    scale = min(scene.display[0] / width_px, scene.display[1] / height_px)
    spare = scene.oversize / (CAMERA_SHARE if scene.kind not in ("still", "video") else 1.0)
    return None if scale * spare > 1 else (even(width_px * scale), even(height_px * scale))


def make_reference(source: Source, scene: SceneRecipe, size_px: tuple[int, int], out: Path, seed: int) -> None:
    """Write the reference as lossless H.264, 8 bit 4:2:0, of at most `scene.frames` frames.

    Raises:
        InputError: ffmpeg cannot read the source.
    """
    with tempfile.TemporaryDirectory() as folder:
        shown = camera(opened(source, scene, Path(folder)), scene, size_px, rng_for(seed, source.content, scene.name))
        lossless = shown.output(
            str(out), vcodec="libx264", qp=0, preset="ultrafast", pix_fmt="yuv420p", vframes=scene.frames, an=None
        )
        try:
            run(lossless, program=bundled_executable())
        except FFmpegError as error:
            raise InputError(f"{source.path}: cannot be made a scene of: {error}") from None


def opened(source: Source, scene: SceneRecipe, folder: Path) -> Any:
    """A source as an input of ffmpeg. `folder` is for links that number the pictures of a folder of frames."""
    if source.is_picture:
        return ffmpeg.input(str(source.path), loop=1, framerate=FRAME_RATE_HZ)
    if not source.path.is_dir():
        return ffmpeg.input(str(source.path))
    pictures = pictures_in(source.path)[: scene.frames]
    if len(suffixes := {picture.suffix for picture in pictures}) > 1:
        raise InputError(f"{source.path}: holds pictures of several kinds ({', '.join(sorted(suffixes))}); keep one")
    for number, picture in enumerate(pictures):
        (folder / f"{number:06}{picture.suffix}").symlink_to(picture.resolve())
    return ffmpeg.input(str(folder / f"%06d{pictures[0].suffix}"), framerate=FRAME_RATE_HZ)


def camera(shown: Any, scene: SceneRecipe, size_px: tuple[int, int], rng: np.random.Generator) -> Any:
    """The filter graph that shows `size_px` of a source."""
    width_px, height_px = size_px
    if scene.kind in ("still", "video"):
        return shown.filter("scale", width_px, height_px, flags="lanczos")
    whole_width_px, whole_height_px = even(width_px / CAMERA_SHARE), even(height_px / CAMERA_SHARE)
    room_px = (whole_width_px - width_px, whole_height_px - height_px)
    if scene.kind == "zoom":
        zoom = f"(1+{ZOOM_A_FRAME}*n)"
        zoomed = shown.filter(
            "scale",
            w=f"2*trunc({width_px}*{zoom}/2)",
            h=f"2*trunc({height_px}*{zoom}/2)",
            eval="frame",
            flags="lanczos",
        )
        return zoomed.filter("crop", width_px, height_px)
    whole = shown.filter("scale", whole_width_px, whole_height_px, flags="lanczos")
    places = {"pan": panned, "shake": shaken, "cuts": cut}[scene.kind](room_px, scene.frames, rng)
    return whole.filter("crop", width_px, height_px, *(by_frame(axis) for axis in zip(*places, strict=True)))


def panned(room_px: tuple[int, int], frames: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """(left, top) of each frame: a straight line at an even speed of at least a pixel a frame, within the picture."""
    most = [room / max(1, frames - 1) for room in room_px]
    x_px, y_px = rng.uniform(min(1.0, most[0]), most[0]), rng.uniform(0, most[1])
    return [(round(x_px * n), round(y_px * n)) for n in range(frames)]


def shaken(room_px: tuple[int, int], frames: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """(left, top) of each frame: a smoothed random walk around the middle."""
    stray_px = np.array(room_px) * SHAKE_SHARE / (1 - CAMERA_SHARE)
    walk = np.cumsum(rng.normal(size=(frames, 2)), axis=0) * stray_px / 2
    places = np.clip(np.array(room_px) / 2 + walk, 0, room_px)
    return [(round(x), round(y)) for x, y in places.tolist()]


def cut(room_px: tuple[int, int], frames: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """(left, top) of each frame: CUTS parts of the picture, each shown equally long."""
    parts = [(int(rng.integers(room_px[0] + 1)), int(rng.integers(room_px[1] + 1))) for _ in range(CUTS)]
    return [parts[n * CUTS // frames] for n in range(frames)]


def by_frame(values: tuple[int, ...]) -> str:
    """An ffmpeg expression that takes one value a frame, halving the range at every step."""
    if len(set(values)) == 1:
        return str(values[0])
    return branch(values, 0)


def branch(values: tuple[int, ...], first: int) -> str:
    """`by_frame` of frames first, first + 1, ..."""
    if len(values) == 1:
        return str(values[0])
    half = len(values) // 2
    return f"if(lt(n,{first + half}),{branch(values[:half], first)},{branch(values[half:], first + half)})"
