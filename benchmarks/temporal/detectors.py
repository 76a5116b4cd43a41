"""Detectors: an encoded clip -> events. Ours, and FFmpeg's filters, each at its defaults but for the least duration."""

import re
import subprocess
from collections.abc import Callable
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import msgspec

from qclip_ffmpeg.ffmpeg import bundled_executable

LEAST_S = 0.2


class Found(msgspec.Struct):
    """One event that a detector reported."""

    kind: str
    start_s: float
    end_s: float
    severity: float = 1.0
    confidence: float = 1.0
    detail: str | None = None


def ours(path: Path) -> list[Found]:
    from qclip_ffmpeg.reader import open_video
    from qclip_ffmpeg.sampling import windows
    from qclip_ffmpeg.temporal import TemporalWatch

    with open_video(str(path)) as video:
        watch = TemporalWatch(video.info)
        for window in windows(watch.over(video), segment_s=Fraction(4), frames_per_window=6):
            watch.look(window)
        watch.end()
    return [Found(e.kind, e.start_s, e.end_s, e.severity, e.confidence, e.detail) for e in watch.events()]


def filtered(path: Path, filters: str) -> str:
    """What ffmpeg prints of a file under a chain of filters."""
    command = [bundled_executable(), "-hide_banner", "-i", str(path), "-an", "-vf", filters, "-f", "null", "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


def freezedetect(path: Path, noise: str = "-60dB") -> list[Found]:
    said = filtered(path, f"freezedetect=n={noise}:d={LEAST_S}")
    starts = [float(v) for v in re.findall(r"freeze_start: ([\d.]+)", said)]
    ends = [float(v) for v in re.findall(r"freeze_end: ([\d.]+)", said)]
    return [Found("freeze", s, ends[n] if n < len(ends) else s + 1e3) for n, s in enumerate(starts)]


def blackdetect(path: Path) -> list[Found]:
    said = filtered(path, f"blackdetect=d={LEAST_S}")
    return [Found("black", float(a), float(b)) for a, b in re.findall(r"black_start:([\d.]+) black_end:([\d.]+)", said)]


def scdet(path: Path, threshold: float = 10) -> list[Found]:
    said = filtered(path, f"scdet=t={threshold}")
    return [Found("cut", float(t), float(t) + 0.02) for t in re.findall(r"lavfi\.scd\.time: ([\d.]+)", said)]


def mpdecimate(path: Path) -> list[Found]:
    """A run of dropped frames of LEAST_S or more is a freeze; else 3 or more dropped frames a clip are a repeat."""
    before = stamps_of(filtered(path, "showinfo"))
    kept = set(stamps_of(filtered(path, "mpdecimate,showinfo")))
    runs = [(dropped, list(group)) for dropped, group in groupby(before, lambda t: t not in kept)]
    step_s = (before[-1] - before[0]) / max(1, len(before) - 1)
    spans = [group for dropped, group in runs if dropped]
    found = [Found("freeze", g[0], g[-1] + step_s) for g in spans if len(g) * step_s >= LEAST_S - 1e-3]
    short = [t for g in spans if len(g) * step_s < LEAST_S - 1e-3 for t in g]
    return found + ([Found("repeat", short[0], short[-1] + step_s)] if len(short) >= 3 else [])


def stamps_of(said: str) -> list[float]:
    return [float(t) for t in re.findall(r"showinfo.*? pts_time:([\d.]+)", said)]


def idet(path: Path) -> list[Found]:
    """Combing where it calls more frames interlaced than progressive."""
    said = filtered(path, "idet")
    tff, bff, progressive = map(
        int, re.findall(r"Multi frame detection: TFF:\s*(\d+) BFF:\s*(\d+) Progressive:\s*(\d+)", said)[-1]
    )
    return [Found("combing", 0, 1e3)] if tff + bff > progressive else []


DETECTORS: dict[str, tuple[Callable[[Path], list[Found]], tuple[str, ...]]] = {
    "ours": (ours, ()),
    "freezedetect": (freezedetect, ("freeze",)),
    "freezedetect -50dB": (lambda path: freezedetect(path, "-50dB"), ("freeze",)),
    "blackdetect": (blackdetect, ("black",)),
    "scdet": (scdet, ("cut",)),
    "scdet 14": (lambda path: scdet(path, 14), ("cut",)),
    "mpdecimate": (mpdecimate, ("freeze", "repeat")),
    "idet": (idet, ("combing",)),
}
"""By name: how it is run, and the kinds it can find; () is all of them."""
