"""Rules about each rung by itself: pooled figures, segments, events, flags, and what the ladder declares."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from msgspec import Struct

from qclip_ffmpeg.emit.chart import WORST, runs, worst_segments
from qclip_ffmpeg.ladder import Rung
from qclip_ffmpeg.policy import Noise, Rule
from qclip_ffmpeg.track import SCORE_DECIMALS, TIME_DECIMALS, SegmentScore
from qclip_ffmpeg.verdict import Analysis, Bound, Level, Moment, Result

NOT_JUDGED = "out_of_domain"
"""Flag of segments whose score is a guess: no rule about segments looks at them."""

SAME_TIME_DECIMALS = 3  # of seconds
CALLED_WITHIN_PX = 8  # columns; encoders want multiples of 2, 4, 8


class Ladder(Struct, frozen=True, kw_only=True):
    """What rules look at."""

    rungs: Sequence[Rung]
    """Measured, lowest first."""
    baseline: dict[str, Rung]
    """Rungs of the baseline that were measured, by name."""
    noise: Noise
    analysis: Analysis | None = None


class Found(NamedTuple):
    """What a rule found of one subject."""

    subject: str
    rungs: list[str]
    value: float | None
    message: str
    limit: float | None = None
    bound: Bound | None = None
    failed: bool = False
    moments: Sequence[SegmentScore] = ()


def result(rule: Rule, found: Found) -> Result:
    """A rule's result: the moments are told of a breach only."""
    decimals = TIME_DECIMALS if rule.about.unit == "s" else SCORE_DECIMALS
    level: Level = "warn" if rule.level == "warn" else "error"
    return Result(
        rule=rule.figure,
        level=level,
        status="not_measured" if found.value is None else "failed" if found.failed else "passed",
        subject=found.subject,
        rungs=found.rungs,
        value=None if found.value is None else round(found.value, decimals),
        bound=found.bound,
        limit=None if found.limit is None else round(found.limit, decimals),
        unit=rule.about.unit,
        message=found.message,
        moments=[moment(segment) for segment in found.moments[:WORST]] if found.failed else [],
        where=rule.where,
    )


def moment(segment: SegmentScore) -> Moment:
    return Moment(segment.start_s, segment.end_s, segment.score)


def measure(value: float, unit: str) -> str:
    """A value with its unit, for people."""
    if unit == "score":
        return f"{value:.1f}"
    return f"{value:.3g} {unit}".rstrip() if value < 1000 else f"{value:.0f} {unit}".rstrip()


def against_limits(rule: Rule, rung: Rung, value: float | None, says: str, moments: Sequence[SegmentScore]) -> Found:
    """Hold a rung's figure against the rule's min and max, as they are.

    With both the one that is broken is told, or max where none is.
    """
    if value is None:
        return Found(rung.name, [rung.name], None, f"{says} is not known", *limit_of(rule))
    below = rule.min is not None and value < rule.min
    bound: Bound = "min" if below or rule.max is None else "max"
    limit = rule.min if bound == "min" else rule.max
    assert limit is not None
    failed = below or (bound == "max" and value > limit)
    unit = rule.about.unit
    least = "least" if bound == "min" else "most"
    message = f"{says} is {measure(value, unit)}; {measure(limit, unit)} is the {least} that is allowed"
    return Found(rung.name, [rung.name], value, message, limit, bound, failed, moments)


def limit_of(rule: Rule) -> tuple[float | None, Bound | None]:
    """The limit to tell where there is no value."""
    if rule.min is not None:
        return rule.min, "min"
    return rule.max, "max" if rule.max is not None else None


def judged(rung: Rung) -> list[SegmentScore]:
    """The segments that rules about segments look at: those that have a score which is no guess."""
    return [s for s in rung.track.segments if s.score is not None and NOT_JUDGED not in s.flags]


def lasting_s(segments: Iterable[SegmentScore]) -> float:
    return sum(s.end_s - s.start_s for s in segments)


def pooled(rule: Rule, rungs: Sequence[Rung], ladder: Ladder) -> list[Found]:
    """pooled.*: a figure of the track."""
    name = rule.figure.removeprefix("pooled.")
    return [
        against_limits(rule, rung, getattr(rung.track.pooled, name), name, worst_segments(rung.track)) for rung in rungs
    ]


def segments_worst(rule: Rule, rungs: Sequence[Rung], ladder: Ladder) -> list[Found]:
    """segments.worst: the lowest score of a segment."""
    found = []
    for rung in rungs:
        lowest = by_score(judged(rung))
        value = lowest[0].score if lowest else None
        broken = [s for s in lowest if s.score is not None and rule.min is not None and s.score < rule.min]
        found.append(against_limits(rule, rung, value, "the worst segment's score", broken))
    return found


def segments_share(rule: Rule, rungs: Sequence[Rung], ladder: Ladder) -> list[Found]:
    """segments.share_below_percent: share of the time with a score that is below a value."""
    found = []
    for rung in rungs:
        among = judged(rung)
        low = by_score(below(rule, among))
        all_s = lasting_s(among)
        value = 100 * lasting_s(low) / all_s if all_s > 0 else None
        found.append(against_limits(rule, rung, value, f"the share of the time below {rule.below:g}", low))
    return found


