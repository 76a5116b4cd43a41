"""judge(): the tracks of a ladder, a policy and a baseline -> GateReport. Pure: nothing is read or written."""

from collections.abc import Callable, Sequence

from qclip_ffmpeg import __version__
from qclip_ffmpeg.emit.chart import worst_segments
from qclip_ffmpeg.gate import comparisons, rules
from qclip_ffmpeg.gate.bitrates import lone_drop, passed_over
from qclip_ffmpeg.gate.checks import check_rungs, is_measured, noted, selected
from qclip_ffmpeg.gate.rules import Check, Ladder, moment, result
from qclip_ffmpeg.ladder import Rung, analyse, in_order
from qclip_ffmpeg.policy import Policy, Rule
from qclip_ffmpeg.track import SCORE_DECIMALS, Tool
from qclip_ffmpeg.verdict import REPORT_VERSION, Compared, GateReport, Result, RungFigures, passes

CHECKS: dict[str, tuple[Check, str]] = {
    "segments.worst": (rules.segments_worst, "a rung that was measured"),
    "segments.share_below_percent": (rules.segments_share, "a rung that was measured"),
    "segments.longest_below_s": (rules.segments_longest, "a rung that was measured"),
    "ladder.inversion": (comparisons.inversion, "two rungs of one codec"),
    "ladder.step": (comparisons.step, "two rungs of one codec"),
    "ladder.redundant": (comparisons.redundant, "two rungs of one codec"),
    "ladder.declared_height_px": (rules.declared_height, "a rung whose lines are declared"),
    "ladder.declared_bitrate_percent": (
        rules.declared_bitrate,
        "a rung whose bitrate is declared and was measured",
    ),
    "baseline.drop": (comparisons.drop, "a rung that the baseline has, too"),
    "baseline.segment_drop": (comparisons.segment_drop, "segments at the same times in a rung and its baseline"),
    "baseline.steady_drop": (comparisons.steady_drop, "two segments at the same times in a rung and its baseline"),
    "baseline.ladder_drop": (comparisons.ladder_drop, "two rungs that the baseline has, too"),
    "baseline.lone_drop": (
        lone_drop,
        "two rungs of one codec whose bitrates were measured in both ladders",
    ),
    "baseline.bd_score": (comparisons.bd_score, "rate-quality curves of both ladders that overlap"),
    "baseline.bd_rate_percent": (comparisons.bd_rate, "rate-quality curves of both ladders that overlap"),
}
"""What checks a figure, and what it needs; a rule for which that is missing is said not to have been applied."""
CHECKS_OF_KIND: dict[str, tuple[Check, str]] = {
    "pooled": (rules.pooled, "a rung that was measured"),
    "flags": (rules.flags, "a rung that was measured"),
    "events": (rules.events, "tracks whose events were looked for"),
}

PASSED_OVER: dict[str, Callable[[Sequence[Rung], Ladder], dict[str, list[str]]]] = {"baseline.lone_drop": passed_over}
"""By figure: names of the rungs that a rule selects and cannot judge, by the reason."""


