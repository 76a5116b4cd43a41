"""The pictures of --plot and --html, as outputs like the others: refused early, drawn and written at the end."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qclip_ffmpeg.cli import console
from qclip_ffmpeg.cli.outputs import STDOUT, Output
from qclip_ffmpeg.errors import UsageError

if TYPE_CHECKING:
    from qclip_ffmpeg.inputs import InputOptions
    from qclip_ffmpeg.track import QualityTrack


def picture_outputs(plot: Path | None, html: Path | None, sources: list[str], options: "InputOptions") -> list[Output]:
    """What --plot and --html ask for.

    Args:
        plot: of --plot.
        html: of --html.
        sources: the inputs; the report shows frames of those that are files.
        options: how the inputs are read.

    Raises:
        UsageError: matplotlib is missing, standard output was asked for, or there are more inputs than one picture can
            show.
    """
    from qclip_ffmpeg.drawing import check_matplotlib
    from qclip_ffmpeg.emit.chart import check_count

    made = []
    if plot is not None:
        check_count("--plot", len(sources))
        check_matplotlib()
        made.append(picture("--plot", plot, (".png",), draw_plot))
    if html is not None:
        check_count("--html", len(sources))
        made.append(picture("--html", html, (".html", ".htm"), partial(draw_report, sources, options)))
    return made


def picture(
    option: str, path: Path, suffixes: tuple[str, ...], draw: "Callable[[Sequence[QualityTrack]], bytes]"
) -> Output:
    """The output of one option. A picture of one input and of several is the same thing."""
    from qclip_ffmpeg.emit.registry import Format

    check_picture(option, path, suffixes)
    return Output(Format(option, suffixes, lambda track: draw([track]), draw), path)


def check_picture(option: str, path: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a picture on standard output, or under the name of something else."""
    if path == STDOUT:
        raise UsageError(f"{option} -: a picture goes to a file; name one")
    if path.suffix.lower() not in suffixes and (path.is_file() or not path.exists()):  # devices have names of their own
        raise UsageError(f"{option} {path}: writes {suffixes[0]} and nothing else; give a name that ends so")


def draw_plot(tracks: "Sequence[QualityTrack]") -> bytes:
    """The picture of --plot."""
    from qclip_ffmpeg.emit.plot import to_png

    return to_png(tracks)


def draw_report(sources: list[str], options: "InputOptions", tracks: "Sequence[QualityTrack]") -> bytes:
    """The report of --html; says which inputs it cannot show frames of."""
    from qclip_ffmpeg.emit.chart import worst_segments
    from qclip_ffmpeg.emit.html import to_html
    from qclip_ffmpeg.stills import stills

    found = [
        stills(source, worst_segments(track), options)
        for source, track in zip(sources, tracks, strict=False)  # fewer tracks after Ctrl-C
    ]
    for track, of_track in zip(tracks, found, strict=True):
        if of_track.missing:
            console.warn("qclip-probe", f"--html: {track.source.name}: {of_track.missing}")
    return to_html(tracks, found)
