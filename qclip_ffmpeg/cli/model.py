"""qclip-model: train, evaluate, calibrate, compare, import and look at models."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qclip_ffmpeg import __version__
from qclip_ffmpeg.cli import console
from qclip_ffmpeg.errors import UsageError

if TYPE_CHECKING:
    from msgspec import Struct

    from qclip_ffmpeg.train.activations import Progress
    from qclip_ffmpeg.train.config import DataPreset
    from qclip_ffmpeg.train.evaluate import Evaluation

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R", bound="DataPreset")
P = TypeVar("P", bound="Struct")

EXAMPLES = """\b
Examples:
  qclip-model list
  qclip-model info qclip-vitb16
  qclip-model train presets/train/konvid-1k.toml --labels KoNViD/labels.txt -o runs/konvid
  qclip-model evaluate runs/konvid/model.safetensors presets/train/live-vqc.toml --labels LIVE-VQC/labels.csv -o figures
  qclip-model calibrate runs/konvid/model.safetensors --labels held-out/labels.csv -o runs/konvid/calibrated.safetensors
  qclip-model compare presets/train/compare.toml --labels encodes/labels.csv -o results
  qclip-model import official.pth -o qclip-official.safetensors

\b
Exit status: 0 done, 1 failed on the way, 2 wrong usage, 130 interrupted (run it again to go on).
"""
CONTEXT = {"help_option_names": ["-h", "--help"]}


@click.group(name="qclip-model", epilog=EXAMPLES, context_settings=CONTEXT)
@click.version_option(__version__, "--version", prog_name="qclip-model")
def command() -> None:
    """Train, evaluate, calibrate, compare, import and look at models."""


def options_of(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, in the order of the help."""

    def decorate(of_command: F) -> F:
        for option in reversed(options):
            of_command = option(of_command)
        return of_command

    return decorate


data_options = options_of(
    click.option(
        "--labels", type=click.Path(path_type=Path), help="Label file, in place of the preset's [data] labels."
    ),
    click.option(
        "--root", type=click.Path(path_type=Path), help="Folder of the videos.  [default: the preset's, or the labels']"
    ),
)
training_options = options_of(
    click.option(
        "--backbone",
        "backbone_file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Weights of an open_clip backbone (see qclip-model backbone).",
    ),
    click.option(
        "--cache",
        "cache_folder",
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        help="Keep what the frozen blocks output there.  [default: the preset's [cache] folder]",
    ),
)
run_options = options_of(
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="auto: CUDA where there is a GPU.",
    ),
    click.option("--threads", type=click.IntRange(1, 256), help="Frames side by side.  [default: all cores]"),
    click.option("-q", "--quiet", is_flag=True, help="No progress and no table."),
    click.option(
        "-o",
        "--output",
        "folder",
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        required=True,
        help="Folder for the results.",
    ),
)


@command.command(name="train", short_help="Train a model on rated videos.", context_settings=CONTEXT)
@click.argument("preset", metavar="PRESET.toml", type=click.Path(path_type=Path))
@click.option("--start", metavar="CHECKPOINT", help="Fine-tune this checkpoint, in place of the preset's start.")
@click.option(
    "--more-labels",
    metavar="LABELS.csv",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Label file, in place of that of the preset's first [[more_data]]; repeat it for the next.",
)
@data_options
@training_options
@run_options
def train_command(preset: Path, start: str | None, folder: Path, more_labels: tuple[Path, ...], **options: Any) -> int:
    """Train a model on rated videos, and say how good it is on the test part.

    Everything that can be wrong with the preset and the labels is said before training starts. A run that was stopped
    goes on where it was when the same command is given again. Results: model.safetensors, log.jsonl, curves.png,
    figures.json, predictions.csv, scatter.png; of several splits each in a folder of its own.
    """
    check_extra()
    import msgspec

    from qclip_ffmpeg.train.config import TrainRecipe
    from qclip_ffmpeg.train.run import summary, train

    recipe = with_options(read_preset(preset, TrainRecipe), options)
    if more_labels:
        if len(more_labels) != len(recipe.more_data):
            raise UsageError(f"--more-labels: {preset} has {len(recipe.more_data)} [[more_data]]; give one for each")
        placed = zip(recipe.more_data, more_labels, strict=True)
        more_data = tuple(msgspec.structs.replace(more, labels=str(path.absolute())) for more, path in placed)
        recipe = msgspec.structs.replace(recipe, more_data=more_data)
    if start is not None:
        recipe = msgspec.structs.replace(recipe, start=str(Path(start).absolute()) if Path(start).exists() else start)
    with progress_bar(options["quiet"]) as progress:
        results = train(
            recipe,
            preset.parent,
            folder,
            progress,
            backbone_file=options["backbone_file"],
            device=options["device"],
            threads=options["threads"],
        )
    if not options["quiet"]:
        without_epochs = "nothing trained" if recipe.optimiser.ridge is None else "ridge regression"
        for number, result in enumerate(results):
            chosen = f"epoch {result.chosen.epoch}" if result.chosen else without_epochs
            said = figures_line(result.test) if result.test else "no test part"
            console.say(f"split {number}, {chosen}: {said}" if len(results) > 1 else f"{chosen}: {said}")
        if len(results) > 1:
            over = summary(results)
            console.say(
                f"{over.splits} splits, mean and standard deviation: "
                + ", ".join(f"{name.upper()} {over.mean[name]:.3f} ± {over.std[name]:.3f}" for name in over.mean)
            )
    return 0


