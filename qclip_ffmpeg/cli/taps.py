"""--tee, --live and --drop: refused early where they make no sense, a stream passed on, lines written as they come."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qclip_ffmpeg.cli.console import StopSignals
from qclip_ffmpeg.cli.outputs import STDOUT, STDOUT_FD, Output, report
from qclip_ffmpeg.errors import QClipError, UsageError
from qclip_ffmpeg.inputs import STDIN, is_file
from qclip_ffmpeg.taps import Tee, write_all

if TYPE_CHECKING:
    from qclip_ffmpeg.measurement import Measurement
    from qclip_ffmpeg.track import QualityTrack, SegmentScore

DEFAULT_IDLE_S = Fraction(10)
STDIN_FD, STDERR_FD = 0, 2


def default_outputs(options: dict[str, Any]) -> list[Output]:
    """Where results go when nothing says so: lines to standard output with --live, else nowhere but into the table."""
    from qclip_ffmpeg.emit.registry import FORMATS

    return [Output(FORMATS["ndjson"], STDOUT)] if options["live"] else []


def check_taps(options: dict[str, Any], sources: list[str], outputs: list[Output]) -> None:
    """Refuse what cannot be passed on, written live or dropped, before anything is read."""
    if options["tee"]:
        check_tee(sources, outputs)
    if options["live"]:
        check_live(sources, outputs)
    if options["drop"] and not (options["tee"] or options["live"]):
        raise UsageError("--drop: nothing waits for the scores of a finished file; add --live or --tee")
    if options["idle_s"] is not None and not (options["live"] and is_file(sources[0])):
        raise UsageError("--idle: says when a growing file is finished; add --live, and name a file")


def check_tee(sources: list[str], outputs: list[Output]) -> None:
    """Refuse to pass on what is no stream, or results among the stream."""
    if sources != [STDIN]:
        raise UsageError("--tee: passes standard input on; give - as the one input")
    if any(output.to_stdout or is_standard_output(output.path) for output in outputs):
        raise UsageError("--tee: standard output is the stream's; write the results to a file with -o")
    if os.isatty(STDOUT_FD):
        raise UsageError("--tee: standard output is a terminal; pipe the stream on, or leave --tee out")


def is_standard_output(path: Path) -> bool:
    """Whether a path is what standard output goes to."""
    return path.exists() and os.path.samestat(path.stat(), os.fstat(STDOUT_FD))


def check_live(sources: list[str], outputs: list[Output]) -> None:
    """Refuse several inputs, of which the second would wait for the end of the first, and formats that are no lines."""
    if len(sources) != 1:
        raise UsageError("--live: measures one input as it comes; run a qclip-probe for each")
    if not any(is_live(output) for output in outputs):
        raise UsageError("--live: writes lines of NDJSON, which none of the outputs is; add -o FILE.ndjson")


def is_live(output: Output) -> bool:
    """Whether --live writes it line by line."""
    return output.format.name == "ndjson"


@contextmanager
def teed(asked: bool, terminated: Callable[[], bool]) -> Iterator[Callable[[], str | None]]:
    """Standard input flows on to standard output from here on; what is read as standard input is a copy of it.

    The copy may be left unread: it ends with the block, which is left when the last byte has flowed. What goes wrong
    in the block is said at once, not then.

    Args:
        asked: whether --tee was given; nothing happens without.
        terminated: whether the process is to end, so that the stream ends with the block.

    Yields:
        Says why the stream could not be passed on, where it could not.
    """
    if not asked:
        yield lambda: None
        return
    tee = Tee(os.dup(STDIN_FD), os.dup(STDOUT_FD))
    os.dup2(tee.feed, STDIN_FD)
    os.close(tee.feed)
    os.dup2(STDERR_FD, STDOUT_FD)  # nothing that prints can get into the stream
    try:
        yield lambda: tee.failure
    except QClipError as error:
        raise click.exceptions.Exit(report(error)) from None
    finally:
        with Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), STDIN_FD)
        if not terminated():
            tee.wait()


class LiveLines:
    """NDJSON that is written while a track is measured: a line at a time, at its place, for whoever follows it.

    Where the block fails after a line was written, the last line is a summary all the same, of what had been measured.

    Args:
        outputs: those that are written so; files are emptied first.
        signals: held back while a line is written, so that each output has it whole and once.
    """

    def __init__(self, outputs: list[Output], signals: StopSignals) -> None:
        self.code = 0
        """Exit code of what could not be written; it was said, and the others go on."""
        self._asked, self._signals = outputs, signals
        self._open: list[tuple[Output, int]] = []  # with the descriptor it is written to
        self._files = ExitStack()
        self._began = False
        self._segments = 0  # that have a line
        self._under_way: Measurement | None = None

    def __enter__(self) -> "LiveLines":
        for output in self._asked:
            descriptor = STDOUT_FD
            if not output.to_stdout:
                with said_of(output):
                    descriptor = self._files.enter_context(output.path.open("wb", buffering=0)).fileno()
            self._open.append((output, descriptor))
        return self

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> None:
        with self._files:
            if self._under_way is not None and isinstance(error, Exception) and not isinstance(error, OSError):
                why = (str(error) or type(error).__name__).splitlines()[0]
                self._under_way.problems.append(f"the measurement failed: {why}")
                self.end(self._under_way.track())

    def add(self, measurement: "Measurement") -> None:
        """Write the lines of the segments that came."""
        if self._open:
            self._under_way = measurement
            with self._signals.held():
                self._begin(measurement.track)
                self._write_segments(measurement.segments)

    def end(self, track: "QualityTrack") -> None:
        """Write the summary line."""
        from qclip_ffmpeg.emit import ndjson

        self._under_way = None
        if self._open:
            with self._signals.held():
                self._begin(lambda: track)
                self._write_segments(track.segments)  # of which a signal may have kept the last
                self._write(ndjson.end(track))

    def _begin(self, track: Callable[[], "QualityTrack"]) -> None:
        from qclip_ffmpeg.emit import ndjson

        if not self._began:
            self._write(ndjson.header(track()))
            self._began = True

    def _write_segments(self, segments: Sequence["SegmentScore"]) -> None:
        """The lines of those that have none yet."""
        from qclip_ffmpeg.emit import ndjson

        for segment in segments[self._segments :]:
            self._write(ndjson.segment(segment))
            self._segments += 1

    def _write(self, line: bytes) -> None:
        for output, descriptor in list(self._open):
            try:
                with said_of(output):
                    write_all(descriptor, line)
            except QClipError as error:
                self.code = report(error)
                self._open.remove((output, descriptor))


@contextmanager
def said_of(output: Output) -> Iterator[None]:
    """A file that cannot be written is an error that names it; standard output has its own."""
    from qclip_ffmpeg.files import not_written

    try:
        yield
    except OSError as error:
        if output.to_stdout:
            raise
        raise not_written(output.path, error) from None
