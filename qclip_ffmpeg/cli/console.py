"""What people see: stderr for people, stdout for data. Progress, tables, errors, and how a command ends."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from qclip_ffmpeg.errors import QClipError

if TYPE_CHECKING:
    from qclip_ffmpeg.summary import Summary
    from qclip_ffmpeg.track import QualityTrack

EXIT_COULD_NOT_MEASURE = 1
EXIT_INTERRUPTED = 130
BARS = "▁▂▃▄▅▆▇█"
PLAIN_PROGRESS_INTERVAL_S = 10.0
SPARKLINE_WIDTH = 40

stderr = Console(stderr=True, highlight=False, markup=False, emoji=False)


def run_command(command: click.Command, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a click command; every failure a user can cause is one line on stderr and an exit code."""
    name = command.name or "qclip"
    try:
        code = command.main(arguments, prog_name=name, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        code = error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        fail(name, f"{error.format_message()} (see {context.command_path if context else name} --help)")
        code = error.exit_code
    except QClipError as error:
        fail(name, str(error))
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        fail(name, "interrupted")
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our stdout has gone. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_COULD_NOT_MEASURE
    except OSError as error:
        fail(name, f"the result cannot be written ({error.strerror or error})")
        code = EXIT_COULD_NOT_MEASURE
    sys.exit(code if isinstance(code, int) else 0)


def fail(name: str, message: str) -> None:
    stderr.print(f"{name}: {message}", style="red", soft_wrap=True)


def warn(name: str, message: str) -> None:
    stderr.print(f"{name}: {message}", style="yellow", soft_wrap=True)


class StopSignals:
    """SIGTERM and Ctrl-C of a command that measures and then writes: what has been measured gets written.

    Within the block the first one raises KeyboardInterrupt, while `held` only when the writing is done. A second one
    ends the process at once; a second Ctrl-C outside of writing raises once more. After a SIGTERM the process ends by
    it when the block does. Where a signal is ignored, or is somebody else's, that is left as it is.

    Args:
        name: of the command, to say on stderr what ended it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._usual: dict[int, Callable[..., Any] | int] = {}  # what those that are ours do outside of the block
        self._came: int | None = None  # the first one
        self._writing = False

    @property
    def terminated(self) -> bool:
        """Whether SIGTERM came first."""
        return self._came == signal.SIGTERM

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            usual = ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler))
            self._usual = {number: action for number, action in usual if signal.getsignal(number) == action}
        for number in self._usual:
            signal.signal(number, self._stop)
        return self

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> None:
        self._act_as_usual()
        if self.terminated:
            if isinstance(error, KeyboardInterrupt):  # else what it stopped has been said to be incomplete
                fail(self._name, "ended by SIGTERM")
            os.kill(os.getpid(), signal.SIGTERM)  # who sent it sees that it was obeyed

    @contextmanager
    def held(self) -> Iterator[None]:
        """While results are written: the first signal raises KeyboardInterrupt when the outermost such block ends."""
        if self._writing:
            yield
            return
        before = self._came
        self._writing = True
        try:
            if before is not None:
                self._end_at_once()
            yield
        finally:
            self._writing = False
            if self._came is not None:
                self._act_as_usual()
        if self._came != before:
            raise KeyboardInterrupt

    def _stop(self, number: int, _: object) -> None:
        self._came = number
        if self._writing:
            self._end_at_once()
        else:
            self._act_as_usual()
            raise KeyboardInterrupt

    def _end_at_once(self) -> None:
        for number in self._usual:
            signal.signal(number, signal.SIG_DFL)

    def _act_as_usual(self) -> None:
        for number, action in self._usual.items():
            signal.signal(number, action)


class ProbeProgress:
    """How far a probe is: a bar on a terminal, a line every ten seconds elsewhere, nothing when quiet."""

    def __init__(self, quiet: bool) -> None:
        self._live = not quiet and stderr.is_terminal
        self._plain = not quiet and not stderr.is_terminal
        self._bar = Progress(
            TextColumn("{task.fields[name]}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[at]}  {task.fields[fps]:.0f} fps  {task.fields[speed]:.1f}x"),
            TimeRemainingColumn(),
            console=stderr,
            transient=True,
            disable=not self._live,
        )
        self._task: TaskID | None = None
        self._said_s = self._began_s = time.monotonic()

    def __enter__(self) -> "ProbeProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def start(self, name: str) -> None:
        """A new input."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task("", total=None, name=name, at="", fps=0.0, speed=0.0)
        self._said_s = self._began_s = time.monotonic()

    def update(self, name: str, frames: int, done_s: float, total_s: float | None) -> None:
        """`frames` and `done_s` seconds of the input are scored, of `total_s` if that is known."""
        now_s = time.monotonic()
        spent_s = max(now_s - self._began_s, 1e-6)
        at = clock(done_s) + (f" / {clock(total_s)}" if total_s else "")
        if self._task is not None:
            self._bar.update(
                self._task, completed=done_s, total=total_s, at=at, fps=frames / spent_s, speed=done_s / spent_s
            )
        if self._plain and now_s - self._said_s >= PLAIN_PROGRESS_INTERVAL_S:
            self._said_s = now_s
            stderr.print(f"{name}: {at}, {frames / spent_s:.0f} fps, {done_s / spent_s:.1f}x")


class StageProgress:
    """How far a run of several stages is: a bar on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self._plain = not quiet and not stderr.is_terminal
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:.0f} of {task.total:.0f}"),
            TimeRemainingColumn(),
            console=stderr,
            transient=True,
            disable=quiet or not stderr.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=1)
        self._said_s = time.monotonic()

    def __enter__(self) -> "StageProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` units of a stage are done."""
        if self._bar.tasks[0].description != stage:
            self._bar.reset(self._task, description=stage)
        self._bar.update(self._task, completed=done, total=max(total, 1))
        now_s = time.monotonic()
        if self._plain and now_s - self._said_s >= PLAIN_PROGRESS_INTERVAL_S:
            self._said_s = now_s
            stderr.print(f"{stage}: {done} of {total}", soft_wrap=True)


def say(message: str) -> None:
    """One line of result for people."""
    stderr.print(message, soft_wrap=True)


def print_summary(architecture: str, summary: "Summary") -> None:
    """A model's parts as a table on standard output."""
    table = Table(title=architecture, title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("tower")
    table.add_column("part")
    for title in ("width", "frozen", "trained", "GFLOP"):
        table.add_column(title, justify="right")
    for part in summary.parts:
        table.add_row(
            part.tower,
            part.name,
            "" if part.width is None else str(part.width),
            f"{part.frozen_parameters:,}" if part.frozen_parameters else "",
            Text(f"{part.trained_parameters:,}", style="green") if part.trained_parameters else "",
            "" if part.gflops is None else f"{part.gflops:.2f}",
        )
    stdout = Console(highlight=False, markup=False, emoji=False)
    stdout.print(table)
    stdout.print(
        f"\nfrozen {summary.frozen_parameters:,}, trained {summary.trained_parameters:,} parameters "
        f"({summary.trained_parameters / 1e6:.2f} M); {summary.gflops_per_frame:.1f} GFLOP a frame, all its "
        "views together."
        + (" The text tower runs once a checkpoint." if any(part.tower == "text" for part in summary.parts) else ""),
        soft_wrap=True,
    )


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def clock_tenths(seconds: float) -> str:
    """As `clock`, with tenths of a second."""
    tenths = round(10 * seconds)
    return f"{clock(tenths // 10)}.{tenths % 10}"


def print_tracks(tracks: Sequence["QualityTrack"]) -> None:
    """A compact table: a line a file, its pooled figures, its worst moment and a sparkline of the track."""
    from qclip_ffmpeg.emit.chart import worst_segments

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file", overflow="fold")
    for title in ("length", "score", "p5", "worst"):
        table.add_column(title, justify="right")
    table.add_column("over time, 0 to 100", no_wrap=True)
    table.add_column("notes", overflow="fold")
    for track in tracks:
        if not any(s.score is not None for s in track.segments):
            table.add_row(Text(track.source.name), "", "", "", "", "", "not measured")
            continue
        [worst] = worst_segments(track, 1)
        notes = sorted({flag for s in track.segments for flag in s.flags}) + ([] if track.complete else ["incomplete"])
        table.add_row(
            Text(track.source.name),
            clock(track.segments[-1].end_s - track.segments[0].start_s),
            f"{track.pooled.mean:.1f}",
            f"{track.pooled.p5:.1f}",
            f"{worst.score:.1f} at {clock(worst.start_s)}",
            sparkline([s.score for s in track.segments]),
            ", ".join(notes),
        )
    stderr.print(table)


def print_events(tracks: Sequence["QualityTrack"]) -> None:
    """What happened in time, a line a file that has events: the damage first, with when each kind begins."""
    from qclip_ffmpeg.emit.chart import happened
    from qclip_ffmpeg.track import MEANT_EVENTS

    for track in tracks:
        if not track.events:
            continue
        said = []
        for kind, count, lasted_s in sorted(happened(track), key=lambda found: found[0] in MEANT_EVENTS):
            first = next(event for event in track.events if event.kind == kind)
            detail = f" ({first.detail})" if first.detail else ""
            said.append(f"{count} {kind}{detail}, {lasted_s:.1f} s, from {clock_tenths(first.start_s)}")
        name = "" if len(tracks) == 1 else f"{track.source.name}: "
        temporal = f"; temporal {track.pooled.temporal:.1f}" if track.pooled.temporal is not None else ""
        stderr.print(f"{name}events: {'; '.join(said)}{temporal}", soft_wrap=True)


def print_notes(tracks: Sequence["QualityTrack"]) -> None:
    """The warnings of the tracks; one that concerns them all is said once.

    The first warning of an incomplete track is the reason, which was already said.
    """
    notes: dict[str, list[str]] = {}
    for track in tracks:
        for warning in track.warnings[0 if track.complete else 1 :]:
            notes.setdefault(warning, []).append(track.source.name)
    for warning, names in notes.items():
        warn("note" if len(names) == len(tracks) else ", ".join(names), warning)


def sparkline(scores: Sequence[float | None]) -> str:
    """One bar a segment on the scale 0 to 100; long tracks show the lowest score of each stretch."""
    share = max(1, -(-len(scores) // SPARKLINE_WIDTH))
    stretches = [scores[i : i + share] for i in range(0, len(scores), share)]
    lowest = [min((s for s in stretch if s is not None), default=None) for stretch in stretches]
    return "".join(" " if s is None else BARS[min(len(BARS) - 1, int(s / 100 * len(BARS)))] for s in lowest)
