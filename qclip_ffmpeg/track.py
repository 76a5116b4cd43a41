"""SegmentScore and QualityTrack: what is measured of one file, and the figures pooled over it.

These types are the contract of the JSON sidecar: field order, names and units are what is written, and the published
JSON Schema is generated from them. Readers ignore keys they do not know; meanings never change within a major version.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from qclip_ffmpeg.calibration import NoiseBand
from qclip_ffmpeg.errors import UsageError

if TYPE_CHECKING:
    import pandas

SCHEMA_VERSION = "1.0"
SCORE_DECIMALS = 4
TIME_DECIMALS = 6

Score = Annotated[
    float, Meta(description="higher is better; within model.score_range, 0 to 100 with every bundled model")
]
Probability = Annotated[float, Meta(ge=0, le=1)]
Score100 = Annotated[float, Meta(ge=0, le=100)]
FLAGS: dict[str, str] = {
    "bars_changed": "other black bars were cut than in the segment before; the picture is shown at another size",
    "beyond_calibration": "no clip of the calibration had such a raw score; its error is a guess",
    "corrupt": "the decoder reported damage in a frame of it",
    "dropped": "not scored: it came while the scorer was busy, and --drop said not to wait",
    "few_frames": "fewer frames than frames_per_window could be scored",
    "gap": "time jumps inside it or just before it: frames are missing or were stamped wrong",
    "interlaced": "the frames are interlaced and were scored as they are",
    "low_motion": "nothing moves: motion did not help to pick the frames",
    "not_finite": "the model gave no finite number",
    "out_of_domain": "unlike anything the model was trained on, or of a size it was not: its error is not known",
    "resized": "the picture changes size inside it",
    "truncated": "the input broke off in it",
}
EVENTS = {
    "black": "the picture is black",
    "combing": "two fields of different times lie woven into frames that are marked progressive",
    "cut": "a scene begins with its first frame",
    "drop": "frames are missing: steady motion jumps ahead while the time stamps do not",
    "fade": "the picture fades to or from black or white",
    "flicker": "brightness or contrast changes and comes back, all over the picture, neither by motion nor at a cut",
    "freeze": "the picture stands still for 0.2 s or longer, within a scene that moves",
    "judder": "frames are shown twice or more at no steady rate",
    "pts_duplicate": "a frame is stamped as early as the one before it, or earlier",
    "pts_gap": "the time stamps leave out the time of a frame or more",
    "repeat": "frames are shown twice or more at a steady rate: a lower frame rate in a higher one",
}
"""Every kind of event there is, and what it says."""
MEANT_EVENTS = ("black", "cut", "fade")
"""Those that may well be meant; the others are damage."""
EVENT_FLAGS = ("black", "combing", "flicker", "freeze", "judder")
"""Those that flag the segments they have a part in, as far as is known when a segment ends."""
FLAGS |= {kind: f"an event of this kind has a part in it: {EVENTS[kind]}" for kind in EVENT_FLAGS}
FLAGS = dict(sorted(FLAGS.items()))
ModelStatus = Literal["trained", "provisional", "untrained"]


def described(text: str) -> Meta:
    return Meta(description=text)


class Tool(Struct, frozen=True):
    """The program that measured."""

    name: str
    version: str
    libraries: Annotated[
        dict[str, str], described("version of every library that decides the numbers: torch, av, FFmpeg's, numpy")
    ]


class VideoStream(Struct, frozen=True):
    """The video stream that was measured."""

    codec: Annotated[str, described("FFmpeg's name of the codec")]
    decoder: Annotated[str, described("FFmpeg's name of the decoder that was used")]
    width_px: Annotated[int, described("columns as stored, before rotation")]
    height_px: Annotated[int, described("lines as stored, before rotation")]
    pixel_format: Annotated[str, described("FFmpeg's name of the pixel format")]
    frame_rate: Annotated[str | None, described("average rate in Hz as a fraction; null where the input does not say")]
    time_base: Annotated[str, described("seconds a unit of pts, as a fraction")]
    sample_aspect_ratio: Annotated[str, described("width of a stored pixel over its height, as a fraction")]
    rotation_deg: Annotated[int, described("degrees turned counter-clockwise to stand the picture upright")]
    mirrored: Annotated[bool, described("flipped top to bottom before it was turned, as its display matrix asks")]
    color_matrix: Annotated[str, described("matrix used to convert to R'G'B'")]
    color_range: Annotated[Literal["limited", "full"], described("range the stored values were taken to have")]
    transfer: Annotated[Literal["sdr", "pq", "hlg"], described("pq and hlg were mapped to SDR before scoring")]
    bitrate_kbps: Annotated[
        float | None,
        described(
            "kilobits (1000 bits) a second of the video's packets, over the segments that are reported, without the "
            "container and other streams; null for raw video, single pictures, and in tracks that do not say"
        ),
    ] = None


class Source(Struct, frozen=True):
    """What was measured."""

    name: Annotated[str, described('file name, URL without user, password and query, or "-" for standard input')]
    container: Annotated[str | None, described("FFmpeg's name of the container; null if it could not be opened")]
    start_s: Annotated[
        float | None,
        described("time of the first video frame in the stream's own clock; all other times count from it"),
    ]
    duration_s: Annotated[float | None, described("as declared by the container; null where it does not say")]
    video: VideoStream | None


class Model(Struct, frozen=True):
    """The model that scored."""

    id: str
    backbone: Annotated[str, described("the frozen image tower, as open_clip names it")]
    backbone_sha256: str
    weights_sha256: Annotated[str, described("of the file with everything that was trained")]
    calibration: Annotated[str | None, described("id of the map from raw score to 0..100; null: there is none")]
    score_range: Annotated[
        tuple[float, float],
        described("lowest and highest score there is: [0, 100], or raw scores of a model that has no calibration"),
    ]
    status: Annotated[ModelStatus, described("only a trained model may decide a gate")]
    noise_band: Annotated[
        float | None,
        described(
            "score difference up to which two encodes of one content, shown alike, must be called equal, over all "
            "scores; pooled.noise_band is that at the file's score. null: not measured"
        ),
    ] = None


class Settings(Struct, frozen=True):
    """How it was measured. With the model and the source this is enough to measure it again."""

    segment: Annotated[str, described('length of a segment, for example "4s", or "keyframes"')]
    frames_per_window: Annotated[int, described("most frames scored a segment")]
    sampling: Annotated[str, described("policy that picks them: motion, uniform, random or mixed")]
    seed: Annotated[int, described("of random sampling and of the places of mosaic tiles")]
    views: list[str]
    display: Annotated[str, described('screen the scores are defined at, "WIDTHxHEIGHT" or "native"')]
    display_height_px: Annotated[int | None, described("lines the picture takes on that screen")]
    start_s: Annotated[float, described("measured from here on, in seconds after the first frame")]
    duration_s: Annotated[float | None, described("measured for this long; null: to the end")]
    precision: str
    device: str
    bars: Annotated[
        Literal["cut", "keep"], described("cut: black bars around the picture were found and not scored")
    ] = "keep"  # as in tracks from before they could be cut
    cuts: Annotated[Literal["ignore", "split"], described("split: a segment ends where a scene does, too")] = "ignore"


class FrameTime(Struct, frozen=True):
    """One frame that was scored."""

    pts: Annotated[int | None, described("raw time stamp in units of the stream's time_base")]
    time_s: Annotated[float, described("seconds after the first video frame")]


class Area(Struct, frozen=True):
    """A part of the upright picture, in its own pixels."""

    x: Annotated[int, described("columns to the left of it")]
    y: Annotated[int, described("lines above it")]
    width: int
    height: int


class Levels(Struct, frozen=True):
    """Probability of each quality level; they sum to 1."""

    bad: Probability
    poor: Probability
    fair: Probability
    good: Probability
    excellent: Probability


class SegmentScore(Struct, frozen=True):
    """Quality of one span of time."""

    index: Annotated[int, described("from 0")]
    start_s: Annotated[float, described("inclusive, seconds after the first video frame")]
    end_s: Annotated[float, described("exclusive")]
    start_pts: Annotated[int | None, described("raw time stamp of its first frame, scored or not")]
    score: Annotated[
        Score | None,
        described('null: the model gave no finite number (flag "not_finite"), or was not asked (flag "dropped")'),
    ]
    score_stderr: Annotated[
        float | None,
        described(
            "standard error of the score: sampling_stderr and the model's error at that score, as measured by its "
            "calibration, added in quadrature. Without a calibration, sampling_stderr alone"
        ),
    ]
    levels: Levels | None
    frames: Annotated[list[FrameTime], described("the frames that were scored")]
    frame_count: Annotated[int, described("all frames of the segment")]
    motion: Annotated[float, described("mean absolute luma difference between frames, in 8-bit code values")]
    flags: Annotated[
        list[str],
        described("what makes the score less certain, sorted: " + "; ".join(f"{k}: {v}" for k, v in FLAGS.items())),
    ]
    active_picture_px: Annotated[
        Area | None,
        described("what was scored, without black bars; null: a picture that changes size, or dropped"),
    ] = None
    sampling_stderr: Annotated[
        float | None,
        described(
            "the part of score_stderr that comes from scoring few frames: the standard deviation of their scores over "
            "the square root of their number; null with fewer than two"
        ),
    ] = None


class Pooled(Struct, frozen=True):
    """Figures over the whole track. Segments count by their duration; null where no segment has a score."""

    mean: float | None
    harmonic_mean: Annotated[float | None, described("of score + 1, minus 1, as libvmaf defines it")]
    min: float | None
    p5: Annotated[float | None, described("5 % of the time scores this or less")]
    p10: Annotated[float | None, described("10 % of the time scores this or less")]
    median: Annotated[float | None, described("half of the time scores this or less")]
    max: float | None
    stdev: Annotated[float | None, described("spread of the segments over time")]
    stderr: Annotated[
        float | None,
        described(
            "standard error of the mean: sampling_stderr and the model's error, averaged over the segments, added in "
            "quadrature. Without a calibration, sampling_stderr alone"
        ),
    ]
    sampling_stderr: Annotated[
        float | None,
        described("the part of stderr that comes from scoring few frames; it shrinks with the number of segments"),
    ] = None
    noise_band: Annotated[
        float | None,
        described(
            "difference of pooled.mean up to which this file and another encode of its content, shown alike, must be "
            "called equal. null: not measured"
        ),
    ] = None
    temporal: Annotated[
        Score100 | None,
        described(
            "100 less the share of time that is spoilt by events, in percent: every event but "
            + ", ".join(MEANT_EVENTS)
            + " spoils its severity of the time from its start to its end, at least of a second; together they spoil "
            "no more than all of it. No part of the scores. null: nothing was measured, or events were not looked for"
        ),
    ] = None
    mean_with_temporal: Annotated[
        float | None,
        described("mean x temporal / 100, a simple combination; null where one of them is, or where scores are raw"),
    ] = None


NUMBERS = {
    "index": np.int64,
    "start_s": np.float64,
    "end_s": np.float64,
    "start_pts": np.float64,
    "score": np.float64,
    "score_stderr": np.float64,
    "sampling_stderr": np.float64,
    **dict.fromkeys(Levels.__struct_fields__, np.float64),
    "motion": np.float64,
    "frame_count": np.int64,
}
"""The numbers of a segment, levels beside the others, and the type of each in `QualityTrack.to_numpy()`."""


class Event(Struct, frozen=True):
    """Something that happened in time, for example a freeze."""

    kind: Annotated[str, described("; ".join(f"{kind}: {said}" for kind, said in EVENTS.items()))]
    start_s: Annotated[float, described("first frame that is concerned, seconds after the first video frame")]
    end_s: Annotated[float, described("first frame that no longer is")]
    severity: Annotated[Probability, described("how bad it is, 0 to 1; what 1 is depends on the kind")]
    confidence: Annotated[Probability, described("how clear it is, 0 to 1: 0.5 is where it is just reported")]
    detail: Annotated[str | None, described('of a repeat its cadence, "24 in 30"; else null')] = None


class QualityTrack(Struct, frozen=True, kw_only=True):
    """All segments of one file, pooled figures, events and provenance."""

    schema: Literal["qclip-track"]
    schema_version: str
    tool: Tool
    source: Source
    model: Model
    settings: Settings
    segments: list[SegmentScore]
    pooled: Pooled
    events: list[Event]
    warnings: Annotated[list[str], described("what a reader of the scores should know, one sentence each")]
    complete: Annotated[bool, described("false: the input broke off or the measurement was stopped")]
    timing: Annotated[
        dict[str, float] | msgspec.UnsetType,
        described("seconds spent and frames per second; only when asked for, since it differs from run to run"),
    ] = msgspec.UNSET

    def to_numpy(self) -> NDArray[np.void]:
        """The segments as a structured array, (segments,), with the names, the units and the order of the CSV format.

        `index` and `frame_count` are int64; `start_s`, `end_s`, `start_pts`, `score`, `score_stderr`,
        `sampling_stderr`, `bad`, `poor`, `fair`, `good`, `excellent` and `motion` are float64, and NaN where the
        sidecar has null; `flags` is text, separated by spaces. `start_pts` is exact up to 2**53.
        """
        flags = [" ".join(segment.flags) for segment in self.segments]
        text = f"U{max(map(len, flags), default=0) or 1}"
        rows = [(*numbers_of(segment), said) for segment, said in zip(self.segments, flags, strict=True)]
        return np.array(rows, dtype=[*NUMBERS.items(), ("flags", text)])

    def to_pandas(self) -> "pandas.DataFrame":
        """The segments as a DataFrame: the columns of `to_numpy()`, a row a segment.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise UsageError("to_pandas() needs pandas: pip install 'qclip-ffmpeg[pandas]'") from None
        return pandas.DataFrame(self.to_numpy())


