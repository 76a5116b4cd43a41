"""Detectors: an encoded clip -> events. Ours, and FFmpeg's filters, each at its defaults but for the least duration."""

import re
import subprocess
from collections.abc import Callable
from fractions import Fraction
from functools import cache
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


# One decoding for all of them: two freezedetects and two scdets, told apart by their number in the graph.
GRAPH = (
    "[0:v]showinfo,split=3[a][b][c];"
    f"[a]freezedetect=n=-60dB:d={LEAST_S},blackdetect=d={LEAST_S},scdet=t=10,idet,nullsink;"
    f"[b]freezedetect=n=-50dB:d={LEAST_S},scdet=t=14,nullsink;"
    "[c]mpdecimate,showinfo[out]"
)


@cache
def said_by(path: Path) -> dict[str, tuple[str, ...]]:
    """What FFmpeg's filters print of a file, by filter and how many of its kind come before it: "scdet 1"."""
    command = [bundled_executable(), "-hide_banner", "-threads", "1", "-i", str(path), "-an"]
    command += ["-filter_complex", GRAPH, "-map", "[out]", "-f", "null", "-"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    lines = re.findall(r"\[Parsed_([a-z]+)_(\d+) @ \w+\] (.*)", printed)
    numbers = {name: sorted({int(n) for other, n, _ in lines if other == name}) for name, _, _ in lines}
    order = {"freezedetect": (2, 7), "scdet": (4, 8)}
    found: dict[str, list[str]] = {}
    for name, number, text in lines:
        place = order.get(name, tuple(numbers[name])).index(int(number))
        found.setdefault(f"{name} {place}", []).append(text)
    return {name: tuple(texts) for name, texts in found.items()}


def printed(path: Path, filter_name: str) -> str:
    return "\n".join(said_by(path).get(filter_name, ()))


def freezedetect(path: Path, number: int = 0) -> list[Found]:
    said = printed(path, f"freezedetect {number}")
    starts = [float(v) for v in re.findall(r"freeze_start: ([\d.]+)", said)]
    ends = [float(v) for v in re.findall(r"freeze_end: ([\d.]+)", said)]
    return [Found("freeze", s, ends[n] if n < len(ends) else s + 1e3) for n, s in enumerate(starts)]


def blackdetect(path: Path) -> list[Found]:
    said = printed(path, "blackdetect 0")
    return [Found("black", float(a), float(b)) for a, b in re.findall(r"black_start:([\d.]+) black_end:([\d.]+)", said)]


def scdet(path: Path, number: int = 0) -> list[Found]:
    said = printed(path, f"scdet {number}")
    return [Found("cut", float(t), float(t) + 0.02) for t in re.findall(r"lavfi\.scd\.time: ([\d.]+)", said)]


def mpdecimate(path: Path) -> list[Found]:
    """A run of dropped frames of LEAST_S or more is a freeze; else 3 or more dropped frames a clip are a repeat."""
    before = stamps_of(printed(path, "showinfo 0"))
    kept = set(stamps_of(printed(path, "showinfo 1")))
    runs = [(dropped, list(group)) for dropped, group in groupby(before, lambda t: t not in kept)]
    step_s = (before[-1] - before[0]) / max(1, len(before) - 1)
    spans = [group for dropped, group in runs if dropped]
    found = [Found("freeze", g[0], g[-1] + step_s) for g in spans if len(g) * step_s >= LEAST_S - 1e-3]
    short = [t for g in spans if len(g) * step_s < LEAST_S - 1e-3 for t in g]
    return found + ([Found("repeat", short[0], short[-1] + step_s)] if len(short) >= 3 else [])


def stamps_of(said: str) -> list[float]:
    return [float(t) for t in re.findall(r" pts_time:([\d.]+)", said)]


def idet(path: Path) -> list[Found]:
    """Combing where it calls more frames interlaced than progressive."""
    counts = re.findall(
        r"Multi frame detection: TFF:\s*(\d+) BFF:\s*(\d+) Progressive:\s*(\d+)", printed(path, "idet 0")
    )
    tff, bff, progressive = map(int, counts[-1])
    return [Found("combing", 0, 1e3)] if tff + bff > progressive else []


DETECTORS: dict[str, tuple[Callable[[Path], list[Found]], tuple[str, ...]]] = {
    "ours": (ours, ()),
    "freezedetect": (freezedetect, ("freeze",)),
    "freezedetect -50dB": (lambda path: freezedetect(path, 1), ("freeze",)),
    "blackdetect": (blackdetect, ("black",)),
    "scdet": (scdet, ("cut",)),
    "scdet 14": (lambda path: scdet(path, 1), ("cut",)),
    "mpdecimate": (mpdecimate, ("freeze", "repeat")),
    "idet": (idet, ("combing",)),
}
"""By name: how it is run, and the kinds it can find; () is all of them."""
