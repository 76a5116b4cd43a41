"""The peers: metrics that run here without a download, each given the same pictures.

Image metrics see the frames that our sampling picked from the clip, as they are displayed: one file a clip, made by
FFmpeg (bicubic, fitted into the display) in the clip's own pixel format. CAMBI runs with its defaults, the clip as its
own reference and VMAF's model switched off. Black bars are part of the picture for them. HDR is shown to them as it is
stored; leave it out, or read their figures with care. Full-reference metrics see all frames, both videos at the size
the reference has on the display.

Bits per pixel: 8 x the bytes of the video packets over all *displayed* pixels (not the coded ones), so that a small
rung counts for what it is on the screen.

NIQE is not run: no maintained package computes it here without downloading weights. scikit-video (last release 2018)
needs functions that scipy 1.3 and numpy 1.24 removed, `niqe` (2022) reads a model file that it does not contain, and
pyiqa downloads its weights and is licensed for non-commercial use only.
"""

import importlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import av
import ffmpeg
import numpy as np
from numpy.typing import NDArray

from qclip_ffmpeg.errors import InputError
from qclip_ffmpeg.ffmpeg import bundled_executable, run
from qclip_ffmpeg.frame import VideoInfo
from qclip_ffmpeg.inputs import InputOptions
from qclip_ffmpeg.reader import open_video
from qclip_ffmpeg.views import Display

INSTALL = "not installed: pip install 'qclip-ffmpeg[bench]'"
HIGHEST_DB = 100.0
"""What a decibel figure of two equal pictures, infinite, counts as."""
NOT_RUN = {"NIQE": "no maintained package runs without downloading weights"}


@dataclass(frozen=True)
class Shown:
    """A clip as the peers are given it."""

    source: Path
    """The encode."""
    pictures: Path
    """The frames that our sampling picked, as displayed: raw video in a NUT container."""
    info: VideoInfo
    """Of the encode."""
    size_px: tuple[int, int]
    """(width, height) of `pictures`."""
    folder: Path
    """Temporary; filters write their logs there."""
    reference: Path | None
    reference_size_px: tuple[int, int] | None
    """(width, height) the reference has on the display."""

    @cached_property
    def rgb(self) -> list[NDArray[np.uint8]]:
        """The pictures, (height, width, 3) each."""
        yuv = self.info.color_matrix != "rgb"  # a raw file says nothing of its range
        options = InputOptions(color_range=self.info.color_range if yuv else None)
        with open_video(str(self.pictures), options) as video:
            frames = [frame.rgb() for frame in video]
        to_8_bit = [(frame >> 8 if frame.dtype == np.uint16 else frame).astype(np.uint8) for frame in frames]
        return [np.ascontiguousarray(frame.transpose(1, 2, 0)) for frame in to_8_bit]


@dataclass(frozen=True)
class Peer:
    """A metric that is compared with our model."""

    key: str
    """Its column in scores.csv."""
    title: str
    measure: Callable[[Shown], float]
    """Its figure as its authors define it."""
    higher_is_better: bool = True
    baseline: Callable[[Shown], None] | None = None
    """What `measure` does but for the metric itself, where that is not little; to be taken off its time."""
    packages: tuple[str, ...] = ()
    """What it imports that may not be installed."""
    full_reference: bool = False
    free: bool = False
    """It looks at no picture, so that a time a frame has no meaning."""

    def score(self, shown: Shown) -> float:
        """Its figure, turned round where lower is better: higher is always better here."""
        value = self.measure(shown)
        return value if self.higher_is_better else -value


def show(
    source: Path, info: VideoInfo, display: Display, places: Sequence[int], reference: Path | None, folder: Path
) -> Shown:
    """Write the pictures that the peers are given.

    Args:
        source: the encode.
        info: of the encode.
        display: the screen; the picture is fitted into it.
        places: of the frames that were picked, in presentation order from 0.
        reference: what it was encoded from, if that is known.
        folder: an empty one.

    Raises:
        FFmpegError: it could not be read.
    """
    size_px = display.shown_size_px(info)
    pictures = folder / "shown.nut"
    picked = ffmpeg.input(str(source.absolute())).filter("select", "+".join(f"eq(n,{place})" for place in places))
    fitted = picked.filter("scale", *size_px, flags="bicubic+accurate_rnd+full_chroma_int").filter("setsar", 1)
    run(fitted.output(str(pictures), vcodec="rawvideo", fps_mode="passthrough"), program=bundled_executable())
    if reference is None:
        return Shown(source, pictures, info, size_px, folder, None, None)
    with open_video(str(reference)) as video:
        return Shown(source, pictures, info, size_px, folder, reference, display.shown_size_px(video.info))


def problem_of(peer: Peer) -> str | None:
    """Why a peer cannot run here, in a few words; None where it can."""
    for package in peer.packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            why = str(error).splitlines()[0]
            return INSTALL if error.name == package else f"{package} is installed but cannot be imported ({why})"
    return None


def brisque(shown: Shown) -> float:
    return fmean(brisque_model().score(picture) for picture in shown.rgb)