def segments_longest(rule: Rule, rungs: Sequence[Rung], ladder: Ladder) -> list[Found]:
    """segments.longest_below_s: the longest run of segments below a value."""
    found = []
    for rung in rungs:
        among = judged(rung)
        longest = max(runs(below(rule, among)), key=lasting_s, default=[])
        value = lasting_s(longest) if among else None
        found.append(against_limits(rule, rung, value, f"the longest time below {rule.below:g}", by_score(longest)))
    return found


def below(rule: Rule, segments: Iterable[SegmentScore]) -> list[SegmentScore]:
    """The segments with a score that the rule calls low."""
    limit = rule.below
    assert limit is not None
    return [s for s in segments if s.score is not None and s.score < limit]


def by_score(segments: Iterable[SegmentScore]) -> list[SegmentScore]:
    """Lowest score first; of equal ones the earlier."""
    return sorted((s for s in segments if s.score is not None), key=lambda s: (s.score or 0.0, s.index))


def flags(rule: Rule, rungs: Sequence[Rung], ladder: Ladder) -> list[Found]:
    """flags.*_s: time of the segments with a flag."""
    flag = rule.figure.removeprefix("flags.").removesuffix("_s")
    found = []
    for rung in rungs:
        flagged = [s for s in rung.track.segments if flag in s.flags]
        found.append(against_limits(rule, rung, lasting_s(flagged), f"the time flagged {flag}", flagged))
    return found


def events(rule: Rule, rungs: Sequence[Rung], ladder: Ladder) -> list[Found]:
    """events.*: time, longest time and number of events of one kind.

    A rung whose events nobody looked for is not measured, beside others; where that is all of them the rule does not
    apply.
    """
    kind, what = re.fullmatch(r"events\.(\w+?)_(s|longest_s|count)", rule.figure).groups()  # type: ignore[union-attr]
    found = []
    if not any(map(has_events, rungs)):
        return []
    for rung in rungs:
        if not has_events(rung):
            found.append(against_limits(rule, rung, None, f"what there is of {kind} events", []))
            continue
        of_kind = [event for event in rung.track.events if event.kind == kind]
        lengths_s = [event.end_s - event.start_s for event in of_kind]
        value, says = {
            "s": (sum(lengths_s), f"the time of {kind} events"),
            "longest_s": (max(lengths_s, default=0.0), f"the longest {kind} event"),
            "count": (float(len(of_kind)), f"the number of {kind} events"),
        }[what]
        spans = sorted(of_kind, key=lambda event: event.start_s - event.end_s)  # longest first
        touched = [s for e in spans for s in rung.track.segments if s.start_s < e.end_s and e.start_s < s.end_s]
        found.append(against_limits(rule, rung, value, says, list({s.index: s for s in touched}.values())))
    return found


def has_events(rung: Rung) -> bool:
    """Whether events were looked for: a track that has a figure of them, or has some."""
    return bool(rung.track.events) or getattr(rung.track.pooled, "temporal", None) is not None


def declared_height(rule: Rule, rungs: Sequence[Rung], ladder: Ladder) -> list[Found]:
    """ladder.declared_height_px: the stream has the lines that were declared. Rungs that declare none pass by."""
    found = []
    for rung in rungs:
        video, declared = rung.track.source.video, rung.declared_height_px
        if video is None or declared is None:
            continue
        message = f"the stream is {video.width_px}x{video.height_px}; {declared} lines are declared"
        wrong = not is_called(declared, video.width_px, video.height_px)
        found.append(Found(rung.name, [rung.name], video.height_px, message, declared, None, wrong))
    return found


def is_called(lines: int, width_px: int, height_px: int) -> bool:
    """Whether people call a size by so many lines.

    Upright videos go by their columns, and films whose bars were cut off by the lines that 16:9 would have.
    """
    return lines in (height_px, min(width_px, height_px)) or (
        height_px < lines and abs(width_px - lines * 16 / 9) <= CALLED_WITHIN_PX
    )


def declared_bitrate(rule: Rule, rungs: Sequence[Rung], ladder: Ladder) -> list[Found]:
    """ladder.declared_bitrate_percent: measured bitrate over the declared one. Rungs that declare none pass by."""
    found = []
    for rung in rungs:
        video, declared = rung.track.source.video, rung.declared_kbps
        if video is None or video.bitrate_kbps is None or not declared:
            continue
        percent = 100 * video.bitrate_kbps / declared
        says = f"the bitrate of {video.bitrate_kbps:.0f} kbit/s as a share of the declared {declared:.0f}"
        found.append(against_limits(rule, rung, percent, says, worst_segments(rung.track)))
    return found


def at_same_time(new: Rung, old: Rung) -> list[tuple[SegmentScore, SegmentScore]]:
    """Segments of two rungs that begin together and have a score which is no guess, in order of time."""
    of_old = {round(s.start_s, SAME_TIME_DECIMALS): s for s in judged(old)}
    return [(s, of_old[at]) for s in judged(new) if (at := round(s.start_s, SAME_TIME_DECIMALS)) in of_old]


def falls(pairs: Iterable[tuple[SegmentScore, SegmentScore]]) -> list[tuple[float, SegmentScore]]:
    """(how much the first of a pair scores below the second, the first), largest first."""
    found = [(b.score - a.score, a) for a, b in pairs if a.score is not None and b.score is not None]
    return sorted(found, key=lambda pair: (-pair[0], pair[1].index))


Check = Callable[[Rule, Sequence[Rung], Ladder], list[Found]]
