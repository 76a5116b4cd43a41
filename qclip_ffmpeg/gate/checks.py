"""What keeps a ladder from being judged, and what a reader should know of one that was."""

import re
from collections.abc import Sequence

from qclip_ffmpeg.emit.names import one_line
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.gate.rules import NOT_JUDGED, at_same_time, lasting_s
from qclip_ffmpeg.ladder import Rung, in_order
from qclip_ffmpeg.policy import Policy, Rule
from qclip_ffmpeg.track import Model, QualityTrack, Settings

NEEDS_NOISE = {
    "ladder.inversion",
    "ladder.redundant",
    "baseline.drop",
    "baseline.segment_drop",
}
"""Figures that cannot be judged without a noise band."""
SAME_MODEL = ("id", "backbone_sha256", "weights_sha256", "calibration")
MAY_DIFFER = ("device", "display_height_px")
"""Settings that keep no tracks from being compared: where it ran, and what a picture's shape makes of the display."""


def is_measured(rung: Rung) -> bool:
    """Whether a rung was measured to its end and has scores."""
    return rung.track.complete and rung.score is not None


def check_rungs(rungs: Sequence[Rung], policy: Policy, baseline: Sequence[Rung]) -> None:
    """Raises UsageError where the rungs cannot be judged at all, see `judge`.

    It looks at how they are measured, not at what: rungs that are still to be measured can be checked, too.
    """
    if not rungs:
        raise UsageError("the ladder is empty; name its files or their sidecars")
    names = [one_line(rung.name) for rung in rungs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"two rungs are named {twice[0]}; give each a name of its own")
    for rung in rungs:
        check_model(rung.track.model, one_line(rung.name))
        if difference := differences(rungs[0].track, rung.track):
            raise UsageError(
                f"{names[0]} and {one_line(rung.name)} cannot be compared: {difference}; measure them alike"
            )
    for rung in baseline:
        if difference := differences(rung.track, rungs[0].track):
            raise UsageError(
                f"the baseline's {one_line(rung.name)} and {names[0]} cannot be compared: {difference}; measure them "
                "alike, or save a new baseline"
            )
    check_display(rungs[0].track, policy)
    check_noise(rungs[0].track.model, policy, compared=bool(baseline))
    for rule in policy.rules:
        selected(rule, rungs)


def check_noise(model: Model, policy: Policy, compared: bool) -> None:
    """Raises UsageError where a rule that will apply needs a noise band and nobody knows one."""
    if model.noise_band is not None or policy.noise.any_encode is not None:
        return
    for rule in policy.rules:
        if rule.figure in NEEDS_NOISE and (compared or not rule.about.baseline):
            raise UsageError(
                f"the model {model.id} has no noise band: {rule.figure} ({rule.where}) cannot tell change from noise; "
                "measure one (qclip-model calibrate --noise-labels), or give noise.any_encode in the policy"
            )


def selected(rule: Rule, rungs: Sequence[Rung]) -> set[str]:
    """Names of the rungs a rule is about, measured or not.

    What could not be opened has no codec and no lines: its name decides.

    Raises:
        UsageError: there is none.
    """
    taken = [
        rung
        for rung in in_order(rungs)
        if (rule.takes(rung.name, rung.codec, rung.height_px) if rung.track.source.video else rule.names(rung.name))
    ]
    if not taken:
        raise UsageError(
            f"{rule.where}: rules.{rule.name} matches no rung of {one_line(', '.join(rung.name for rung in rungs))}; "
            'mend what it selects, or give it level = "off"'
        )
    if rule.place:
        taken = taken[-1:] if rule.place == "top" else taken[:1]
    return {rung.name for rung in taken}


def check_model(model: Model, name: str) -> None:
    """Raises UsageError where a model may not decide a gate. `name`: of what it scored."""
    if model.status != "trained":
        raise UsageError(
            f"{name}: the model {model.id} is {model.status} and may not decide a gate; take one that is trained"
        )
    if model.calibration is None:
        raise UsageError(
            f"{name}: the model {model.id} is not calibrated and may not decide a gate; calibrate it with qclip-model "
            "calibrate"
        )


def check_display(track: QualityTrack, policy: Policy) -> None:
    """Raises UsageError where the limits of a policy are for another screen."""
    display = track.settings.display
    if policy.display is not None and display != policy.display:
        raise UsageError(
            f"the limits of {policy.name} are for a display of {policy.display}, and {one_line(track.source.name)} "
            f"was measured at {one_line(display)}; measure it with --display {policy.display}, or extend the policy "
            "with other limits and its own display"
        )


def differences(one: QualityTrack, other: QualityTrack) -> str:
    """What keeps the scores of two tracks from being compared: "model.id is a and b, ..."; "" if nothing does."""
    pairs = [(f"model.{name}", getattr(one.model, name), getattr(other.model, name)) for name in SAME_MODEL]
    pairs += [
        (f"settings.{name}", getattr(one.settings, name), getattr(other.settings, name))
        for name in Settings.__struct_fields__
        if name not in MAY_DIFFER
    ]
    return ", ".join(f"{name} is {shown(a)} and {shown(b)}" for name, a, b in pairs if a != b)


def shown(value: object) -> str:
    """A setting for people; what is a checksum is shortened."""
    text = one_line(" ".join(map(str, value)) if isinstance(value, list) else str(value))
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
    found = []
    if seconds := lasting_s(s for s in rung.track.segments if NOT_JUDGED in s.flags):
        found.append(
            f"{rung.name}: {seconds:g} s are unlike anything the model was trained on; rules about segments leave them "
            "out"
        )
    unscored_s = lasting_s(s for s in rung.track.segments if s.score is None)
    if unscored_s and rung.track.complete:
        found.append(f"{rung.name}: {unscored_s:g} s have no score; nothing is known of them")
    return found


def about_baseline(rung: Rung, old: Rung) -> list[str]:
    """What a reader should know of a rung that is held against a baseline."""
    if not is_measured(old):
        return [f"{rung.name} was not measured to its end in the baseline: nothing was compared"]
    if not is_measured(rung):
        return []
    of_new, of_old, alike = len(rung.track.segments), len(old.track.segments), len(at_same_time(rung, old))
    if of_new != of_old:
        return [
            f"{rung.name} has {of_new} segments and {of_old} in the baseline, {alike} of them at the same times: is it "
            "the same content?"
        ]
    return []