@cache
def brisque_model() -> Any:
    """The package's model. Its features are arrays of one element, which float() refuses since numpy 2.4."""
    base: Any = importlib.import_module("brisque").BRISQUE

    class Model(base):  # type: ignore[misc]
        def scale_features(self, features: Sequence[Any]) -> Any:
            return super().scale_features([np.ravel(feature)[0] for feature in features])

    return Model()


def piqe(shown: Shown) -> float:
    importlib.import_module("cv2").setNumThreads(1)
    measure = importlib.import_module("pypiqe").piqe
    return fmean(measure(picture[:, :, ::-1])[0] for picture in shown.rgb)  # it takes B'G'R'


def bits_per_pixel(shown: Shown) -> float:
    with av.open(str(shown.source)) as container:
        sizes = [packet.size for packet in container.demux(container.streams.video[0]) if packet.size]
    return 8 * sum(sizes) / (len(sizes) * math.prod(shown.size_px))


def cambi(shown: Shown) -> float:
    twice = pictures(shown).filter_multi_output("split")
    return libvmaf_mean(shown, twice[0], twice[1], "cambi", model="", feature="name=cambi")


def blur(shown: Shown) -> float:
    return filter_mean(shown, pictures(shown).filter("blurdetect"), "lavfi.blur")


def block(shown: Shown) -> float:
    return filter_mean(shown, pictures(shown).filter("blockdetect"), "lavfi.block")


def vmaf(shown: Shown) -> float:
    return libvmaf_mean(shown, *both(shown), "vmaf")


def psnr(shown: Shown) -> float:
    return filter_mean(shown, ffmpeg.filter(both(shown), "psnr", shortest=1), "lavfi.psnr.psnr.y")


def ssim(shown: Shown) -> float:
    return filter_mean(shown, ffmpeg.filter(both(shown), "ssim", shortest=1), "lavfi.ssim.Y")


def xpsnr(shown: Shown) -> float:
    return filter_mean(shown, ffmpeg.filter(both(shown), "xpsnr", shortest=1), "lavfi.xpsnr.xpsnr.y")


def read_pictures(shown: Shown) -> None:
    run(pictures(shown).output("-", format="null"), program=bundled_executable())


def read_both(shown: Shown) -> None:
    run(ffmpeg.output(*both(shown), "-", format="null"), program=bundled_executable())


def pictures(shown: Shown) -> Any:
    return ffmpeg.input(str(shown.pictures))


def both(shown: Shown) -> tuple[Any, Any]:
    """The encode and its reference, at the reference's size on the display, frame against frame."""
    if shown.reference is None or shown.reference_size_px is None:
        raise InputError(f"{shown.source.name}: has no reference")
    distorted, reference = (
        ffmpeg.input(str(path.absolute()))
        .filter("scale", *shown.reference_size_px, flags="bicubic")
        .filter("settb", "AVTB")
        .filter("setpts", "N")
        for path in (shown.source, shown.reference)
    )
    return distorted, reference


def filter_mean(shown: Shown, filtered: Any, name: str) -> float:
    """Mean over the frames of what a filter notes of each."""
    printed = filtered.filter("metadata", mode="print", file="filter.log")
    run(printed.output("-", format="null"), program=bundled_executable(), cwd=shown.folder)
    lines = (shown.folder / "filter.log").read_text().splitlines()
    values = [float(line.partition("=")[2]) for line in lines if line.startswith(f"{name}=")]
    if not values:
        raise InputError(f"{shown.source.name}: FFmpeg noted no {name}")
    return fmean(min(value, HIGHEST_DB) for value in values)


def libvmaf_mean(shown: Shown, distorted: Any, reference: Any, name: str, **options: str) -> float:
    """Mean over the frames of a feature of libvmaf, on one thread."""
    log = {"n_threads": 1, "log_fmt": "json", "log_path": "libvmaf.json", "shortest": 1}
    compared = ffmpeg.filter([distorted, reference], "libvmaf", **log, **options)
    run(compared.output("-", format="null"), program=bundled_executable(), cwd=shown.folder)
    return float(json.loads((shown.folder / "libvmaf.json").read_text())["pooled_metrics"][name]["mean"])


PEERS = (
    Peer("brisque", "BRISQUE", brisque, higher_is_better=False, packages=("cv2", "brisque")),
    Peer("piqe", "PIQE", piqe, higher_is_better=False, packages=("cv2", "pypiqe")),
    Peer("cambi", "CAMBI", cambi, higher_is_better=False, baseline=read_pictures),
    Peer("blurdetect", "blurdetect", blur, higher_is_better=False, baseline=read_pictures),
    Peer("blockdetect", "blockdetect", block, higher_is_better=False, baseline=read_pictures),
    Peer("bits_per_pixel", "bits per pixel", bits_per_pixel, free=True),
    Peer("vmaf", "VMAF", vmaf, baseline=read_both, full_reference=True),
    Peer("psnr", "PSNR", psnr, baseline=read_both, full_reference=True),
    Peer("ssim", "SSIM", ssim, baseline=read_both, full_reference=True),
    Peer("xpsnr", "XPSNR", xpsnr, baseline=read_both, full_reference=True),
)
