"""qclip-model calibrate: a model and labelled clips -> its scale, its error and its noise."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qclip_ffmpeg.cli import console
from qclip_ffmpeg.cli.model_options import check_extra, device_options, progress_bar, refuse_existing
from qclip_ffmpeg.errors import UsageError

if TYPE_CHECKING:
    from qclip_ffmpeg.train.calibration_run import CalibrationReport
    from qclip_ffmpeg.train.labels import Clip


@click.command(name="calibrate", short_help="Fit a model's scale, its error and its noise.")
@click.argument("model_name", metavar="MODEL")
@click.option(
    "--labels", metavar="LABELS.csv", type=click.Path(path_type=Path), required=True, help="Label file: file, score."
)
@click.option("--root", type=click.Path(path_type=Path), help="Folder of the videos.  [default: the labels']")
@click.option("--score-column", default="score", show_default=True, help="Column of the label.")
@click.option(
    "--score-range",
    type=(float, float),
    metavar="LOW HIGH",
    default=(0.0, 100.0),
    show_default=True,
    help="Lowest and highest label there can be; it becomes 0 to 100.",
)
@click.option(
    "--noise-labels",
    metavar="LABELS.csv",
    type=click.Path(path_type=Path),
    help="Measure the noise band on these instead: many encodes of each content, all compared with one reference.",
)
@click.option("--frames", type=click.IntRange(1, 64), help="Most frames of a clip.  [default: the model's]")
@click.option("--id", "name", help="Name of the calibration in reports.  [default: the labels' name and their number]")
@click.option("--json", "as_json", is_flag=True, help="Print what was measured as JSON.")
@device_options
@click.option("-q", "--quiet", is_flag=True, help="No progress and no figures.")
@click.option(
    "-o",
    "--output",
    "out",
    metavar="NEW.safetensors",
    type=click.Path(path_type=Path),
    required=True,
    help="The calibrated checkpoint; what was measured goes to NEW.calibration.json beside it.",
)
@click.option("-y", "overwrite", is_flag=True, help="Overwrite files that exist.")
def calibrate_command(
    model_name: str,
    labels: Path,
    noise_labels: Path | None,
    frames: int | None,
    name: str | None,
    as_json: bool,
    out: Path,
    overwrite: bool,
    **options: Any,
) -> int:
    """Put MODEL's scores on the scale of the labels, and measure how wrong they are and how much they waver.

    The clips must be of contents that MODEL was not trained on: nothing in a checkpoint can tell. It takes 30 clips of
    10 contents, better some thousand of a hundred. The order of scores does not change. NEW.safetensors is MODEL with
    the map, the error at every score, the noise band (from clips of one content whose labels are nearly equal), and,
    unless MODEL has one, the domain (from 200 clips of 20 contents).

    \b
    Example:
      qclip-model calibrate mine.safetensors --labels held-out/labels.csv --score-column vmaf -o calibrated.safetensors
    """
    check_extra()
    import msgspec

    from qclip_ffmpeg.checkpoint import SUFFIX, find_backbone, load_model, save_checkpoint
    from qclip_ffmpeg.scorer import Scorer
    from qclip_ffmpeg.train.calibrate import check_enough
    from qclip_ffmpeg.train.calibration_run import NoiseClips, calibrated, look
    from qclip_ffmpeg.train.clips import SamplingRecipe
    from qclip_ffmpeg.train.evaluate import write_json

    report_path = out.with_suffix(".calibration.json")
    if out.suffix != SUFFIX:
        raise UsageError(f"-o {out}: give a name that ends with {SUFFIX}")
    for path in (out, report_path):
        refuse_existing(path, overwrite)
    model = load_model(model_name)
    find_backbone(out, model.card)
    display = display_of(model_name, model.card.display)
    clips = clips_of(labels, options)
    noisy = clips_of(noise_labels, options) if noise_labels is not None else []
    check_enough([clip.content for clip in clips])
    sampling = SamplingRecipe(frames=frames or model.card.frames_per_window, display=display)
    with progress_bar(options["quiet"]) as progress:
        scorer = Scorer(model, options["device"], threads=options["threads"])
        seen = look(scorer, clips, sampling, progress)
        noise = None
        if noise_labels is not None:
            noise = NoiseClips(noise_labels.name, noisy, look(scorer, noisy, sampling, progress))
    card, domain, report = calibrated(model, labels.name, clips, sampling, seen, name, noise)
    save_checkpoint(out, card, model.qclip.trained_tensors() | (domain.tensors() if domain else {}))
    write_json(report_path, report)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    if not options["quiet"]:
        say_report(report)
        console.say(f"wrote {out} and {report_path}")
    return 0


def display_of(model_name: str, said: str) -> tuple[int, int]:
    """(width, height) in pixels of the display that a model was trained at, from what its card says."""
    display = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", said, re.ASCII)
    if display is None:
        raise UsageError(f"{model_name}: was trained at display {said}; give a model of one WIDTHxHEIGHT")
    return int(display[1]), int(display[2])


def clips_of(labels: Path, options: dict[str, Any]) -> "list[Clip]":
    """The clips of a label file, written as the options say."""
    from qclip_ffmpeg.train.labels import LabelSource, read_label_file

    source = LabelSource(
        labels=str(labels.absolute()),
        root=str(options["root"].absolute()) if options["root"] else None,
        score_column=options["score_column"],
        score_range=options["score_range"],
    )
    return read_label_file(source, Path())


def say_report(report: "CalibrationReport") -> None:
    """What was measured, for people."""
    from qclip_ffmpeg.summary import noise_line

    console.say(
        f"{report.data}: {report.clips} clips of {report.contents} contents, "
        f"RMSE {report.rmse_before:.1f} before, {report.rmse_after:.1f} after (held-out contents), "
        f"SROCC {report.srocc_before} before, {report.srocc_after} after"
    )
    if report.noise_band is not None:
        console.say(f"noise band: {noise_line(report.noise_band)}")
    for note in report.notes:
        console.warn("note", note)
