"""What a picture of tracks shows: the same steps, bands, spans and words in the PNG and in the report."""

import math
from collections.abc import Iterable, Sequence

from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.track import EVENTS, Levels, QualityTrack, SegmentScore

MAX_TRACKS = 6
"""As many lines as can be told apart by colour."""
WORST = 5
LEVELS = Levels.__struct_fields__
"""Bad to excellent."""
TIME_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
"""What time marks may lie apart."""
SAME_TIME_S = 1e-3

Span = tuple[float, float]


def check_count(option: str, count: int) -> None:
    """Raises UsageError where there are more inputs than one picture can show."""
    if count > MAX_TRACKS:
        raise UsageError(f"{option}: shows {MAX_TRACKS} inputs at most, not {count}; draw several pictures")


def scored(track: QualityTrack) -> list[tuple[float, SegmentScore]]:
    """The segments that have a score, each behind it."""
    return [(s.score, s) for s in track.segments if s.score is not None]


def runs(segments: Iterable[SegmentScore]) -> list[list[SegmentScore]]:
    """The segments, cut where there is time between one and the next."""
    found: list[list[SegmentScore]] = []
    for segment in segments:
        if found and segment.start_s <= found[-1][-1].end_s + SAME_TIME_S:
            found[-1].append(segment)
        else:
            found.append([segment])
    return found


def margin(track: QualityTrack, segment: SegmentScore, alone: bool) -> float:
    """Half the height of the band around a score; 0 where it is not known.

    alone: the file's only question is how sure its scores are: one standard error to either side. Beside others it is
    which of them differ: half the noise band to either side, so that encodes of one content whose bands overlap are to
    be called equal. (Most of the standard error is the content's, and the same in all of its encodes.)
    """
    known = segment.score_stderr if alone else (track.pooled.noise_band or 0) / 2
    return known if known is not None and math.isfinite(known) else 0.0


def band_name(alone: bool) -> str:
    """What the bands are, for a legend."""
    if alone:
        return "± one standard error of the score"
    return "± half the noise band: encodes of one content whose bands overlap count as equal"


def spans(track: QualityTrack) -> dict[str, list[Span]]:
    """When each flag is set and each kind of event happens, sorted by name; spans that touch are one.

    A flag that says that an event has a part in a segment is not shown beside the event.
    """
    found: dict[str, list[Span]] = {}
    kinds = {event.kind for event in track.events}
    marks = [(flag, s.start_s, s.end_s) for s in track.segments for flag in s.flags if flag not in kinds]
    marks += [(event.kind, event.start_s, event.end_s) for event in track.events]
    for name, start_s, end_s in sorted(marks):
        of_name = found.setdefault(name, [])
        if of_name and start_s <= of_name[-1][1] + SAME_TIME_S:
            of_name[-1] = (of_name[-1][0], max(end_s, of_name[-1][1]))
        else:
            of_name.append((start_s, end_s))
    return found


def happened(track: QualityTrack) -> list[tuple[str, int, float]]:
    """(kind, number of events, seconds they last together) of every kind of event that happened, in `EVENTS`' order."""
    of_kind = {kind: [event for event in track.events if event.kind == kind] for kind in EVENTS}
    return [(kind, len(found), sum(e.end_s - e.start_s for e in found)) for kind, found in of_kind.items() if found]


def worst_segments(track: QualityTrack, count: int = WORST) -> list[SegmentScore]:
    """The segments with the lowest scores, lowest first; of equal ones the earlier."""
    return [segment for _, segment in sorted(scored(track), key=lambda pair: (pair[0], pair[1].index))[:count]]


def level_of(score: float) -> str:
    """The level whose score (0, 25, 50, 75, 100) is nearest."""
    return LEVELS[min(max(round(score / 25), 0), len(LEVELS) - 1)]


def has_levels(tracks: Sequence[QualityTrack]) -> bool:
    """Whether scores are on the scale of the levels. Raw scores of a model without a calibration are not."""
    return all(track.model.score_range == (0, 100) for track in tracks)


def zones() -> list[tuple[str, float, float]]:
    """(level, lower score, upper score), each level around the score it stands for."""
    return [(level, max(0, 25 * n - 12.5), min(100, 25 * n + 12.5)) for n, level in enumerate(LEVELS)]


def shown_range(tracks: Sequence[QualityTrack]) -> Span:
    """Lowest and highest score that the axis has room for."""
    ranges = [track.model.score_range for track in tracks] or [(0.0, 100.0)]
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def shown_span(tracks: Sequence[QualityTrack]) -> Span:
    """When the time axis begins and ends, in seconds; a second where nothing was measured."""
    segments = [s for track in tracks for s in (track.segments[:1] + track.segments[-1:])]
    start_s = min((s.start_s for s in segments), default=0.0)
    return start_s, max((s.end_s for s in segments), default=start_s + 1)


def headline(track: QualityTrack) -> str:
    """The pooled figures in one line."""
    pooled = track.pooled
    if pooled.mean is None or pooled.min is None:
        return "not measured" if not track.segments else "no score"
    error = f" ± {pooled.stderr:.1f}" if pooled.stderr is not None else ""
    lowest = worst_segments(track, 1)[0]
    figures = f"mean {pooled.mean:.1f}{error} · p5 {pooled.p5:.1f}"
    figures += f" · worst {pooled.min:.1f} at {clock(lowest.start_s)}"
    return figures if track.complete else f"{figures} · incomplete"


def caution(tracks: Sequence[QualityTrack]) -> str | None:
    """Why the scores of these tracks must not be compared; None where they may."""
    measured = [track for track in tracks if track.source.video]
    if len({(t.model.weights_sha256, t.model.calibration) for t in measured}) > 1:
        return "Measured with different models: do not compare the scores."
    if len({t.settings.display for t in measured}) > 1:
        return "Scores at different displays: do not compare them."
    return None


def time_step(span_s: float, most: int) -> float:
    """Seconds between time marks so that there are not more than `most` of them."""
    return next((step for step in TIME_STEPS_S if span_s / step <= most), span_s / most)


def time_marks(span: Span, most: int) -> list[float]:
    """Where to mark the time within a span, in seconds."""
    step = time_step(span[1] - span[0], most)
    first, last = math.ceil(span[0] / step - 1e-9), math.floor(span[1] / step + 1e-9)
    return [round(n * step, 3) for n in range(first, last + 1)]


def clock(seconds: float) -> str:
    """H:MM:SS or M:SS, with a decimal where there is one: 0:02.5."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(abs(tenths), 600)
    hours, minutes = divmod(minutes, 60)
    decimal = f".{rest % 10}" if rest % 10 else ""
    sign = "-" if tenths < 0 else ""
    return sign + (f"{hours}:{minutes:02}" if hours else f"{minutes}") + f":{rest // 10:02}{decimal}"
