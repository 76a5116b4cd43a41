"""Where a verdict goes beside the table: the options that ask for reports, refused early or written at the end."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qclip_ffmpeg.cli import console
from qclip_ffmpeg.cli.outputs import STDOUT, check_files
from qclip_ffmpeg.cli.pictures import check_picture
from qclip_ffmpeg.emit.names import one_line
from qclip_ffmpeg.errors import QClipError, UsageError

if TYPE_CHECKING:
    from qclip_ffmpeg.ladder import Rung
    from qclip_ffmpeg.ladder_inputs import Entry
    from qclip_ffmpeg.verdict import GateReport

NAME = "qclip-gate"
SUMMARY = "GITHUB_STEP_SUMMARY"
ROOTS = ("GITHUB_WORKSPACE", "CI_PROJECT_DIR", "WORKSPACE")
"""Environment variables in which GitHub, GitLab and Jenkins name the folder of the repository."""

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the reports are made of."""

    report: "GateReport"
    rungs: "Sequence[Rung]"
    """With their tracks, in any order."""
    entries: "Sequence[Entry]"
    """Where each rung came from."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One report that was asked for."""

    option: str
    path: Path
    """A file, or "-" for standard output."""
    write: Callable[[Verdict], bytes]

    @property
    def to_stdout(self) -> bool:
        return self.path == STDOUT


def file_option(said: str, *names: str) -> Callable[[Command], Command]:
    """An option that names a file."""
    return click.option(*names, metavar="FILE", type=click.Path(path_type=Path), help=said)


def report_options(command: Command) -> Command:
    """The options that ask for reports: --json, -o, --junit, --github, --markdown, --gitlab, --html and --plot."""
    options = (
        click.option("--json", "to_stdout", is_flag=True, help="Print the report as JSON; as -o -."),
        file_option("Write the report as JSON, over an older one, as all reports.", "-o", "--output", "output"),
        file_option("Write JUnit XML, a test case a rule. - is standard output, here and below.", "--junit"),
        click.option(
            "--github",
            is_flag=True,
            help="Print annotations for GitHub Actions, and append a summary to the file that the runner names in "
            f"${SUMMARY}. Never done unasked.",
        ),
        file_option("Write a comment for a pull request or a merge request.", "--markdown"),
        file_option("Write GitLab's Code Quality JSON.", "--gitlab"),
        file_option("Write a report in one HTML file: the verdict, the ladder's curve, up to 6 rungs.", "--html"),
        file_option("Draw the ladder's rate-quality curve as PNG.", "--plot"),
    )
    for option in reversed(options):
        command = option(command)
    return command


def asked_reports(options: Mapping[str, Any], inputs: Sequence[str]) -> list[Asked]:
    """What the options ask for.

    Args:
        options: the command's, by the names of `report_options`.
        inputs: files and addresses that are read, or written by other options: no report may be one of them.

    Raises:
        UsageError: a file cannot be written, is an input, or is to be written twice; two reports want standard output;
            matplotlib is missing.
        OutputError: the disk is full.
    """
    named = {"-o" if name == "output" else f"--{name}": (options[name], write) for name, write in WRITERS.items()}
    asked = [Asked(option, path, write) for option, (path, write) in named.items() if path is not None]
    asked += [Asked("--json", STDOUT, json_of)] * options["to_stdout"]
    asked += [Asked("--github", STDOUT, annotations_of)] * options["github"]
    if len(several := [one.option for one in asked if one.to_stdout]) > 1:
        raise UsageError(f"{' and '.join(several)}: standard output can take one report; give the others a file each")
    for option, suffixes in PICTURES.items():
        if (path := options[option]) is not None:
            check_picture(f"--{option}", path, suffixes)
    files: dict[str, Path | None] = {one.option: one.path for one in asked if not one.to_stdout}
    check_files((), None, files, list(inputs), overwrite=True)
    for option, path in files.items():
        if path is not None and path.resolve() in taken(inputs):
            raise UsageError(f"{option} {path}: is written by another option, too; choose another name")
    if options["plot"] is not None:
        from qclip_ffmpeg.drawing import check_matplotlib

        check_matplotlib()
    return asked


def taken(inputs: Sequence[str]) -> set[Path]:
    """The places of the inputs that are no addresses."""
    from qclip_ffmpeg.inputs import STDIN, is_url

    return {Path(name).resolve() for name in inputs if name != STDIN and "\0" not in name and not is_url(name)}


