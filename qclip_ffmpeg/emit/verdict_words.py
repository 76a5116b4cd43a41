"""What a verdict says, in words: the same sentences and digits in every report of the gate."""

import math
from collections.abc import Sequence

from qclip_ffmpeg.emit.chart import clock
from qclip_ffmpeg.emit.ladder_chart import crossing_words
from qclip_ffmpeg.emit.names import one_line
from qclip_ffmpeg.verdict import Analysis, GateReport, Moment, Result, RungFigures

LADDER = "ladder"
"""Subject of what is said of the ladder as a whole."""
MAX_NAME = 60
"""Characters of a name within a sentence."""
TOLD_MOMENTS = 3
"""Of the worst seconds in one sentence."""
NOTHING = "\N{EN DASH}"


def broken(report: GateReport) -> list[Result]:
    """The results that fail the gate: broken rules first, then those without a figure, in the policy's order."""
    fatal = [result for result in report.results if result.level == "error" and result.status != "passed"]
    return sorted(fatal, key=lambda result: result.status != "failed")


def warned(report: GateReport) -> list[Result]:
    """The results of level warn that did not pass, likewise."""
    told = [result for result in report.results if result.level == "warn" and result.status != "passed"]
    return sorted(told, key=lambda result: result.status != "failed")


def headline(report: GateReport) -> str:
    """The verdict in one line: "failed: 2 of 24 checks, 1 warning; 5 rungs, policy hls-vod"."""
    found = broken(report)
    failed, checks = sum(result.status == "failed" for result in found), counted(len(report.results), "check")
    said = [
        f"{failed} of {checks}" if failed else checks,
        *([f"{len(found) - failed} without a figure"] if len(found) > failed else []),
        *([counted(len(warned(report)), "warning")] if warned(report) else []),
    ]
    about = [counted(len(report.rungs), "rung"), f"policy {short(report.policy)}"]
    if report.baseline:
        about.append(f"baseline {short(report.baseline.source)} ({counted(report.baseline.rungs, 'common rung')})")
    return f"{'passed' if report.passed else 'failed'}: {', '.join(said)}; {', '.join(about)}"


def short(name: str) -> str:
    """A name within a sentence."""
    return one_line(name, MAX_NAME)


def counted(count: int, what: str) -> str:
    """ "1 rung", "2 rungs"."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def sentence(result: Result) -> str:
    """What was found and what was asked for, and the worst seconds of it."""
    worst = told(result.moments)
    return one_line(full_stop(result.message) + (f" Worst: {worst}." if worst else ""))


def full_stop(text: str) -> str:
    """A sentence that ends."""
    return text if text.rstrip().endswith((".", "!", "?")) else f"{text.rstrip()}."


def told(moments: Sequence[Moment]) -> str:
    """ "0:12 to 0:16 (31.2), 0:20 to 0:24 (33.0)"; "" where there are none."""
    return ", ".join(map(moment_said, moments[:TOLD_MOMENTS]))


def moment_said(moment: Moment) -> str:
    """ "0:12 to 0:16 (31.2)"."""
    score = "no score" if moment.score is None else tenth(moment.score)
    return f"{clock(moment.start_s)} to {clock(moment.end_s)} ({score})"


def limit_said(result: Result) -> str:
    """ "≥ 50", "≤ 10 %"; "" where there is no limit."""
    if result.limit is None or result.bound is None:
        return ""
    return f"{'≥' if result.bound == 'min' else '≤'} {figure(result.limit, result.unit)}"


def figure(value: float | None, unit: str = "", decimals: int = 2) -> str:
    """A number with its unit; scores have none. A dash where there is no number."""
    if value is None or not math.isfinite(value):
        return NOTHING
    digits = f"{round(value, decimals) + 0.0:,.{decimals}f}"  # + 0.0: no -0
    number = digits.rstrip("0").rstrip(".") if decimals else digits
    return number if unit in ("", "score") else f"{number} {unit}"


def tenth(value: float | None) -> str:
    """A score with one decimal, for columns."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.1f}"


def change_said(rung: RungFigures) -> str:
    """ "▲ 1.2", "▼ 3.4", "= 0.0" against the baseline; a dash where it has none."""
    if rung.change is None or not math.isfinite(rung.change):
        return NOTHING
    change = round(rung.change, 1)
    return f"{'▲' if change > 0 else '▼' if change < 0 else '='} {abs(change):.1f}"


def video_said(rung: RungFigures) -> str:
    """ "h264, 1280x720, 25 fps": what is known of it."""
    size = f"{rung.width_px}x{rung.height_px}" if rung.width_px and rung.height_px else None
    return one_line(", ".join(filter(None, (rung.codec, size, f"{rung.frame_rate} fps" if rung.frame_rate else None))))


def worst_said(rung: RungFigures) -> str:
    """ "31.2 at 0:12": its worst segment."""
    if not rung.worst:
        return NOTHING
    return f"{tenth(rung.worst[0].score)} at {clock(rung.worst[0].start_s)}"


def standings(report: GateReport) -> dict[str, str]:
    """ "failed", "not_measured", "warned" or "passed" by the name of each rung: what all rules about it come to.

    What is said of the ladder as a whole is no rung's.
    """
    found = {rung.name: "passed" for rung in report.rungs}
    for result in (*warned(report), *broken(report)[::-1]):
        if result.subject != LADDER:
            found |= dict.fromkeys(result.rungs, "warned" if result.level == "warn" else result.status)
    return found


def ladder_notes(report: GateReport) -> list[str]:
    """What is to be said of the ladder as a whole, one sentence each: its change, its suggestions, and cautions."""
    notes = analysis_notes(report.analysis) if report.analysis else []
    notes += map(full_stop, crossing_words(report))
    for rung in report.rungs:
        if not rung.complete:
            notes.append(f"{short(rung.name)} is incomplete: its figures are of what could be measured.")
    return [one_line(note) for note in (*notes, *map(full_stop, report.warnings))]


def analysis_notes(analysis: Analysis) -> list[str]:
    """BD figures against the baseline, and what to do with which rung."""
    notes = []
    if analysis.bd_rate_percent is not None:
        notes.append(f"BD-rate against the baseline: {analysis.bd_rate_percent:+.2f} % bitrate at equal score.")
    if analysis.bd_score is not None:
        notes.append(f"BD-score against the baseline: {analysis.bd_score:+.2f} at equal bitrate.")
    if analysis.no_bd is not None:
        notes.append(f"No BD figures against the baseline: {full_stop(analysis.no_bd)}")
    for suggestion in analysis.suggestions:
        to = f" to {figure(suggestion.bitrate_kbps, 'kbit/s', 0)}" if suggestion.bitrate_kbps is not None else ""
        notes.append(f"Suggestion: {suggestion.action} {short(suggestion.rung)}{to}: {full_stop(suggestion.reason)}")
    return notes
