"""qclip-gate: fails where a ladder is not what a policy asks for, or worse than it was."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from qclip_ffmpeg import __version__
from qclip_ffmpeg.cli import console
from qclip_ffmpeg.cli.gate_outputs import Asked, Verdict, asked_reports, report_options, write_reports
from qclip_ffmpeg.cli.measuring import (
    display_option,
    model_options,
    picking_options,
    place_options,
    probe_settings,
    scorer_of,
    threads_of,
)
from qclip_ffmpeg.cli.outputs import check_file
from qclip_ffmpeg.cli.params import DisplayParam
from qclip_ffmpeg.errors import QClipError, UsageError

if TYPE_CHECKING:
    from qclip_ffmpeg.ladder import Rung
    from qclip_ffmpeg.ladder_inputs import Entry
    from qclip_ffmpeg.measurement import Measurement
    from qclip_ffmpeg.policy import Policy
    from qclip_ffmpeg.scorer import Scorer
    from qclip_ffmpeg.track import QualityTrack, SegmentScore
    from qclip_ffmpeg.verdict import GateReport

NAME = "qclip-gate"
DEFAULT_PRESET = "hls-vod"
EXIT_FAILED = 3
MAX_DECODER_THREADS = 16  # every thread of a decoder holds pictures
HOW_TO_MEASURE = {
    *("segment", "frames_per_window", "sampling", "seed", "display", "bars", "start_s", "duration_s"),
    *("model_name", "device", "precision", "threads", "sidecars"),
}
"""Parameters that do nothing where all rungs are sidecars."""

EXAMPLES = """\b
Examples:
  qclip-gate ladder/*.mp4                                     by the rules of hls-vod
  qclip-gate ladder/*.qclip.json --preset strict              nothing is measured again
  qclip-gate --ladder ladder.toml --policy gate.toml
  qclip-gate --ladder out/master.m3u8 --save-baseline last.json
  qclip-gate --ladder out/master.m3u8 --baseline last.json    is it worse than it was?
  qclip-gate ladder/*.mp4 --junit gate.xml --html gate.html   for a CI server, and for people
  qclip-gate --show-preset live                               the rules, to start from

\b
Exit status: 0 passed (with warnings, too), 3 a rule is broken, 1 something could not be measured, 2 wrong usage,
130 interrupted.
"""


def show_presets(context: click.Context, _: click.Parameter, asked: bool) -> None:
    """--list-presets."""
    if asked:
        from qclip_ffmpeg.policy import preset_names, read_preset

        for name in preset_names():
            click.echo(f"{name:10}{read_preset(name).description}")
        context.exit()


def show_preset(context: click.Context, _: click.Parameter, name: str | None) -> None:
    """--show-preset."""
    if name is not None:
        from qclip_ffmpeg.policy import preset_path

        click.echo(preset_path(name).read_text(encoding="utf-8"), nl=False)
        context.exit()


@click.command(name=NAME, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("inputs", metavar="INPUT...", nargs=-1)
@click.option(
    "--ladder",
    "ladders",
    metavar="DIR|GLOB|FILE",
    multiple=True,
    help="The rungs: those in a folder or of a pattern, in a ladder's TOML file, or the renditions of an HLS or DASH "
    "manifest.",
)
@click.option("--preset", metavar="NAME", help=f"A shipped policy.  [default: {DEFAULT_PRESET}]")
@click.option(
    "--policy", "policy_path", metavar="FILE", type=click.Path(path_type=Path), help="A policy of your own, in TOML."
)
@click.option(
    "--baseline",
    "baseline_path",
    metavar="FILE|DIR",
    type=click.Path(path_type=Path),
    help="An earlier ladder to compare with: what --save-baseline wrote, or a folder of sidecars.",
)
@click.option(
    "--save-baseline",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="If the gate passes, write the ladder to FILE, over an older one, as a baseline for the next.",
)
@click.option(
    "--save-sidecars",
    "sidecars",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write the track of each rung that is measured to DIR/<rung>.qclip.json.",
)
@report_options
@picking_options
@display_option("the policy's, else 1080")
@place_options
@model_options
@click.option("-q", "--quiet", is_flag=True, help="No progress and no table.")
@click.option(
    "--list-presets", is_flag=True, is_eager=True, expose_value=False, callback=show_presets, help="Name the presets."
)
@click.option(
    "--show-preset",
    metavar="NAME",
    is_eager=True,
    expose_value=False,
    callback=show_preset,
    help="Print a preset, with the reasons for its numbers.",
)
@click.version_option(__version__, "--version", prog_name=NAME)
@click.pass_context
def command(context: click.Context, /, inputs: tuple[str, ...], ladders: tuple[str, ...], **options: Any) -> int:
    """Hold an encoder ladder against a policy, and against what it was before.

    INPUT is a rung: a media file, a URL, or the sidecar (.json) that qclip-probe wrote of one. All rungs show one
    content and are judged at one display.
    """
    from qclip_ffmpeg.gate import judge
    from qclip_ffmpeg.gate.inputs import read_baseline
    from qclip_ffmpeg.ladder_inputs import entries_of

    policy = asked_policy(options)
    entries = entries_of(inputs, ladders)
    if not entries:
        raise UsageError("the ladder is empty; name its files, their sidecars, or --ladder")
    check_measuring(context, entries)
    asked = check_outputs(entries, ladders, options)
    baseline_path: Path | None = options["baseline_path"]
    baseline = read_baseline(baseline_path) if baseline_path else []
    rungs = measure(entries, policy, baseline, options)
    report = judge(rungs, policy, baseline, baseline_name=str(baseline_path or ""))
    if not options["quiet"]:
        from qclip_ffmpeg.cli.gate_table import print_verdict

        print_verdict(report)
    code = exit_code(report)
    if options["save_baseline"]:
        code = save_baseline(options["save_baseline"], rungs, report) or code
    not_written = write_reports(asked, Verdict(report, rungs, entries))
    return code or not_written


def asked_policy(options: dict[str, Any]) -> "Policy":
    """The policy of --preset or --policy."""
    from qclip_ffmpeg.policy import read_policy, read_preset

    path, preset = options["policy_path"], options["preset"]
    if path is not None and preset is not None:
        raise UsageError(f'--policy {path} and --preset {preset}: give one; a policy can say extends = "{preset}"')
    return read_policy(path) if path is not None else read_preset(preset or DEFAULT_PRESET)


def check_measuring(context: click.Context, entries: Sequence["Entry"]) -> None:
    """Refuse options of how to measure where nothing is measured, and they would silently do nothing."""
    if all(entry.is_sidecar for entry in entries):
        for parameter in context.command.params:
            typed = context.get_parameter_source(parameter.name or "") == ParameterSource.COMMANDLINE
            if typed and parameter.name in HOW_TO_MEASURE:
                raise UsageError(
                    f"{parameter.opts[0]}: all rungs are sidecars and nothing is measured, it would do nothing; "
                    "leave it out"
                )


def check_outputs(entries: Sequence["Entry"], ladders: Sequence[str], options: dict[str, Any]) -> list[Asked]:
    """Refuse files that cannot be written, before any time is spent. Returns the reports that are asked for."""
    from qclip_ffmpeg.files import make_folder

    inputs = [*(entry.source for entry in entries), *ladders]
    inputs += [str(options["policy_path"])] * (options["policy_path"] is not None)
    saved: Path | None = options["save_baseline"]
    if saved is not None:  # may be the file of --baseline
        check_file("--save-baseline", saved, inputs, overwrite=True)
    inputs += [str(path) for path in (options["baseline_path"], saved) if path is not None]
    asked = asked_reports(options, inputs)
    if options["sidecars"] is not None:
        make_folder(options["sidecars"], "--save-sidecars")
    return asked


def measure(
    entries: Sequence["Entry"], policy: "Policy", baseline: Sequence["Rung"], options: dict[str, Any]
) -> list["Rung"]:
    """The rungs with their tracks: sidecars are read, media files are scored with one model.

    What cannot be compared is refused before anything is scored.
    """
    from qclip_ffmpeg.gate.checks import check_rungs
    from qclip_ffmpeg.gate.inputs import read_sidecar, rung_of

    read = {entry.name: read_sidecar(entry) for entry in entries if entry.is_sidecar}
    media = [entry for entry in entries if not entry.is_sidecar]
    if not media:
        return [read[entry.name] for entry in entries]
    if options["display"] is None:
        options = options | {"display": DisplayParam().convert(policy.display or "1080", None, None)}
    scorer = scorer_of(options)
    empty = empty_track(scorer, options)
    check_rungs([read.get(entry.name) or rung_of(entry, empty) for entry in entries], policy, baseline)
    tracks = scored(media, scorer, options)
    return [read[e.name] if e.name in read else rung_of(e, next(tracks)) for e in entries]


def empty_track(scorer: "Scorer", options: dict[str, Any]) -> "QualityTrack":
    """What is known of a track before it is measured: how it will be."""
    from qclip_ffmpeg.inputs import InputOptions
    from qclip_ffmpeg.measurement import failed_track

    of_input = InputOptions(start_s=options["start_s"], duration_s=options["duration_s"])
    return failed_track("-", QClipError("not measured yet"), scorer, probe_settings(options), of_input)


def scored(media: Sequence["Entry"], scorer: "Scorer", options: dict[str, Any]) -> Iterator["QualityTrack"]:
    """The tracks of media files, in their order; one that cannot be measured is said, and the others still are."""
    from qclip_ffmpeg.inputs import InputOptions
    from qclip_ffmpeg.measurement import INTERRUPTED, probe_many

    of_input = InputOptions(
        start_s=options["start_s"],
        duration_s=options["duration_s"],
        threads=min(threads_of(options), MAX_DECODER_THREADS),
    )

    def on_segment(measurement: "Measurement", _: "SegmentScore") -> None:
        progress.update(measurement.name, measurement.frame_count, measurement.done_s, measurement.expected_s)

    def announced() -> Iterator[str]:
        for entry in media:
            progress.start(entry.name)
            yield entry.source

    with console.ProbeProgress(options["quiet"]) as progress:
        tracks = probe_many(
            announced(),
            scorer=scorer,
            settings=probe_settings(options),
            options=of_input,
            on_segment=on_segment,
            on_error=lambda _, error: console.fail(NAME, str(error)),
        )
        for entry, track in zip(media, tracks, strict=False):
            if INTERRUPTED in track.warnings:
                raise KeyboardInterrupt
            if options["sidecars"] is not None and track.segments:
                save_sidecar(options["sidecars"], entry, track)
            yield track


def save_sidecar(folder: Path, entry: "Entry", track: "QualityTrack") -> None:
    """Write <rung>.qclip.json into a folder; a rung named by folders, too, keeps their names in its own."""
    from qclip_ffmpeg.emit.names import one_line
    from qclip_ffmpeg.emit.sidecar import SIDECAR_SUFFIX, to_json
    from qclip_ffmpeg.files import write_atomically

    write_atomically(folder / (one_line(entry.name).replace("/", "_") + SIDECAR_SUFFIX), to_json(track))


def save_baseline(path: Path, rungs: Sequence["Rung"], report: "GateReport") -> int:
    """The file of --save-baseline. Returns the exit code; one that would let a worse ladder pass is not written."""
    from qclip_ffmpeg.files import write_atomically
    from qclip_ffmpeg.gate.inputs import baseline_json
    from qclip_ffmpeg.ladder import in_order

    if not report.passed:
        console.warn(NAME, f"--save-baseline {path}: not written, since the gate did not pass")
        return 0
    try:
        write_atomically(path, baseline_json(in_order(rungs)))
    except QClipError as error:
        console.fail(NAME, str(error))
        return error.exit_code
    return 0


def exit_code(report: "GateReport") -> int:
    """A broken rule is sure, whatever could not be measured beside it."""
    errors = {result.status for result in report.results if result.level == "error"}
    if "failed" in errors:
        return EXIT_FAILED
    return console.EXIT_COULD_NOT_MEASURE if "not_measured" in errors else 0


def main() -> None:
    """Entry point of the installed command."""
    console.run_command(command)


if __name__ == "__main__":
    main()
