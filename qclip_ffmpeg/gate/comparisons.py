"""Rules that compare: rungs of one ladder with each other, and a ladder with its baseline. They allow for noise."""

import math
from collections.abc import Sequence
from itertools import groupby, pairwise
from statistics import fmean

from qclip_ffmpeg.emit.chart import worst_segments
from qclip_ffmpeg.gate.noise import any_encode, same_encode, same_segment, uncertain, widened
from qclip_ffmpeg.gate.rules import Found, Ladder, at_same_time, falls, measure
from qclip_ffmpeg.ladder import Rung
from qclip_ffmpeg.policy import Rule
from qclip_ffmpeg.track import SegmentScore


def by_codec(rungs: Sequence[Rung]) -> list[list[Rung]]:
    """The rungs of each codec, in the ladder's order; scores of two codecs are not held against each other."""
    ordered = sorted(rungs, key=lambda rung: rung.codec or "")  # stable: keeps the ladder's order
    return [list(of_codec) for _, of_codec in groupby(ordered, key=lambda rung: rung.codec)]


def band(one: Rung, other: Rung, ladder: Ladder) -> float:
    """What any two encodes may differ by; `judge` has seen to it that it is known."""
    known = any_encode(one, other, ladder.noise)
    assert known is not None
    return known


def inversion(rule: Rule, rungs: Sequence[Rung], ladder: Ladder) -> list[Found]:
    """ladder.inversion: a lower rung of the codec scores above a rung, by more than noise."""
    found = []
    for of_codec in by_codec(rungs):
        for at, upper in enumerate(of_codec[1:], 1):
            lower = max(of_codec[:at], key=score_of)
            noise = band(lower, upper, ladder)
            limit = max(rule.max or 0.0, noise)
            value = score_of(lower) - score_of(upper)
            found.append(
                Found(
                    f"{upper.name} over {lower.name}",
                    [upper.name, lower.name],
                    value,
                    f"the mean of {score_of(upper):.1f} is {above_or_below(-value)} that of a lower rung "
                    f"({score_of(lower):.1f}); {allowed(limit, noise)}",
                    limit,
                    "max",
                    value > limit,
                    weak_seconds(upper, lower) if value > limit else [],
                )
            )
    return found


def step(rule: Rule, rungs: Sequence[Rung], ladder: Ladder) -> list[Found]:
    """ladder.step: each rung scores that much above the next lower one."""
    found = []
    for of_codec in by_codec(rungs):
        for lower, upper in pairwise(of_codec):
            value = score_of(upper) - score_of(lower)
            assert rule.min is not None
            message = f"the mean is {above_or_below(value)} the next lower rung's; {rule.min:.1f} above is asked for"
            subject = f"{upper.name} over {lower.name}"
            moments = weak_seconds(upper, lower) if value < rule.min else []
            found.append(
                Found(subject, [upper.name, lower.name], value, message, rule.min, "min", value < rule.min, moments)
            )
    return found


def redundant(rule: Rule, rungs: Sequence[Rung], ladder: Ladder) -> list[Found]:
    """ladder.redundant: a step that is no more than noise, nor than `max`. One that falls by more is an inversion."""
    found = []
    for of_codec in by_codec(rungs):
        for lower, upper in pairwise(of_codec):
            value, noise = score_of(upper) - score_of(lower), band(lower, upper, ladder)
            limit = noise if rule.max is None else min(noise, rule.max)
            why = "noise" if limit == noise or value < 0 else "hardly seen"
            message = f"the mean is {above_or_below(value)} the next lower rung's; up to {limit:.1f} is {why}"
            subject = f"{upper.name} over {lower.name}"
            none = -noise <= value <= limit
            found.append(Found(subject, [upper.name, lower.name], value, message, limit, "min", none))
    return found


def score_of(rung: Rung) -> float:
    """pooled.mean of a rung that was measured."""
    assert rung.score is not None
    return rung.score


def above_or_below(value: float) -> str:
    return f"{abs(value):.1f} {'above' if value >= 0 else 'below'}"


def allowed(limit: float, noise: float) -> str:
    """What a difference may be, and why."""
    return f"up to {limit:.1f} is {'noise' if limit == noise else 'allowed'}"


def weak_seconds(upper: Rung, lower: Rung) -> list[SegmentScore]:
    """The upper rung's segments, those first that fall furthest below the lower rung's at the same time."""
    fallen = [segment for _, segment in falls(at_same_time(upper, lower))]
    return fallen or worst_segments(upper.track)


def both(rungs: Sequence[Rung], ladder: Ladder) -> list[tuple[Rung, Rung]]:
    """The rungs that the baseline has, too, each with it."""
    return [(rung, ladder.baseline[rung.name]) for rung in rungs if rung.name in ladder.baseline]


