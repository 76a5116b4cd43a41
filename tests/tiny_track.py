"""A small QualityTrack made by hand: what the formats write must not depend on a model."""

from typing import Any

import msgspec

from qclip_ffmpeg.track import (
    Levels,
    Model,
    QualityTrack,
    SegmentScore,
    Settings,
    Source,
    Tool,
    VideoStream,
    pool,
)

VIDEO = VideoStream(
    codec="h264",
    decoder="h264",
    width_px=192,
    height_px=108,
    pixel_format="yuv420p",
    frame_rate="25",
    time_base="1/12800",
    sample_aspect_ratio="1",
    rotation_deg=0,
    mirrored=False,
    color_matrix="bt601",
    color_range="limited",
    transfer="sdr",
)
SCORES = (67.876, 12.5, None)
FLAGS: tuple[list[str], ...] = ([], ["few_frames", "low_motion"], ["not_finite"])


def tiny_segment(index: int, length_s: float = 0.4, rate: int = 25, unit: int = 512) -> SegmentScore:
    """Segment `index` of a video with `rate` frames a second, each `unit` of its time base long."""
    score = SCORES[index % len(SCORES)]
    frames = round(length_s * rate)
    return SegmentScore(
        index=index,
        start_s=round(index * length_s, 6),
        end_s=round((index + 1) * length_s, 6),
        start_pts=index * frames * unit,
        score=score,
        score_stderr=None if score is None else 11.1058,
        levels=None if score is None else Levels(0.012349, 0.105668, 0.332641, 0.385224, 0.164118),
        frames=[],
        frame_count=frames,
        motion=3.092,
        flags=FLAGS[index % len(FLAGS)],
        sampling_stderr=None,
    )


def tiny_track(segments: int = 3, name: str = "clip.mp4", start_s: float = 0.0, **video: Any) -> QualityTrack:
    """A track of 0.4 s segments: one good, one bad and flagged, one without a score, and again.

    video: what is not as in VIDEO.
    """
    scored = [tiny_segment(index) for index in range(segments)]
    return QualityTrack(
        schema="qclip-track",
        schema_version="1.0",
        tool=Tool("qclip-ffmpeg", "0.1.0", {"av": "18.1.0"}),
        source=Source(name, "mov,mp4,m4a,3gp,3g2,mj2", start_s, 1.2, msgspec.structs.replace(VIDEO, **video)),
        model=Model("tiny", "tiny", "0" * 64, "1" * 64, None, (0.0, 100.0), "trained"),
        settings=Settings("0.4s", 2, "motion", 0, ["whole"], "1920x1080", 1080, 0.0, None, "float32", "cpu"),
        segments=scored,
        pooled=pool(scored),
        events=[],
        warnings=[],
        complete=True,
    )