@command.command(name="evaluate", short_help="Say how well a model agrees with rated videos.", context_settings=CONTEXT)
@click.argument("model_name", metavar="MODEL")
@click.argument("preset", metavar="PRESET.toml", type=click.Path(path_type=Path))
@click.option("--frames", type=click.IntRange(1, 64), help="Most frames of a clip.  [default: the preset's]")
@click.option("--sampling", type=click.Choice(["motion", "uniform", "random", "mixed"]), help="[default: the preset's]")
@data_options
@run_options
def evaluate_command(
    model_name: str, preset: Path, frames: int | None, sampling: str | None, folder: Path, **options: Any
) -> int:
    """Score all clips of a label file with MODEL and say how well it agrees with the labels.

    The preset says how the labels are written ([data]) and how clips are sampled ([sampling]); its other tables are not
    used. Results: figures.json, per_content.csv, predictions.csv, scatter.png.
    """
    check_extra()
    import msgspec

    from qclip_ffmpeg.checkpoint import load_model
    from qclip_ffmpeg.files import make_folder
    from qclip_ffmpeg.measurement import ProbeSettings, model_warnings
    from qclip_ffmpeg.scorer import Scorer
    from qclip_ffmpeg.train.config import DataPreset
    from qclip_ffmpeg.train.evaluate import evaluate, measured_by, score_clips, write_evaluation
    from qclip_ffmpeg.train.labels import read_label_file
    from qclip_ffmpeg.train.loop import STATE_FILE
    from qclip_ffmpeg.views import Display

    recipe = with_options(read_preset(preset, DataPreset), options)
    changed = {k: v for k, v in (("frames", frames), ("policy", sampling)) if v is not None}
    seen = msgspec.structs.replace(recipe.sampling, **changed)
    clips = read_label_file(recipe.data, preset.parent)
    if (folder / STATE_FILE).exists():
        raise UsageError(f"-o {folder}: holds a training run, whose figures would be lost; choose another folder")
    scorer = Scorer(load_model(model_name), options["device"], threads=options["threads"])
    make_folder(folder)
    with progress_bar(options["quiet"]) as progress:
        scores = scorer.model.card.scores(score_clips(scorer, clips, seen, progress))
    by = measured_by(scorer.model.card, scorer.model.weights_sha256, seen)
    found = evaluate(Path(recipe.data.labels).name, by, clips, scores)
    write_evaluation(folder, found, clips, scores)
    if not options["quiet"]:
        console.say(f"{scorer.model.card.id}: {figures_line(found)}")
        for warning in model_warnings(scorer.model, ProbeSettings(display=Display(*seen.display))):
            console.warn("note", warning)
    return 0


