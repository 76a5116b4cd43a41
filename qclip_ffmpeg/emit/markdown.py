"""A verdict in Markdown, as GitHub and GitLab show it: for a comment on a pull request, and for the summary of a job.

Whatever a stranger can name stands between <code> tags, every sign of it as a character reference: no table, link,
mention or tag can come out of it, and the renderers look for mentions of people and issues in no code.
"""

import re

from qclip_ffmpeg.emit.names import one_line
from qclip_ffmpeg.emit.verdict_words import (
    NOTHING,
    broken,
    change_said,
    counted,
    figure,
    headline,
    ladder_notes,
    limit_said,
    sentence,
    short,
    standings,
    tenth,
    video_said,
    warned,
    worst_said,
)
from qclip_ffmpeg.verdict import GateReport, Result, RungFigures

COMMENT_BYTES = 65_536
"""GitHub takes no more characters in a comment, and no text has fewer bytes than characters."""
LEAST_BYTES = 4096
"""Below it there is room for one sentence only."""
MAX_TEXT = 400
"""Characters of a sentence."""
MARKER = "<!-- qclip-gate -->"
"""First line of the text: by it a program finds its own comment to replace it."""
SIGNS = {"passed": "✅", "warned": "⚠️", "failed": "❌", "not_measured": "❓"}
SPACER = "&#8203;"
"""A space of no width."""
COLUMNS = ("", "rung", "video", "kbit/s", "score", "p5", "worst", "change")
NUMBERS = ("kbit/s", "score", "p5", "change", "found", "allowed")
"""Columns with their cells to the right."""
RULE_COLUMNS = ("", "of", "rule", "found", "allowed", "what")


def to_markdown(report: GateReport, most_bytes: int = COMMENT_BYTES) -> bytes:
    """The verdict, a table of the rungs, the broken rules with their worst seconds, and all results folded away.

    Args:
        report: the verdict.
        most_bytes: of the text. What does not fit is left out at the end of its list, and that is said.
    """
    verdict = SIGNS["passed" if report.passed else "failed"]
    head = [MARKER, f"### {verdict} Picture quality: {text(headline(report))}", ""]
    foot = ["", f"<sub>{text(provenance(report))}</sub>"]
    if most_bytes < LEAST_BYTES:
        said = "\n".join([*head, "There is no room here for more.", ""]).encode()
        return said if len(said) <= most_bytes else b""
    room = most_bytes - size([*head, *foot])
    stands = standings(report)
    parts = [
        *table(COLUMNS, [rung_row(rung, SIGNS[stands[rung.name]]) for rung in report.rungs], room // 4, "rung"),
        *bullets("Not met", [item(result) for result in broken(report)], room // 4, "check"),
        *bullets("Warnings", [item(result) for result in warned(report)], room // 8, "check"),
        *bullets("Notes", [text(note) for note in ladder_notes(report)], room // 8, "note"),
    ]
    parts += all_results(report, room - size(parts))
    return "\n".join([*head, *parts, *foot, ""]).encode()


def all_results(report: GateReport, room: int) -> list[str]:
    """The table of all results, folded away."""
    opening = ["", f"<details><summary>{counted(len(report.results), 'check')} in all</summary>", ""]
    closing = ["", "</details>"]
    rows = [result_row(result) for result in report.results]
    return [*opening, *table(RULE_COLUMNS, rows, room - size([*opening, *closing]), "check"), *closing]


def rung_row(rung: RungFigures, verdict: str) -> list[str]:
    """The cells of COLUMNS."""
    return [
        verdict,
        code(rung.name),
        text(video_said(rung)) or NOTHING,
        figure(rung.bitrate_kbps, decimals=0),
        tenth(rung.pooled.mean),
        tenth(rung.pooled.p5),
        worst_said(rung),
        change_said(rung),
    ]


def result_row(result: Result) -> list[str]:
    """The cells of RULE_COLUMNS."""
    return [
        sign(result),
        code(result.subject),
        code(result.rule),
        figure(result.value, result.unit),
        limit_said(result) or NOTHING,
        text(result.message),
    ]


def sign(result: Result) -> str:
    """What a result came to, as one sign."""
    return SIGNS["warned" if result.level == "warn" and result.status == "failed" else result.status]


def item(result: Result) -> str:
    """A result that was not met, for a list."""
    return f"{sign(result)} {code(result.subject)} {code(result.rule)}: {text(sentence(result))}"


def provenance(report: GateReport) -> str:
    """What judged."""
    model = f", model {report.model.id}" if report.model else ""
    shown = f", shown at {report.display}" if report.display else ""
    return f"{report.tool.name} {report.tool.version}{model}{shown}"


def table(columns: tuple[str, ...], rows: list[list[str]], room: int, what: str) -> list[str]:
    """A table of as many rows as there is room for; nothing where there are no rows."""
    if not rows:
        return []
    head = [line_of(columns), line_of(["---:" if name in NUMBERS else "---" for name in columns])]
    return [*head, *fitted([line_of(row) for row in rows], room - size(head), what)]


def bullets(title: str, items: list[str], room: int, what: str) -> list[str]:
    """A titled list of as many items as there is room for; nothing where there are none."""
    head = ["", f"**{title}**", ""]
    return [*head, *fitted([f"* {item}" for item in items], room - size(head), what)] if items else []


def line_of(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def fitted(lines: list[str], room: int, what: str) -> list[str]:
    """As many of the lines as fit into `room` bytes; then a sentence about the others."""
    if size(lines) <= room:
        return lines
    last = 80  # bytes of that sentence
    kept, used = 0, last
    while used + size(lines[kept : kept + 1]) <= room:
        used += size(lines[kept : kept + 1])
        kept += 1
    return [*lines[:kept], "", f"{counted(len(lines) - kept, 'more ' + what)}: no room here."]


def size(lines: list[str]) -> int:
    """Bytes of lines, each with its end."""
    return sum(len(line.encode()) + 1 for line in lines)


def code(name: str) -> str:
    """A name as code: all that is not a letter, a digit or a space as a character reference."""
    shown = short(name).strip() or "unnamed"
    return f"<code>{re.sub(r'[!-/:-@[-`{-~]', reference, shown)}</code>"


def text(said: str) -> str:
    """A sentence as text: what Markdown, HTML, a link or a mention could be made of as a character reference.

    A spacer parts a sign from the word that it would make a mention of: @user, #12, !34.
    """
    shown = re.sub(r"[!#$%&*<>?@[\\\]^_`{|}~]|\.(?=[^\W\d])|:(?=[^\s\d])", reference, one_line(said, MAX_TEXT))
    return re.sub(r"(&#(?:64|35|33|36|37|38|126);)(?=[\w\"])", rf"\1{SPACER}", shown)


def reference(match: re.Match[str]) -> str:
    """A character as its number. After @ no address is found: a spacer follows."""
    return f"&#{ord(match[0])};" + (SPACER if match[0] == "@" else "")