def write_reports(asked: Sequence[Asked], verdict: Verdict) -> int:
    """Write all that was asked for, files first; what cannot be written is said, and the others still are.

    Returns the exit code: 0, or that of the first failure.
    """
    from qclip_ffmpeg.files import write_atomically

    codes = []
    for one in sorted(asked, key=lambda one: one.to_stdout):
        try:
            data = one.write(verdict)
            if one.to_stdout:
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            else:
                write_atomically(one.path, data)
            if one.option == "--github":
                append_summary(verdict.report)
        except QClipError as error:
            console.fail(NAME, f"{one.option}: {error}")
            codes.append(error.exit_code)
    return next(iter(codes), 0)


def append_summary(report: "GateReport") -> None:
    """Append the summary to the file that the runner names; it holds what earlier commands of the step wrote.

    Raises:
        UsageError: it cannot be written to.
        OutputError: the disk is full.
    """
    from qclip_ffmpeg.emit.github import to_summary
    from qclip_ffmpeg.files import not_written

    if not os.environ.get(SUMMARY):
        console.warn(NAME, f"--github: ${SUMMARY} is not set, no summary is written")
        return
    path = Path(os.environ[SUMMARY])
    try:
        with path.open("ab") as file:
            file.write(to_summary(report, file.tell()))
    except OSError as error:
        raise not_written(path, error) from None


def root() -> Path:
    """The folder of the repository: as the CI server says, else the current one."""
    return Path(next(filter(None, map(os.environ.get, ROOTS)), "."))


def json_of(verdict: Verdict) -> bytes:
    """The report of --json and -o."""
    from qclip_ffmpeg.emit.gate_json import to_gate_json

    return to_gate_json(verdict.report)


def junit_of(verdict: Verdict) -> bytes:
    """The report of --junit."""
    from qclip_ffmpeg.emit.junit import to_junit

    return to_junit(verdict.report)


def annotations_of(verdict: Verdict) -> bytes:
    """What --github prints."""
    from qclip_ffmpeg.emit.github import to_annotations

    return to_annotations(verdict.report, root())


def markdown_of(verdict: Verdict) -> bytes:
    """The report of --markdown."""
    from qclip_ffmpeg.emit.markdown import to_markdown

    return to_markdown(verdict.report)


def gitlab_of(verdict: Verdict) -> bytes:
    """The report of --gitlab."""
    from qclip_ffmpeg.emit.gitlab import to_gitlab

    return to_gitlab(verdict.report, root())


def html_of(verdict: Verdict) -> bytes:
    """The report of --html; says which rungs it cannot show frames of."""
    from qclip_ffmpeg.emit.chart import worst_segments
    from qclip_ffmpeg.emit.gate_html import shown_rungs, to_gate_html

    tracks = {rung.name: rung.track for rung in verdict.rungs}
    media = {entry.name: media_of(entry) for entry in verdict.entries}
    shown = shown_rungs(verdict.report, tracks)
    if not any(Path(media[name]).is_file() for name in shown):
        return to_gate_html(verdict.report, tracks)  # the door to the decoder stays closed
    from qclip_ffmpeg.stills import stills

    found = {name: stills(media[name], worst_segments(tracks[name])) for name in shown}
    for name, of_rung in found.items():
        if of_rung.missing:
            console.warn(NAME, f"--html: {one_line(name)}: {of_rung.missing}")
    return to_gate_html(verdict.report, tracks, found)


def media_of(entry: "Entry") -> str:
    """The file or address that a rung is; of a sidecar, what it lies beside."""
    from qclip_ffmpeg.emit.sidecar import SIDECAR_SUFFIX

    return entry.source.removesuffix(SIDECAR_SUFFIX) if entry.is_sidecar else entry.source


def plot_of(verdict: Verdict) -> bytes:
    """The picture of --plot."""
    from qclip_ffmpeg.emit.ladder_plot import to_ladder_png

    return to_ladder_png(verdict.report)


WRITERS: dict[str, Callable[[Verdict], bytes]] = {
    "output": json_of,
    "junit": junit_of,
    "markdown": markdown_of,
    "gitlab": gitlab_of,
    "html": html_of,
    "plot": plot_of,
}
"""What writes the file of an option."""
PICTURES = {"html": (".html", ".htm"), "plot": (".png",)}
"""Options whose reports are nothing for standard output, and how their files' names must end."""
