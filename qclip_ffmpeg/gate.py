"""judge(): the tracks of a ladder, a policy and a baseline -> GateReport. Pure: nothing is measured, read or written."""

import re
from collections.abc import Callable, Sequence

from qclip_ffmpeg import __version__
from qclip_ffmpeg import gate_comparisons as comparisons
from qclip_ffmpeg import gate_rules as rules
from qclip_ffmpeg.emit.chart import worst_segments
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.gate_noise import any_encode
from qclip_ffmpeg.gate_rules import Check, Found, Ladder, moment, result
from qclip_ffmpeg.ladder import Rung, analyse, in_order
from qclip_ffmpeg.policy import Policy, Rule
from qclip_ffmpeg.track import SCORE_DECIMALS, QualityTrack, Tool
from qclip_ffmpeg.verdict import REPORT_VERSION, Compared, GateReport, Result, RungFigures

CHECKS: dict[str, tuple[Check, str]] = {
    "segments.worst": (rules.segments_worst, ""),
    "segments.share_below_percent": (rules.segments_share, ""),
    "segments.longest_below_s": (rules.segments_longest, ""),
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
    "baseline.bd_score": (comparisons.bd_score, "rate-quality curves of both ladders that overlap"),
    "baseline.bd_rate_percent": (comparisons.bd_rate, "rate-quality curves of both ladders that overlap"),
}
"""What checks a figure, and what it needs; a rule for which that is missing is said not to have been applied."""
CHECKS_OF_KIND: dict[str, Check] = {"pooled": rules.pooled, "flags": rules.flags, "events": rules.events}
NEEDS_NOISE = {
    "ladder.inversion",
    "ladder.redundant",
    "baseline.drop",
    "baseline.segment_drop",
}
"""Figures that cannot be judged without a noise band."""
SAME_MODEL = ("id", "backbone_sha256", "weights_sha256", "calibration")
SAME_SETTINGS = (
    *("display", "segment", "frames_per_window", "sampling", "seed", "views", "bars", "start_s", "duration_s"),
    "precision",
)


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
        applied, needs = apply(rule, [r for r in ladder.rungs if r.name in chosen[rule.name]], ladder)
        results += applied
        if not applied and measured:
            warnings.append(f"rule {rule.name} ({rule.figure}) was not applied: it needs {needs}")
    return GateReport(
        schema="qclip-gate",
        schema_version=REPORT_VERSION,
        tool=Tool("qclip-ffmpeg", __version__, {}),
        policy=policy.name,
        model=rungs[0].track.model,
        display=rungs[0].track.settings.display,
        baseline=Compared(baseline_name, len({r.name for r in rungs} & of_baseline.keys())) if baseline else None,
        passed=not any(r.level == "error" and r.status != "passed" for r in results),
        rungs=[figures_of(rung, of_baseline.get(rung.name)) for rung in in_order(rungs)],
        results=results,
        analysis=analysis,
        warnings=warnings,
    )


def apply(rule: Rule, rungs: Sequence[Rung], ladder: Ladder) -> tuple[list[Result], str]:
    """The results of one rule on the rungs it selects, and what it needs if there are none."""
    kind = rule.figure.partition(".")[0]
    check, needs = (CHECKS_OF_KIND[kind], "") if kind in CHECKS_OF_KIND else CHECKS[rule.figure]
    return [result(rule, found) for found in check(rule, rungs, ladder)], needs or "a rung that was measured"


def selected(rule: Rule, rungs: Sequence[Rung]) -> set[str]:
    """Names of the rungs a rule is about, measured or not.

    Raises:
        UsageError: there is none.
    """
    taken = [rung for rung in in_order(rungs) if rule.takes(rung.name, rung.codec, rung.height_px)]
    if not taken:
        raise UsageError(
            f"{rule.where}: rules.{rule.name} matches no rung of {', '.join(rung.name for rung in rungs)}; "
            'mend what it selects, or give it level = "off"'
        )
    if rule.place:
        taken = taken[-1:] if rule.place == "top" else taken[:1]
    return {rung.name for rung in taken}


def is_measured(rung: Rung) -> bool:
    """Whether a rung was measured to its end and has scores."""
    return rung.track.complete and rung.score is not None


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
    )