@command.command(name="calibrate", short_help="Fit a model's scale, its error and its noise.", context_settings=CONTEXT)
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
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto: CUDA where there is a GPU.",
)
@click.option("--threads", type=click.IntRange(1, 256), help="Frames side by side.  [default: all cores]")
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
    root: Path | None,
    score_column: str,
    score_range: tuple[float, float],
    noise_labels: Path | None,
    frames: int | None,
    name: str | None,
    as_json: bool,
    device: Any,
    threads: int | None,
    quiet: bool,
    out: Path,
    overwrite: bool,
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
    from qclip_ffmpeg.summary import noise_line
    from qclip_ffmpeg.train.calibrate import check_enough
    from qclip_ffmpeg.train.calibration_run import NoiseClips, calibrated, look
    from qclip_ffmpeg.train.clips import SamplingRecipe
    from qclip_ffmpeg.train.evaluate import write_json
    from qclip_ffmpeg.train.labels import LabelSource, read_label_file

    report_path = out.with_suffix(".calibration.json")
    if out.suffix != SUFFIX:
        raise UsageError(f"-o {out}: give a name that ends with {SUFFIX}")
    for path in (out, report_path):
        refuse_existing(path, overwrite)
    model = load_model(model_name)
    find_backbone(out, model.card)
    display = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", model.card.display, re.ASCII)
    if display is None:
        raise UsageError(f"{model_name}: was trained at display {model.card.display}; give a model of one WIDTHxHEIGHT")
    clips, *more = (
        read_label_file(
            LabelSource(
                labels=str(path.absolute()),
                root=str(root.absolute()) if root else None,
                score_column=score_column,
                score_range=score_range,
            ),
            Path(),
        )
        for path in (labels, noise_labels)
        if path is not None
    )
    check_enough([clip.content for clip in clips])
    sampling = SamplingRecipe(frames=frames or model.card.frames_per_window, display=(int(display[1]), int(display[2])))
    with progress_bar(quiet) as progress:
        scorer = Scorer(model, device, threads=threads)
        seen = look(scorer, clips, sampling, progress)
        noise = None
        if noise_labels is not None:
            noise = NoiseClips(noise_labels.name, more[0], look(scorer, more[0], sampling, progress))
    card, domain, report = calibrated(model, labels.name, clips, sampling, seen, name, noise)
    save_checkpoint(out, card, model.qclip.trained_tensors() | (domain.tensors() if domain else {}))
    write_json(report_path, report)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    if not quiet:
        console.say(
            f"{report.data}: {report.clips} clips of {report.contents} contents, "
            f"RMSE {report.rmse_before:.1f} before, {report.rmse_after:.1f} after (held-out contents), "
            f"SROCC {report.srocc_before} before, {report.srocc_after} after"
        )
        if report.noise_band is not None:
            console.say(f"noise band: {noise_line(report.noise_band)}")
        for note in report.notes:
            console.warn("note", note)
        console.say(f"wrote {out} and {report_path}")
    return 0


@command.command(name="compare", short_help="Train variants on the same data; one table.", context_settings=CONTEXT)
@click.argument("preset", metavar="PRESET.toml", type=click.Path(path_type=Path))
@data_options
@training_options
@run_options
def compare_command(preset: Path, folder: Path, **options: Any) -> int:
    """Train every variant of PRESET on the same data, split and seed, and put them into one table.

    Results: compare.md, compare.csv, compare.json, compare.png, and each variant's run under runs/.
    """
    check_extra()
    from qclip_ffmpeg.train.compare import ComparePreset, compare, markdown

    recipe = with_options(read_preset(preset, ComparePreset), options)
    with progress_bar(options["quiet"]) as progress:
        rows = compare(
            recipe,
            preset.parent,
            folder,
            progress,
            backbone_file=options["backbone_file"],
            device=options["device"],
            threads=options["threads"],
        )
    if not options["quiet"]:
        click.echo(markdown(rows), nl=False)
    return console.EXIT_COULD_NOT_MEASURE if any(row.failed for row in rows) else 0


@command.command(name="list", short_help="The models that come with the package.", context_settings=CONTEXT)
def list_command() -> int:
    """The models that come with the package."""
    from qclip_ffmpeg.checkpoint import DEFAULT_MODEL, bundled_models, find_model, read_checkpoint

    for name in bundled_models():
        card, _ = read_checkpoint(find_model(name))
        default = ", the default" if name == DEFAULT_MODEL else ""
        click.echo(f"{name}  {card.status}{default}: {card.description}")
    return 0


@command.command(name="info", short_help="A model block by block: parameters, operations.", context_settings=CONTEXT)
@click.argument("what", metavar="MODEL|PRESET.toml")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def info_command(what: str, as_json: bool) -> int:
    """Both towers block by block: width, parameters, what is trained, and floating point operations a frame; of a
    checkpoint also its calibration, noise band and domain.

    MODEL is a bundled model's name or a checkpoint; a training preset is described as it would be built, without
    weights.
    """
    import msgspec

    from qclip_ffmpeg.checkpoint import build, check_card, find_model, read_checkpoint
    from qclip_ffmpeg.summary import known_lines, summarise
    from qclip_ffmpeg.train.config import ModelPreset, model_config

    card = None
    if Path(what).suffix == ".toml":
        config = model_config(read_preset(Path(what), ModelPreset).model)
    else:
        path = find_model(what)
        card, _ = read_checkpoint(path)
        check_card(path.name, card)
        build(path.name, card.config)  # what cannot be built is the file's fault
        config = card.config
    found = summarise(config, card)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        console.print_summary(config.backbone.architecture, found)
        for line in known_lines(found) if card else ():
            click.echo(line)
    return 0


