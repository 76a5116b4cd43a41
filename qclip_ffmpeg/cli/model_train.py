"""qclip-model train, evaluate and compare: rated videos and a preset -> models, and how good they are."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qclip_ffmpeg.cli import console
from qclip_ffmpeg.cli.model_options import check_extra, device_options, progress_bar
from qclip_ffmpeg.cli.params import together
from qclip_ffmpeg.errors import UsageError

if TYPE_CHECKING:
    from qclip_ffmpeg.scorer import Device
    from qclip_ffmpeg.train.activations import Progress
    from qclip_ffmpeg.train.config import DataPreset
    from qclip_ffmpeg.train.evaluate import Evaluation

R = TypeVar("R", bound="DataPreset")
T = TypeVar("T")

data_options = together(
    click.option(
        "--labels", type=click.Path(path_type=Path), help="Label file, in place of the preset's [data] labels."
    ),
    click.option(
        "--root", type=click.Path(path_type=Path), help="Folder of the videos.  [default: the preset's, or the labels']"
    ),
)
training_options = together(
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
run_options = together(
    device_options,
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


@click.command(name="train", short_help="Train a model on rated videos.")
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

    from qclip_ffmpeg.presets import read_toml
    from qclip_ffmpeg.train.config import TrainRecipe
    from qclip_ffmpeg.train.run import summary, train

    recipe = with_options(read_toml(preset, TrainRecipe), options)
    if more_labels:
        if len(more_labels) != len(recipe.more_data):
            raise UsageError(f"--more-labels: {preset} has {len(recipe.more_data)} [[more_data]]; give one for each")
        placed = zip(recipe.more_data, more_labels, strict=True)
        more_data = tuple(msgspec.structs.replace(more, labels=str(path.absolute())) for more, path in placed)
        recipe = msgspec.structs.replace(recipe, more_data=more_data)
    if start is not None:
        recipe = msgspec.structs.replace(recipe, start=str(Path(start).absolute()) if Path(start).exists() else start)
    results = carried_out(train, recipe, preset, folder, options)
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


@click.command(name="evaluate", short_help="Say how well a model agrees with rated videos.")
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
    from qclip_ffmpeg.description import model_warnings
    from qclip_ffmpeg.files import make_folder
    from qclip_ffmpeg.presets import read_toml
    from qclip_ffmpeg.scorer import Scorer
    from qclip_ffmpeg.train.config import DataPreset
    from qclip_ffmpeg.train.evaluate import evaluate, measured_by, score_clips, write_evaluation
    from qclip_ffmpeg.train.labels import read_label_file
    from qclip_ffmpeg.train.run_folder import STATE_FILE
    from qclip_ffmpeg.views import Display

    recipe = with_options(read_toml(preset, DataPreset), options)
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
        for warning in model_warnings(scorer.model, Display(*seen.display)):
            console.warn("note", warning)
    return 0


@click.command(name="compare", short_help="Train variants on the same data; one table.")
@click.argument("preset", metavar="PRESET.toml", type=click.Path(path_type=Path))
@data_options
@training_options
@run_options
def compare_command(preset: Path, folder: Path, **options: Any) -> int:
    """Train every variant of PRESET on the same data, split and seed, and put them into one table.

    Results: compare.md, compare.csv, compare.json, compare.png, and each variant's run under runs/.
    """
    check_extra()
    from qclip_ffmpeg.presets import read_toml
    from qclip_ffmpeg.train.compare import ComparePreset, compare, markdown

    recipe = with_options(read_toml(preset, ComparePreset), options)
    rows = carried_out(compare, recipe, preset, folder, options)
    if not options["quiet"]:
        click.echo(markdown(rows), nl=False)
    return console.EXIT_COULD_NOT_MEASURE if any(row.failed for row in rows) else 0


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


def carried_out(
    work: "Callable[[R, Path, Path, Progress, Path | None, Device, int | None], T]",
    recipe: R,
    preset: Path,
    folder: Path,
    options: dict[str, Any],
) -> T:
    """What a run of training comes to: where and how it runs is what `training_options` and `run_options` say."""
    with progress_bar(options["quiet"]) as progress:
        backbone_file, device, threads = (options[name] for name in ("backbone_file", "device", "threads"))
        return work(recipe, preset.parent, folder, progress, backbone_file, device, threads)


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