def drop(rule: Rule, rungs: Sequence[Rung], ladder: Ladder) -> list[Found]:
    """baseline.drop: a rung's mean fell, by more than encoding again does.

    A rung that is the same to the last digit was not encoded again, and is no comparison that could go wrong.
    """
    pairs = both(rungs, ladder)
    changed = sum(score_of(new) != score_of(old) for new, old in pairs)
    found = []
    for new, old in pairs:
        band = same_encode(new, old, ladder.noise)
        assert band is not None
        noise = widened(band, changed)
        limit = max(rule.max or 0.0, noise)
        value = score_of(old) - score_of(new)
        message = f"the mean of {score_of(new):.1f} is {above_or_below(-value)} the baseline's; {allowed(limit, noise)}"
        moments = [segment for _, segment in falls(at_same_time(new, old))] or worst_segments(new.track)
        found.append(Found(new.name, [new.name], value, message, limit, "max", value > limit, moments))
    return found


def segment_drop(rule: Rule, rungs: Sequence[Rung], ladder: Ladder) -> list[Found]:
    """baseline.segment_drop: one segment fell. All segments of all rungs are looked at, so the band is wider.

    Segments that are the same to the last digit are no comparisons, as with `drop`.
    """
    fallen = {new.name: falls(at_same_time(new, old)) for new, old in both(rungs, ladder)}
    changed = sum(fall != 0 for of_rung in fallen.values() for fall, _ in of_rung)
    found = []
    for new, old in both(rungs, ladder):
        if not fallen[new.name]:
            continue
        band = same_segment(new, old, ladder.noise)
        assert band is not None
        noise = widened(band, changed)
        limit = max(rule.max or 0.0, noise)
        value = fallen[new.name][0][0]
        message = f"the worst segment is {above_or_below(-value)} the baseline's; {allowed(limit, noise)}"
        moments = [segment for fall, segment in fallen[new.name] if fall > limit]
        found.append(Found(new.name, [new.name], value, message, limit, "max", value > limit, moments))
    return found


def steady_drop(rule: Rule, rungs: Sequence[Rung], ladder: Ladder) -> list[Found]:
    """baseline.steady_drop: a rung's segments fell by little, but together."""
    found = []
    for new, old in both(rungs, ladder):
        fallen = falls(at_same_time(new, old))
        if len(fallen) < 2:
            continue
        subject = Found(new.name, [new.name], None, "")
        found.append(together(rule, subject, [fall for fall, _ in fallen], "segments", [s for _, s in fallen]))
    return found


def ladder_drop(rule: Rule, rungs: Sequence[Rung], ladder: Ladder) -> list[Found]:
    """baseline.ladder_drop: the rungs fell by little, but together."""
    pairs = both(rungs, ladder)
    if len(pairs) < 2:
        return []
    fallen = [score_of(old) - score_of(new) for new, old in pairs]
    subject = Found("ladder", [new.name for new, _ in pairs], None, "")
    return [together(rule, subject, fallen, "rungs", [])]


def together(rule: Rule, subject: Found, fallen: list[float], of: str, moments: list[SegmentScore]) -> Found:
    """Hold the mean of several drops against what is allowed and what their spread leaves uncertain."""
    value = fmean(fallen)
    assert rule.max is not None
    limit = rule.max + uncertain(fallen)
    message = (
        f"its {len(fallen)} {of} are {above_or_below(-value)} the baseline's on average; up to {limit:.1f} is allowed, "
        f"{limit - rule.max:.1f} of it for chance"
    )
    return subject._replace(
        value=value, message=message, limit=limit, bound="max", failed=value > limit, moments=moments
    )


def bd_score(rule: Rule, rungs: Sequence[Rung], ladder: Ladder) -> list[Found]:
    """baseline.bd_score: the ladder's rate-quality curve fell."""
    value = ladder.analysis.bd_score if ladder.analysis else None
    if value is None or not math.isfinite(value):
        return []
    assert rule.min is not None
    message = f"at equal bitrate the score is {above_or_below(value)} the baseline's; {rule.min:.1f} is the least"
    return [Found("ladder", [r.name for r in rungs], value, message, rule.min, "min", value < rule.min)]


def bd_rate(rule: Rule, rungs: Sequence[Rung], ladder: Ladder) -> list[Found]:
    """baseline.bd_rate_percent: the ladder needs more bits for the same scores."""
    value = ladder.analysis.bd_rate_percent if ladder.analysis else None
    if value is None or not math.isfinite(value):
        return []
    assert rule.max is not None
    changed = f"{measure(abs(value), '%')} {'above' if value >= 0 else 'below'}"
    message = f"at equal score the bitrate is {changed} the baseline's; {measure(rule.max, '%')} above is allowed"
    return [Found("ladder", [r.name for r in rungs], value, message, rule.max, "max", value > rule.max)]
