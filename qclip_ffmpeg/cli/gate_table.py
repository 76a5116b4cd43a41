"""A verdict as people see it: the rungs in a table, then what broke which rule and when, a line each."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from qclip_ffmpeg.cli import console
from qclip_ffmpeg.emit.names import one_line
from qclip_ffmpeg.verdict import GateReport, Moment, Result, RungFigures

MOMENTS_SHOWN = 3
STYLES = {"failed": "red", "not measured": "red", "warned": "yellow", "passed": "green"}


def print_verdict(report: GateReport) -> None:
    """The whole report on stderr."""
    print_table(rung_table(report))
    for result in told(report.results):
        style = "yellow" if result.level == "warn" else "red"
        console.stderr.print(breach_line(result), style=style, soft_wrap=True)
    for warning in report.warnings:
        console.stderr.print(f"note: {one_line(warning)}", soft_wrap=True)
    console.stderr.print(verdict_line(report), style="green" if report.passed else "red", soft_wrap=True)


def print_table(table: Table) -> None:
    """A table as wide as it is where nobody looks at a terminal: a log that is cut at 80 columns says little."""
    here = console.stderr
    width = here.width if here.is_terminal else max(here.width, here.measure(table).maximum)
    here.print(table, width=width, crop=False)


def rung_table(report: GateReport) -> Table:
    """A line a rung, lowest first."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("rung", overflow="fold")
    table.add_column("codec", no_wrap=True)
    for title in ("size", "kbit/s", "score ± noise", "change"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for rung in report.rungs:
        said = verdict_of(rung, report.results)
        table.add_row(
            Text(one_line(rung.name)),
            Text(one_line(rung.codec or "")),
            f"{rung.width_px}x{rung.height_px}" if rung.height_px else "",
            "" if rung.bitrate_kbps is None else f"{rung.bitrate_kbps:.0f}",
            score_text(rung),
            "" if rung.change is None else f"{rung.change:+.1f}",
            Text(said, style=STYLES[said]),
        )
    return table


def score_text(rung: RungFigures) -> str:
    """The mean score, and the difference that is none."""
    if rung.pooled.mean is None:
        return ""
    noise = "" if rung.pooled.noise_band is None else f" ±{rung.pooled.noise_band:.1f}"
    return f"{rung.pooled.mean:.1f}{noise}"


def verdict_of(rung: RungFigures, results: Sequence[Result]) -> str:
    """The worst that a rule said of a rung: of two rungs, of the upper one; of the whole ladder, of none."""
    of_rung = [r for r in results if r.rungs[:1] == [rung.name] and r.subject != "ladder" and r.status != "passed"]
    errors = [r.status for r in of_rung if r.level == "error"]
    if "not_measured" in errors:
        return "not measured"
    return "failed" if errors else "warned" if of_rung else "passed"


def told(results: Sequence[Result]) -> list[Result]:
    """What did not pass, errors first."""
    return sorted((r for r in results if r.status != "passed"), key=lambda r: r.level == "warn")


def breach_line(result: Result) -> str:
    """Rung, rule, figure, limit and the worst seconds."""
    when = ", ".join(moment_text(moment) for moment in result.moments[:MOMENTS_SHOWN])
    where = f" [{result.where}]" if result.where else ""
    said = f"{result.level}: {result.subject}: {result.rule}: {result.message}"
    return one_line(said + (f"; worst: {when}" if when else "") + where)


def moment_text(moment: Moment) -> str:
    """A segment's score and its time."""
    score = "no score" if moment.score is None else f"{moment.score:.1f}"
    return f"{score} at {console.clock(moment.start_s)}-{console.clock(moment.end_s)}"


def verdict_line(report: GateReport) -> str:
    """The verdict in a line."""
    broken = told(report.results)
    errors = sum(result.level == "error" for result in broken)
    counts = [(errors, "error"), (len(broken) - errors, "warning")]
    said = ", ".join(f"{count} {word}{'s' if count > 1 else ''}" for count, word in counts if count)
    against = f", against {one_line(report.baseline.source)}" if report.baseline else ""
    verdict = "passed" if report.passed else "failed"
    return f"{one_line(report.policy)}{against}: {verdict}{f' with {said}' if said else ''}"
