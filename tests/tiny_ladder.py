"""Rungs made by hand: what a gate says must not depend on a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from tiny_track import tiny_segment, tiny_track

from qclip_ffmpeg.calibration import NoiseBand
from qclip_ffmpeg.emit.sidecar import to_json
from qclip_ffmpeg.ladder import Rung
from qclip_ffmpeg.policy import Policy, read_policy
from qclip_ffmpeg.track import QualityTrack, pool

BAND = 5.0
NOISE = NoiseBand(
    band=BAND,
    low=None,
    high=None,
    at_score=(50.0,),
    at_band=(BAND,),
    label_apart=1.0,
    pairs=9,
    contents=9,
    source="tests",
)
SEGMENT_S = 4.0


def track_of(
    scores: Sequence[float | None],
    name: str = "clip.mp4",
    flags: Sequence[Sequence[str]] = (),
    noise: NoiseBand | None = NOISE,
    **video: Any,
) -> QualityTrack:
    """A track of a trained and calibrated model with a segment of 4 s a score.

    flags: of the first segments, in order. video: what is not as in `tiny_track`.
    """
    whole = tiny_track(name=name, **video)
    segments = [
        msgspec.structs.replace(
            tiny_segment(index, SEGMENT_S),
            score=None if score is None else float(score),
            flags=list(flags[index]) if index < len(flags) else [],
        )
        for index, score in enumerate(scores)
    ]
    model = msgspec.structs.replace(whole.model, calibration="tests", noise_band=noise.band if noise else None)
    return msgspec.structs.replace(whole, segments=segments, pooled=pool(segments, noise), model=model)


def rung(
    name: str,
    *scores: float | None,
    kbps: float | None = None,
    declared_kbps: float | None = None,
    declared_height_px: int | None = None,
    **track: Any,
) -> Rung:
    """A rung with those scores. kbps: measured. track: as `track_of` takes it."""
    return Rung(
        name=name,
        track=track_of(scores, bitrate_kbps=kbps, **track),
        declared_kbps=declared_kbps,
        declared_height_px=declared_height_px,
    )


def ladder(*means: float, **track: Any) -> list[Rung]:
    """Rungs r1, r2, ... of rising bitrate with those scores throughout three segments."""
    return [rung(f"r{i}", *[mean] * 3, kbps=1000 * i, **track) for i, mean in enumerate(means, 1)]


def policy_of(folder: Path, text: str) -> Policy:
    """A policy that says `text`."""
    (folder / "policy.toml").write_text(text)
    return read_policy(folder / "policy.toml")


def rule(figure: str, **said: Any) -> str:
    """The table of one rule named "it"."""
    lines = [f"{key} = {msgspec.json.encode(value).decode()}" for key, value in {"figure": figure, **said}.items()]
    return "\n".join(["[rules.it]", *lines])


def write_sidecars(folder: Path, rungs: Sequence[Rung]) -> list[Path]:
    """<name>.qclip.json of each rung."""
    paths = []
    for one in rungs:
        path = folder / f"{one.name}.qclip.json"
        path.write_bytes(to_json(one.track))
        paths.append(path)
    return paths
