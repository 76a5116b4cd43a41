"""GitHub Actions: annotations as workflow commands, and the summary of a job.

Docs: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands. The escapes are those that
the runner takes back (actions/runner, ActionCommand.cs).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from qclip_ffmpeg.emit.markdown import to_markdown
from qclip_ffmpeg.emit.names import one_line
from qclip_ffmpeg.emit.places import place_in
from qclip_ffmpeg.emit.verdict_words import broken, counted, headline, sentence, short, warned
from qclip_ffmpeg.verdict import GateReport, Result

MOST_OF_A_KIND = 10
"""Annotations of a kind that GitHub shows of one step."""
SUMMARY_BYTES = 1024 * 1024
"""GitHub takes no larger summary of a step."""
MAX_TITLE, MAX_MESSAGE = 200, 2000
"""Characters."""


def to_annotations(report: GateReport, root: Path) -> bytes:
    """Workflow commands, a line each, for standard output: an error a broken rule, a warning a warning, or a notice.

    Args:
        report: the verdict.
        root: the repository's folder. Annotations stand beside the policy's lines where the policy lies in it.
    """
    lines = [*annotations("error", broken(report), root), *annotations("warning", warned(report), root)]
    if report.passed:
        lines.append(command("notice", {"title": "qclip-gate"}, headline(report)))
    return "".join(f"{line}\n" for line in lines).encode()


def annotations(kind: str, results: Sequence[Result], root: Path) -> list[str]:
    """MOST_OF_A_KIND at most; the last one names what has none of its own."""
    alone = len(results) if len(results) <= MOST_OF_A_KIND else MOST_OF_A_KIND - 1
    lines = [annotation(kind, result, root) for result in results[:alone]]
    if rest := results[alone:]:
        names = ", ".join(titled(result) for result in rest)
        lines.append(command(kind, {"title": f"{counted(len(rest), 'more check')} not met"}, names))
    return lines


def annotation(kind: str, result: Result, root: Path) -> str:
    """One result, beside the line of the policy that made the rule."""
    place = place_in(root, result.where)
    beside = {"file": place[0], "line": str(place[1])} if place else {}
    return command(kind, beside | {"title": titled(result)}, f"{titled(result)}: {sentence(result)}")


def titled(result: Result) -> str:
    """ "720p: pooled.p5"."""
    return one_line(f"{short(result.subject)}: {result.rule}", MAX_TITLE)


def command(name: str, properties: Mapping[str, str], message: str) -> str:
    """One workflow command: a line."""
    said = ",".join(f"{key}={escaped_property(value)}" for key, value in properties.items())
    return f"::{name} {said}::{escaped(one_line(message, MAX_MESSAGE))}"


def escaped(text: str) -> str:
    """Text as the data of a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escaped_property(text: str) -> str:
    """Text as the value of a property of a workflow command."""
    return escaped(text).replace(":", "%3A").replace(",", "%2C")


def to_summary(report: GateReport, taken: int = 0) -> bytes:
    """Markdown to be appended to the file that $GITHUB_STEP_SUMMARY names.

    Args:
        report: the verdict.
        taken: bytes that the file has already. What does not fit beside them is left out, and that is said.
    """
    return to_markdown(report, SUMMARY_BYTES - taken)
