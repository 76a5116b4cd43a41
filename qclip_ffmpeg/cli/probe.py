"""qclip-probe: the quality track of videos."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from qclip_ffmpeg import __version__
from qclip_ffmpeg.cli import console
from qclip_ffmpeg.cli.measuring import (
    display_option,
    model_options,
    picking_options,
    place_options,
    probe_settings,
    scorer_of,
    threads_of,
)
from qclip_ffmpeg.cli.outputs import (
    check_files,
    outputs_of,
    read_sidecars,
    report,
    say_incomplete,
    write_copy,
    write_outputs,
    write_sidecar,
)
from qclip_ffmpeg.cli.params import RatioParam, SizeParam, TimeParam
from qclip_ffmpeg.cli.pictures import picture_outputs
from qclip_ffmpeg.cli.taps import DEFAULT_IDLE_S, LiveLines, check_taps, default_outputs, is_live, teed
from qclip_ffmpeg.errors import OutputError, QClipError, UsageError

if TYPE_CHECKING:
    from qclip_ffmpeg.inputs import InputOptions
    from qclip_ffmpeg.measurement import Measurement
    from qclip_ffmpeg.track import QualityTrack, SegmentScore

MAX_DECODER_THREADS = 16  # every thread of a decoder holds pictures
WITHOUT_MEASURING = {
    *("inputs", "more_inputs", "formats", "paths", "to_stdout", "from_sidecar"),
    *("copy", "plot", "html", "overwrite", "quiet"),
}
"""Parameters that --from-sidecar goes with."""

EXAMPLES = """\b
Examples:
  qclip-probe encoded.mp4                      a table for people
  qclip-probe encoded.mp4 --json               the quality track on standard output
  qclip-probe ladder/*.mp4 --sidecar           <input>.qclip.json beside each input
  qclip-probe talk.mkv --segment keyframes -ss 60 -t 5:00 --json -o talk.json
  qclip-probe clip.mp4 -o clip.vtt -o clip.ass          formats as the names of the files say
  qclip-probe clip.mp4 -of lavfi -o - -of csv -o t.txt  formats as -of says, each for the -o at its place
  qclip-probe ladder/*.mp4 --plot ladder.png --html ladder.html  pictures: up to six inputs over one another
  qclip-probe clip.mp4 --write-metadata scored.mkv      a copy with the scores as tags and chapters
  ffmpeg -i in.mov -f rawvideo -pix_fmt yuv420p - | qclip-probe - -f rawvideo -s 1920x1080 -r 25 --json
  ffmpeg -i in.mov -c:v rawvideo -f nut - | qclip-probe - --json
  ffmpeg ... -f mpegts - | qclip-probe - --tee --live -o live.ndjson | ffmpeg -i - ...
  qclip-probe --live recording.ts              a line a segment, until the file has stopped growing

\b
Exit status: 0 measured, 1 something could not be measured (to its end), 2 wrong usage, 130 interrupted.
"""


@click.command(name="qclip-probe", epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("inputs", metavar="INPUT...", nargs=-1)
@click.option(
    "-i",
    "more_inputs",
    metavar="INPUT",
    multiple=True,
    help="An input, as ffmpeg takes it; measured before the others.",
)
@click.option(
    "--json", "to_stdout", is_flag=True, help="Print the track as JSON (several inputs: an array); as -of json -o -."
)
@click.option(
    "-of",
    "-output_format",
    "--output-format",
    "formats",
    metavar="FMT",
    multiple=True,
    help="Output format of the -o at the same place, or of standard output where there is no -o: json, ndjson, csv, "
    "events, lavfi, ffmetadata, webvtt, ass, filtergraph, prometheus.  [default: as the name of FILE ends]",
)
@click.option(
    "-o",
    "--output",
    "paths",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Write the track to FILE (- is standard output); several, in several formats.",
)
@click.option(
    "--write-metadata",
    "copy",
    metavar="OUT",
    type=click.Path(path_type=Path),
    help="Copy the input to OUT, without encoding it, with the scores as tags and a chapter a segment; .mkv and .webm "
    "get them as a WebVTT track, too. OUT: .mkv, .webm, .mp4, .mov or .nut.",
)
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Draw score, levels, flags and motion over time as PNG; up to 6 inputs in one picture.",
)
@click.option(
    "--html",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write a report in one HTML file: a chart to zoom in, and the frames of the worst segments; up to 6 inputs.",
)
@click.option("--sidecar", is_flag=True, help="Write <input>.qclip.json beside each input, over an older one.")
@click.option("--from-sidecar", is_flag=True, help="Measure nothing: take the tracks from <input>.qclip.json.")
@click.option(
    "--tee",
    is_flag=True,
    help="Pass standard input on to standard output, byte for byte, whatever becomes of the scores. The pipe waits "
    "where they are slower.",
)
@click.option(
    "--live",
    is_flag=True,
    help="Write NDJSON a line at a time, as segments end; FILE is written in place. A file is followed as it grows.",
)
@click.option(
    "--idle",
    "idle_s",
    type=TimeParam(positive=True),
    help=f"With --live: a file that has not grown for so long is finished.  [default: {DEFAULT_IDLE_S}s]",
)
@click.option(
    "--drop",
    is_flag=True,
    help="With --tee or --live: do not wait for the scores. What comes while the model is busy is not scored, and "
    "flagged so.",
)
@click.option("-y", "overwrite", is_flag=True, help="Overwrite FILE and OUT if they exist.")
@picking_options
@display_option()
@place_options
@click.option(
    "-f",
    "--format",
    "format_",
    metavar="FMT",
    help="Input format; rawvideo needs -s, and -r and -pix_fmt where they are not 25 and yuv420p.",
)
@click.option(
    "-s", "-video_size", "--video-size", "size_px", type=SizeParam(), metavar="WxH", help="Frame size of rawvideo."
)
@click.option(
    "-r",
    "-framerate",
    "--framerate",
    "frame_rate",
    type=RatioParam(),
    help="Frame rate of rawvideo and of streams without times.",
)
@click.option(
    "-pix_fmt", "-pixel_format", "--pixel-format", "pixel_format", metavar="FMT", help="Pixel format of rawvideo."
)
@click.option(
    "-colorspace",
    "--colorspace",
    "color_matrix",
    type=click.Choice(["bt709", "bt470bg", "smpte170m", "bt2020nc", "smpte240m", "fcc"]),
    help="Colour matrix, when the stream does not say it or says it wrong.",
)
@click.option(
    "-color_range",
    "--color-range",
    "color_range",
    type=click.Choice(["tv", "pc", "limited", "full", "mpeg", "jpeg"]),
    help="Range of the values, likewise.",
)
@click.option(
    "-color_trc",
    "--color-trc",
    "transfer",
    type=click.Choice(["bt709", "smpte2084", "arib-std-b67"]),
    help="Transfer characteristic, likewise; smpte2084 (PQ) and arib-std-b67 (HLG) are mapped to SDR.",
)
@click.option("-aspect", "--aspect", "display_aspect_ratio", type=RatioParam(), help="Display aspect ratio, likewise.")
@model_options
@click.option("--timing", is_flag=True, help="Add the time spent to the JSON (it differs from run to run).")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no table.")
@click.version_option(__version__, "--version", prog_name="qclip-probe")
@click.pass_context
def command(context: click.Context, /, inputs: tuple[str, ...], more_inputs: tuple[str, ...], **options: Any) -> int:
    """Score the picture quality of encoded video, with no reference to compare against.

    INPUT is a file, a URL that FFmpeg opens, or - for standard input. Scores run from 0 to 100, higher is better, one
    for each segment of time.
    """
    sources = [*more_inputs, *inputs]
    if options["from_sidecar"]:
        check_not_measuring(context)
    check_sources(sources, "--from-sidecar" if options["from_sidecar"] else "--sidecar" if options["sidecar"] else None)
    pictures = {f"--{name}": options[name] for name in ("plot", "html")}
    check_files(options["paths"], options["copy"], pictures, sources, options["overwrite"])
    outputs = outputs_of(options["formats"], options["paths"], options["to_stdout"], sources)
    outputs = outputs or default_outputs(options)
    outputs += picture_outputs(options["plot"], options["html"], sources, input_options(options, threads=1))
    check_taps(options, sources, outputs)
    at_once = [output for output in outputs if options["live"] and is_live(output)]
    with (
        console.StopSignals("qclip-probe") as signals,
        teed(options["tee"], lambda: signals.terminated) as cut_off,
        LiveLines(at_once, signals) as lines,
    ):
        if options["from_sidecar"]:
            tracks, code = read_sidecars(sources)
        else:
            tracks, code = measure(sources, options, lines, cut_off, signals)
        with signals.held():
            lines.end(tracks[0])
            at_the_end = [output for output in outputs if output not in at_once]
            not_written = write_outputs(at_the_end, tracks, several=len(sources) > 1) or lines.code
            if not options["quiet"] and not any(output.to_stdout for output in outputs):
                console.print_tracks(tracks)
                console.print_events(tracks)
                console.print_notes(tracks)
        if options["copy"] is not None and code != console.EXIT_INTERRUPTED:
            not_written = write_copy(sources[0], tracks[0], options["copy"]) or not_written
    if not code and (why := cut_off()):  # after all that was asked for had been measured
        code = report(OutputError(why))
    return code or not_written


def check_sources(sources: list[str], beside: str | None) -> None:
    """Refuse inputs that cannot end well before any time is spent.

    Args:
        sources: the inputs.
        beside: the option that needs a sidecar beside each, if there is one.
    """
    from qclip_ffmpeg.inputs import STDIN, displayed_name, is_url

    if not sources:
        raise UsageError("no input; name a file, a URL, or - for standard input (see qclip-probe --help)")
    if sources.count(STDIN) > 1:
        raise UsageError("- is given twice; standard input can be read once")
    names = [displayed_name(s) for s in sources]  # refuses what is no address
    if beside is None:
        return
    if lone := [n for s, n in zip(sources, names, strict=True) if s == STDIN or is_url(s)]:
        else_do = "write to a file with -o" if beside == "--sidecar" else "name a file"
        raise UsageError(f"{beside}: {lone[0]} is not a file to have a sidecar beside it; {else_do}")
    if folders := [s for s in sources if Path(s).is_dir()]:
        raise UsageError(f"{beside}: {folders[0]} is a folder; name the video files in it")


def check_not_measuring(context: click.Context) -> None:
    """Refuse options of how to measure beside --from-sidecar, where they would silently do nothing."""
    for parameter in context.command.params:
        typed = context.get_parameter_source(parameter.name or "") == ParameterSource.COMMANDLINE
        if typed and parameter.name not in WITHOUT_MEASURING:
            raise UsageError(f"--from-sidecar: nothing is measured, {parameter.opts[0]} would do nothing; leave it out")


def input_options(options: dict[str, Any], threads: int) -> "InputOptions":
    """What the options say of the inputs."""
    from qclip_ffmpeg.inputs import InputOptions

    return InputOptions(
        format=options["format_"],
        size_px=options["size_px"],
        frame_rate=options["frame_rate"],
        pixel_format=options["pixel_format"],
        color_matrix=options["color_matrix"],
        color_range=options["color_range"],
        transfer=options["transfer"],
        display_aspect_ratio=options["display_aspect_ratio"],
        start_s=options["start_s"],
        duration_s=options["duration_s"],
        threads=min(threads, MAX_DECODER_THREADS),
        idle_s=(options["idle_s"] or DEFAULT_IDLE_S) if options["live"] else None,
    )


def measure(
    sources: list[str],
    options: dict[str, Any],
    lines: LiveLines,
    cut_off: Callable[[], str | None],
    signals: console.StopSignals,
) -> tuple[list["QualityTrack"], int]:
    """Probe every input with one model; one that fails keeps its place. Returns the tracks and the exit code."""
    from qclip_ffmpeg.inputs import displayed_name
    from qclip_ffmpeg.measurement import INTERRUPTED, failed_track, probe_many

    settings, of_input = probe_settings(options), input_options(options, threads_of(options))
    scorer = scorer_of(options)
    tracks: list[QualityTrack] = []
    codes: list[int] = []

    def on_segment(measurement: "Measurement", _: "SegmentScore") -> None:
        lines.add(measurement)
        progress.update(measurement.name, measurement.frame_count, measurement.done_s, measurement.expected_s)

    def announced() -> Iterator[str]:
        for source in sources:
            progress.start(displayed_name(source))
            yield source

    def refused(_: object, error: QClipError) -> None:
        if len(sources) == 1:
            raise error
        codes.append(report(error))

    asked = {"settings": settings, "options": of_input, "timing": options["timing"], "cut_off": cut_off}
    try:
        with console.ProbeProgress(options["quiet"]) as progress:
            measured = probe_many(announced(), scorer=scorer, on_segment=on_segment, on_error=refused, **asked)
            for source, track in zip(sources, measured, strict=False):  # Ctrl-C makes it shorter
                with signals.held():
                    tracks.append(track)
                    if track.segments:  # without any it was refused, and that was said
                        if options["sidecar"]:
                            codes.append(write_sidecar(source, track))
                        codes.append(say_incomplete(track))
                if INTERRUPTED in track.warnings:
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        if not tracks and not options["live"]:
            raise
        stopped = QClipError(INTERRUPTED)
        missing = [failed_track(source, stopped, scorer, settings, of_input) for source in sources[len(tracks) :]]
        if not tracks or INTERRUPTED not in tracks[-1].warnings:  # else that has been said
            if missing:
                say_incomplete(missing[0])
            else:
                console.warn("qclip-probe", "interrupted when all had been measured")
        return tracks + missing, console.EXIT_INTERRUPTED
    return tracks, next(filter(None, codes), 0)


def main() -> None:
    """Entry point of the installed command."""
    console.run_command(command)


if __name__ == "__main__":
    main()