def numbers_of(segment: SegmentScore) -> list[float]:
    """The values of `NUMBERS`, in its order; NaN for null."""
    values = {name: getattr(segment.levels, name, getattr(segment, name, None)) for name in NUMBERS}
    return [math.nan if value is None else value for value in values.values()]


def pool(segments: Sequence[SegmentScore], noise: NoiseBand | None = None) -> Pooled:
    """Pooled figures of segments, each weighted by its duration (SegmentScores without a score are left out).

    Quantiles are the lowest score such that at least that share of the time scores it or less (inverted CDF), so they
    are always a score that some segment has. The harmonic mean is libvmaf's, of score + 1; with raw scores
    below 0 there is none.

    The sampling parts of the segments' standard errors are independent and add in quadrature; the model's part is the
    content's and the encode's, the same in every segment, and adds as it is: no number of segments makes it smaller.
    """
    scored = [s for s in segments if s.score is not None]
    if not scored:
        return Pooled(**dict.fromkeys(Pooled.__struct_fields__))
    score = np.array([s.score for s in scored], dtype=np.float64)
    weight = np.array([max(s.end_s - s.start_s, 10**-TIME_DECIMALS) for s in scored])
    mean = float(np.average(score, weights=weight))
    p5, p10, median = np.quantile(score, [0.05, 0.10, 0.5], weights=weight, method="inverted_cdf")
    known = [(w, s.sampling_stderr) for w, s in zip(weight, scored, strict=True) if s.sampling_stderr is not None]
    sampling = math.sqrt(sum((w * e) ** 2 for w, e in known)) / sum(w for w, _ in known) if known else None
    error = float(np.average([model_error(s) for s in scored], weights=weight)) or None
    parts = [part for part in (sampling, error) if part is not None]
    figures = {
        "mean": mean,
        "harmonic_mean": float(weight.sum() / (weight / (score + 1)).sum() - 1) if score.min() >= 0 else None,
        "min": float(score.min()),
        "p5": float(p5),
        "p10": float(p10),
        "median": float(median),
        "max": float(score.max()),
        "stdev": math.sqrt(float(np.average((score - mean) ** 2, weights=weight))),
        "stderr": math.hypot(*parts) if parts else None,
        "sampling_stderr": sampling,
        "noise_band": noise.near(mean) if noise else None,
    }
    return Pooled(**{k: None if v is None else round(float(v), SCORE_DECIMALS) for k, v in figures.items()})


def model_error(segment: SegmentScore) -> float:
    """The model's part of a segment's standard error; 0 without a calibration."""
    return math.sqrt(max(0, (segment.score_stderr or 0) ** 2 - (segment.sampling_stderr or 0) ** 2))