def check_rungs(rungs: Sequence[Rung], policy: Policy, baseline: Sequence[Rung]) -> None:
    """Raises UsageError where the rungs cannot be judged at all, see `judge`."""
    if not rungs:
        raise UsageError("the ladder is empty; name its files or their sidecars")
    names = [rung.name for rung in rungs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"two rungs are named {twice[0]}; give each a name of its own")
    for rung in rungs:
        check_model(rung.track)
        if difference := differences(rungs[0].track, rung.track):
            raise UsageError(f"{rungs[0].name} and {rung.name} cannot be compared: {difference}; measure them alike")
    for rung in baseline:
        if difference := differences(rung.track, rungs[0].track):
            raise UsageError(
                f"the baseline's {rung.name} and {rungs[0].name} cannot be compared: {difference}; measure them alike, "
                "or save a new baseline"
            )
    check_display(rungs[0].track, policy)
    lacking = [rule for rule in policy.rules if rule.figure in NEEDS_NOISE and (baseline or not rule.about.baseline)]
    if lacking and any(is_measured(r) and any_encode(r, r, policy.noise) is None for r in rungs):
        raise UsageError(
            f"the model {rungs[0].track.model.id} has no noise band: {lacking[0].figure} ({lacking[0].where}) cannot "
            "tell a change from noise; measure one (qclip-model calibrate --noise-labels), or give noise.any_encode in "
            "the policy"
        )


def check_model(track: QualityTrack) -> None:
    """Raises UsageError where a model may not decide a gate."""
    model = track.model
    if model.status != "trained":
        raise UsageError(
            f"{track.source.name}: was measured with the model {model.id}, which is {model.status}: it may not decide "
            "a gate; measure it with one that is trained"
        )
    if model.calibration is None:
        raise UsageError(
            f"{track.source.name}: was measured with the model {model.id}, which is not calibrated: it may not decide "
            "a gate; calibrate it with qclip-model calibrate"
        )


def check_display(track: QualityTrack, policy: Policy) -> None:
    """Raises UsageError where the limits of a policy are for another screen."""
    display = track.settings.display
    if policy.display is not None and display != policy.display:
        raise UsageError(
            f"the limits of {policy.name} are for a display of {policy.display}, and {track.source.name} was measured "
            f"at {display}; measure it with --display {policy.display}, or extend the policy with other limits and its "
            "own display"
        )


def differences(one: QualityTrack, other: QualityTrack) -> str:
    """What keeps the scores of two tracks from being compared: "model.id is a and b, ..."; "" if nothing does."""
    pairs = [(f"model.{name}", getattr(one.model, name), getattr(other.model, name)) for name in SAME_MODEL]
    pairs += [
        (f"settings.{name}", getattr(one.settings, name), getattr(other.settings, name)) for name in SAME_SETTINGS
    ]
    return ", ".join(f"{name} is {shown(a)} and {shown(b)}" for name, a, b in pairs if a != b)


def shown(value: object) -> str:
    """A setting for people; what is a checksum is shortened."""
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text[:12] if re.fullmatch(r"[0-9a-f]{64}", text) else text


def noted(rungs: Sequence[Rung], baseline: Sequence[Rung], policy: Policy) -> list[str]:
    """What a reader of the verdict should know, one sentence each."""
    found = []
    for rung in rungs:
        found += about_segments(rung)
    if not baseline:
        waiting = [rule.name for rule in policy.rules if rule.about.baseline]
        if waiting:
            found.append(f"there is no baseline: {', '.join(waiting)} did not apply")
        return found
    of = {rung.name: rung for rung in baseline}
    for name, missing in (
        ("the ladder", [n for n in of if n not in {rung.name for rung in rungs}]),
        ("the baseline", [rung.name for rung in rungs if rung.name not in of]),
    ):
        if missing:
            found.append(f"{name} does not have {', '.join(missing)}: nothing was compared")
    for rung in rungs:
        if old := of.get(rung.name):
            found += about_baseline(rung, old)
    versions = {rung.track.tool.version for rung in (*rungs, *baseline)}
    if len(versions) > 1:
        found.append(f"the tracks were measured by versions {', '.join(sorted(versions))} of the program")
    return found


def about_segments(rung: Rung) -> list[str]:
    """What a reader should know of segments that no rule about segments looks at."""
    left_out: Callable[[str], float] = lambda flag: rules.lasting_s(  # noqa: E731
        s for s in rung.track.segments if flag in s.flags
    )
    found = []
    if seconds := left_out(rules.NOT_JUDGED):
        found.append(
            f"{rung.name}: {seconds:g} s are unlike anything the model was trained on; rules about segments leave them "
            "out"
        )
    unscored_s = rules.lasting_s(s for s in rung.track.segments if s.score is None)
    if unscored_s and rung.track.complete:
        found.append(f"{rung.name}: {unscored_s:g} s have no score; nothing is known of them")
    return found


def about_baseline(rung: Rung, old: Rung) -> list[str]:
    """What a reader should know of a rung that is held against a baseline."""
    if not is_measured(old):
        return [f"{rung.name} was not measured to its end in the baseline: nothing was compared"]
    if not is_measured(rung):
        return []
    long, of_new, of_old = (
        len(part) for part in (rules.at_same_time(rung, old), rung.track.segments, old.track.segments)
    )
    if of_new != of_old:
        return [
            f"{rung.name} has {of_new} segments and {of_old} in the baseline, of which {long} are at the same times: "
            "is it the same content?"
        ]
    return []