@command.command(name="import", short_help="Import a checkpoint of the authors' code.", context_settings=CONTEXT)
@click.argument("source", metavar="OFFICIAL.pth", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "out",
    metavar="NAME.safetensors",
    type=click.Path(path_type=Path),
    required=True,
    help="The checkpoint; its backbone becomes NAME.backbone.safetensors.",
)
@click.option(
    "--rope-cls",
    type=click.Choice(["last", "first"]),
    default="last",
    show_default=True,
    help="Row of the class token in the rotation table; the released code trains with last, Meta's backbone has first.",
)
@click.option(
    "--first-block",
    type=click.IntRange(1, 128),
    default=19,
    show_default=True,
    help="First block with an adapter, counted from 1.",
)
@click.option("--heads", type=click.IntRange(1, 128), help="Attention heads, of towers of another size.")
@click.option("-y", "overwrite", is_flag=True, help="Overwrite files that exist.")
def import_command(source: Path, out: Path, rope_cls: Any, first_block: int, heads: int | None, overwrite: bool) -> int:
    """Import a checkpoint of the Q-CLIP authors' code. Nothing in the file is run."""
    from qclip_ffmpeg.official import backbone_path_of, import_official

    for path in (out, backbone_path_of(out)):
        refuse_existing(path, overwrite)
    checkpoint, backbone = import_official(source, out, rope_cls, first_block, heads)
    console.say(f"wrote {checkpoint} and its backbone {backbone}; keep them in one folder")
    return 0


@command.command(name="backbone", short_help="Fetch the weights of an open_clip backbone.", context_settings=CONTEXT)
@click.argument("architecture")
@click.option("--pretrained", metavar="TAG", required=True, help="open_clip's tag of the weights, for example meta.")
@click.option(
    "-o",
    "--output",
    "out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    required=True,
    help="The file, NAME.safetensors.",
)
@click.option("-y", "overwrite", is_flag=True, help="Overwrite FILE if it exists.")
def backbone_command(architecture: str, pretrained: str, out: Path, overwrite: bool) -> int:
    """Write the weights of an open_clip ARCHITECTURE to FILE.safetensors, fetched from where open_clip has them.

    The only command that uses the network. Training and checkpoints name the file by its sha256.
    """
    from qclip_ffmpeg.backbone_open_clip import open_clip_config
    from qclip_ffmpeg.checkpoint import save_backbone

    refuse_existing(out, overwrite)
    sha256 = save_backbone(out, open_clip_config(architecture, pretrained))
    console.say(f"wrote {out}, sha256 {sha256}")
    return 0


def check_extra() -> None:
    """Raises UsageError where the optional libraries that training needs are missing."""
    missing = [name for name in ("scipy", "matplotlib") if find_spec(name) is None]
    if missing:
        raise UsageError(f"this command needs {' and '.join(missing)}: pip install 'qclip-ffmpeg[train]'")


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raises UsageError where a result would not have a place."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageError(f"-o {path}: is not a file in an existing folder; choose another place")
    if path.exists() and not overwrite:
        raise UsageError(f"-o {path}: exists; add -y to overwrite it")


def read_preset(path: Path, of_type: type[P]) -> P:
    """Read a preset; UsageError says what is wrong with it."""
    from qclip_ffmpeg.presets import read_toml

    return read_toml(path, of_type)


def with_options(recipe: R, options: dict[str, Any]) -> R:
    """A preset with what the command line says in its place."""
    import msgspec

    changed: dict[str, Any] = {}
    data = {name: str(options[name].absolute()) for name in ("labels", "root") if options[name] is not None}
    if data:
        changed["data"] = msgspec.structs.replace(recipe.data, **data)
    if options.get("cache_folder") is not None:
        from qclip_ffmpeg.train.config import CacheRecipe

        folder = str(options["cache_folder"].absolute())
        cache = getattr(recipe, "cache", None)
        changed["cache"] = msgspec.structs.replace(cache, folder=folder) if cache else CacheRecipe(folder=folder)
    return msgspec.structs.replace(recipe, **changed)


def figures_line(found: "Evaluation") -> str:
    """The figures of an evaluation, with their 95 % intervals."""
    figures = found.figures
    pairs = [f"pairs >= {apart} apart right {share}" for apart, share in found.pairs_right.items()]
    said = [f"{name.upper()} {getattr(figures, name)}" for name in ("srocc", "krocc", "plcc", "rmse")]
    if found.content_srocc.value is not None:
        said.append(f"mean SROCC within a content {found.content_srocc}")
    clips = (
        f"{figures.clips} clip{'s' * (figures.clips > 1)} of {figures.contents} content{'s' * (figures.contents > 1)}"
    )
    return f"{found.data}: {clips}, " + ", ".join([*said, *pairs])


@contextmanager
def progress_bar(quiet: bool) -> "Iterator[Progress]":
    """Tells people how far a run is."""
    with console.StageProgress(quiet) as progress:
        yield progress.update


def main() -> None:
    """Entry point of the installed command."""
    console.run_command(command)


if __name__ == "__main__":
    main()
