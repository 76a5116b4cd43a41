"""Reference -> encode: a rung as encoders make it, now and then with what pipelines do wrong before they encode.

Every fault is a change of the picture that is then encoded like any other. `teacher` says which label each gets.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np

from qclip_ffmpeg.ffmpeg import bundled_executable, run
from qclip_ffmpeg.train.recipe import Codec, Fault, LadderRecipe, SceneRecipe
from qclip_ffmpeg.train.scenes import FRAME_RATE_HZ, even

QUIET: dict[str, dict[str, str]] = {"libx265": {"x265-params": "log-level=error"}}


@dataclass(frozen=True, slots=True)
class Encode:
    """What is done to a reference."""

    codec: Codec
    rate: float
    """CRF, quantiser scale, or bits a pixel: see `Codec.rate_control`."""
    speed: str | None
    """Value of the encoder's preset option, where it has one."""
    height_share: float
    """Lines of the encode over lines of the reference."""
    frame_rate_share: float
    """1, or 0.5 where every other frame is left out."""
    fault: Fault


def draw_encodes(scene: SceneRecipe, recipe: LadderRecipe, rng: np.random.Generator) -> list[Encode]:
    """What is done to one scene: `encodes` at random, and `crf_steps` even steps of every codec that has a CRF."""
    moving = scene.frames > 1
    codecs = [c for c in recipe.codecs if moving or c.rate_control != "bits_per_px"]
    faults = {name: chance for name, chance in recipe.faults.items() if moving or name != "interlaced"}
    drawn = []
    for _ in range(scene.encodes):
        codec = codecs[draw([c.chance for c in codecs], rng)]
        rung = recipe.rungs[draw([r.chance for r in recipe.rungs], rng)]
        fault = (*faults, "none")[draw([*faults.values(), 1 - sum(faults.values())], rng)]
        halved = moving and fault != "interlaced" and rng.random() < recipe.half_frame_rate_chance
        drawn.append(
            Encode(
                codec,
                draw_rate(codec, rng),
                codec.speeds[int(rng.integers(len(codec.speeds)))] if codec.speeds else None,
                rung.height_share,
                0.5 if halved else 1.0,
                fault,
            )
        )
    for codec in recipe.codecs if scene.crf_steps else ():
        if codec.rate_control == "crf":
            speed = codec.speeds[len(codec.speeds) // 2] if codec.speeds else None
            steps = np.linspace(*codec.range, scene.crf_steps).round().tolist()
            drawn += [Encode(codec, step, speed, 1.0, 1.0, "none") for step in steps]
    return drawn


def draw(chances: list[float], rng: np.random.Generator) -> int:
    return int(rng.choice(len(chances), p=np.array(chances) / sum(chances)))


def draw_rate(codec: Codec, rng: np.random.Generator) -> float:
    """Evenly from the codec's range; bits a pixel evenly in their logarithm."""
    low, high = codec.range
    if codec.rate_control == "bits_per_px":
        return round(float(np.exp(rng.uniform(np.log(low), np.log(high)))), 4)
    return int(rng.integers(int(low), int(high), endpoint=True))


def make_encode(reference: Path, size_px: tuple[int, int], encode: Encode, out: Path, rng: np.random.Generator) -> None:
    """Write one encode of a reference of (width, height) px, 8 bit 4:2:0, in Matroska.

    Raises:
        FFmpegError: an encoder failed.
    """
    rung_px = (even(size_px[0] * encode.height_share), even(size_px[1] * encode.height_share))
    shown = ffmpeg.input(str(reference))
    if encode.frame_rate_share < 1:
        shown = shown.filter("framestep", round(1 / encode.frame_rate_share))
    if encode.fault == "double":
        first = out.with_suffix(".first.mkv")
        run(shown.output(str(first), **double_options(rng)), program=bundled_executable())
        shown = ffmpeg.input(str(first))
    elif encode.fault != "none":
        shown = FAULTS[encode.fault](shown, size_px, rng)
    rung = shown.filter("scale", *rung_px, flags="lanczos")
    if encode.fault == "interlaced":  # woven at the rung's size, as a deinterlacer that was forgotten leaves it
        rung = rung.filter("interlace", scan="tff", lowpass="off")
    try:
        run(rung.output(str(out), **options_of(encode, rung_px)), program=bundled_executable())
    finally:
        out.with_suffix(".first.mkv").unlink(missing_ok=True)


def options_of(encode: Encode, rung_px: tuple[int, int]) -> dict[str, Any]:
    """FFmpeg's options of an encode; one thread, since some encoders' bytes depend on their number."""
    codec = encode.codec
    options: dict[str, Any] = {"vcodec": codec.name, "pix_fmt": "yuv420p", "threads": 1, "fflags": "+bitexact"}
    if codec.rate_control == "crf":
        options["crf"] = int(encode.rate)
        if codec.name == "libvpx-vp9":
            options["video_bitrate"] = 0
    elif codec.rate_control == "q":
        options["qscale:v"] = int(encode.rate)
    else:
        rate_bps = encode.rate * rung_px[0] * rung_px[1] * FRAME_RATE_HZ * encode.frame_rate_share
        options["video_bitrate"] = round(rate_bps)
    if encode.speed is not None:
        options["cpu-used" if codec.name == "libvpx-vp9" else "preset"] = encode.speed
    return options | QUIET.get(codec.name, {}) | codec.options


def double_options(rng: np.random.Generator) -> dict[str, Any]:
    """A first encode, worse than most sources that are encoded again."""
    return {"vcodec": "libx264", "preset": "veryfast", "crf": int(rng.integers(26, 41)), "threads": 1}


def sharpened(shown: Any, size_px: tuple[int, int], rng: np.random.Generator) -> Any:
    return shown.filter("unsharp", 5, 5, round(rng.uniform(0.8, 3.0), 2))


def upscaled(shown: Any, size_px: tuple[int, int], rng: np.random.Generator) -> Any:
    """A source of fewer lines than it is delivered at."""
    share = rng.uniform(0.25, 0.6)
    small = shown.filter("scale", *(even(length * share) for length in size_px), flags="bicubic")
    return small.filter("scale", *size_px, flags="bicubic")


def banded(shown: Any, size_px: tuple[int, int], rng: np.random.Generator) -> Any:
    """Luma in steps, as after too few bits or a careless conversion."""
    step = int(rng.integers(6, 17))
    return shown.filter("lutyuv", y=f"16+floor((val-16)/{step})*{step}")


def noisy(shown: Any, size_px: tuple[int, int], rng: np.random.Generator) -> Any:
    return shown.filter("noise", alls=int(rng.integers(6, 36)), allf="t", all_seed=int(rng.integers(1 << 30)))


def coarse_chroma(shown: Any, size_px: tuple[int, int], rng: np.random.Generator) -> Any:
    """Chroma of far fewer samples than luma: colour runs over edges."""
    return shown.filter("boxblur", luma_radius=0, luma_power=0, chroma_radius=int(rng.integers(3, 13)), chroma_power=2)


def wrong_range(shown: Any, size_px: tuple[int, int], rng: np.random.Generator) -> Any:
    """Full range shown as limited (crushed), or limited as full (washed out)."""
    crushed = rng.random() < 0.5
    ranges = ("limited", "full") if crushed else ("full", "limited")
    return shown.filter("scale", in_range=ranges[0], out_range=ranges[1]).filter("setparams", range="limited")


def unchanged(shown: Any, size_px: tuple[int, int], rng: np.random.Generator) -> Any:
    return shown


FAULTS: dict[str, Callable[[Any, tuple[int, int], np.random.Generator], Any]] = {
    "sharpened": sharpened,
    "upscaled": upscaled,
    "banded": banded,
    "noise": noisy,
    "coarse_chroma": coarse_chroma,
    "wrong_range": wrong_range,
    "interlaced": unchanged,  # woven after it is scaled
}