def judge(
    rungs: Sequence[Rung], policy: Policy, baseline: Sequence[Rung] = (), *, baseline_name: str = ""
) -> GateReport:
    """Hold a ladder against a policy.

    Args:
        rungs: of the ladder, in any order; names are unique. One that was not measured to its end fails as not
            measured, and no rule looks at it.
        policy: what is asked of it.
        baseline: rungs of an earlier ladder; they are matched by name.
        baseline_name: the file of the baseline, for the report.

    Raises:
        UsageError: there is no rung; a rule matches none; the model may not decide a gate; or the rungs, or they and
            the baseline or the policy, were measured differently and cannot be compared. The message says what
            differs.
    """
    check_rungs(rungs, policy, baseline)
    measured = [rung for rung in rungs if is_measured(rung)]
    of_baseline = {rung.name: rung for rung in baseline if is_measured(rung)}
    analysis = analyse(in_order(measured), in_order(list(of_baseline.values()))) if measured else None
    ladder = Ladder(rungs=in_order(measured), baseline=of_baseline, noise=policy.noise, analysis=analysis)
    chosen = {rule.name: selected(rule, rungs) for rule in policy.rules}
    warnings = noted(rungs, baseline, policy)
    results = [not_measured(rung) for rung in rungs if not is_measured(rung)]
    for rule in policy.rules:
        if rule.about.baseline and not baseline:
            continue
        of_rule = [r for r in ladder.rungs if r.name in chosen[rule.name]]
        applied, why = apply(rule, of_rule, ladder)
        results += applied
        if measured:
            warnings += not_applied(rule, of_rule, ladder, "" if applied else why)
    return GateReport(
        schema="qclip-gate",
        schema_version=REPORT_VERSION,
        tool=Tool("qclip-ffmpeg", __version__, {}),
        policy=policy.name,
        model=rungs[0].track.model,
        display=rungs[0].track.settings.display,
        baseline=Compared(baseline_name, len({r.name for r in rungs} & of_baseline.keys())) if baseline else None,
        passed=passes(results),
        rungs=[figures_of(rung, of_baseline.get(rung.name)) for rung in in_order(rungs)],
        results=results,
        analysis=analysis,
        warnings=warnings,
    )


def apply(rule: Rule, rungs: Sequence[Rung], ladder: Ladder) -> tuple[list[Result], str]:
    """The results of one rule on the rungs it selects, and why there are none if there are none."""
    kind = rule.figure.partition(".")[0]
    check, needs = CHECKS_OF_KIND[kind] if kind in CHECKS_OF_KIND else CHECKS[rule.figure]
    why = f"it needs {needs}"
    if rule.figure.startswith("baseline.bd_") and ladder.analysis and ladder.analysis.no_bd:
        why = ladder.analysis.no_bd
    return [result(rule, found) for found in check(rule, rungs, ladder)], why


def not_applied(rule: Rule, rungs: Sequence[Rung], ladder: Ladder, why: str) -> list[str]:
    """What a reader should know of a rule that was not applied, or not to all rungs it selects: a sentence or none.

    Args:
        rule: the rule.
        rungs: that it selects.
        ladder: as `apply` had it.
        why: it was applied to none of them; empty where it was to some.
    """
    without = PASSED_OVER[rule.figure](rungs, ladder) if rule.figure in PASSED_OVER else {}
    names = ", ".join(f"{', '.join(names)} ({reason})" for reason, names in without.items())
    if why:
        said = f"was not applied: {why}" + (f"; {names}" if names else "")
    elif names:
        said = f"was not applied to {names}"
    else:
        return []
    return [f"rule {rule.name} ({rule.figure}) {said}"]


def not_measured(rung: Rung) -> Result:
    """What fails a rung that was not measured to its end."""
    why = "no segment has a score" if rung.track.complete else next(iter(rung.track.warnings), "it broke off")
    return Result(
        rule="rung.measured",
        level="error",
        status="not_measured",
        subject=rung.name,
        rungs=[rung.name],
        value=None,
        bound=None,
        limit=None,
        unit="",
        message=f"it was not measured to its end: {why}",
    )


def figures_of(rung: Rung, old: Rung | None) -> RungFigures:
    """A rung as the report tells it."""
    track, video = rung.track, rung.track.source.video
    change = rung.score - old.score if old and rung.score is not None and old.score is not None else None
    return RungFigures(
        name=rung.name,
        source=track.source.name,
        codec=rung.codec,
        width_px=video.width_px if video else None,
        height_px=video.height_px if video else None,
        frame_rate=video.frame_rate if video else None,
        bitrate_kbps=rung.bitrate_kbps,
        pooled=track.pooled,
        worst=[moment(segment) for segment in worst_segments(track)],
        complete=track.complete,
        baseline=old.score if old else None,
        change=None if change is None else round(change, SCORE_DECIMALS),
        baseline_kbps=old.bitrate_kbps if old else None,
    )
