"""The same data, split, seed and schedule for everything the method could have been: one table.

A preset (presets/train/compare.toml) says a base recipe and a list of variants, each a few settings that differ from
the base. What the frozen blocks output is cached, so most variants cost only their own part of the model.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from qclip_ffmpeg.backbone import text_sizes
from qclip_ffmpeg.checkpoint import sha256_of_file
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.files import make_folder, write_atomically
from qclip_ffmpeg.scorer import Device, Scorer
from qclip_ffmpeg.train.activations import Activations, Progress, clip_hashes
from qclip_ffmpeg.train.bootstrap import Figure
from qclip_ffmpeg.train.config import BUNDLED, TrainRecipe, backbone_config, backbone_path, check_recipe, model_config
from qclip_ffmpeg.train.evaluate import write_csv, write_json
from qclip_ffmpeg.train.labels import read_label_file
from qclip_ffmpeg.train.loop import DivergedError, learned, training_places
from qclip_ffmpeg.train.plots import intervals_png
from qclip_ffmpeg.train.run import Job, SplitResult, check_start, link_backbone, run_id_of, started, train_split
from qclip_ffmpeg.train.run_folder import refuse_another_run
from qclip_ffmpeg.train.splits import splits

Table = dict[str, Any]


class Variant(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One row of the table: what differs from the base recipe."""

    group: str
    """Rows of one group stand together and answer one question."""
    name: str
    like: str | None = None
    """Name of an earlier variant whose settings it has too."""
    needs_text: bool = False
    """It reads the text tower: where the backbone has none, the row says so."""
    model: Table = {}
    sampling: Table = {}
    optimiser: Table = {}


class ComparePreset(TrainRecipe, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A preset of `qclip-model compare`."""

    variants: Annotated[list[Variant], Meta(min_length=1)]


class Row(Struct, frozen=True, kw_only=True):
    """What came of one variant."""

    group: str
    name: str
    trained_parameters: int = 0
    epoch: int | None = None
    """The one chosen on the validation part."""
    val_srocc: float | None = None
    srocc: Figure | None = None
    """Of the test part, as all that follow."""
    plcc: Figure | None = None
    rmse: Figure | None = None
    pairs_right: Figure | None = None
    """Share of the pairs of one content at least 5 score units apart that are ordered right."""
    spent_s: float = 0.0
    """Training and validation. The frozen blocks come on top, once for all variants that share them."""
    note: str = ""
    """Why it was not run, or what failed."""
    failed: bool = False


def compare(
    preset: ComparePreset,
    base: Path,
    folder: Path,
    progress: Progress,
    backbone_file: Path | None = None,
    device: Device = "auto",
    threads: int | None = None,
) -> list[Row]:
    """Train and test every variant on the first split of the preset; write compare.md, .csv, .json and .png.

    Everything that can be wrong is said before the first variant is trained, except what fails on the way: that becomes
    the row's note, and the others still run. A killed run goes on where it was.

    Raises:
        UsageError: labels, split, variants or models cannot be used.
    """
    clips = read_label_file(preset.data, base)
    split = splits([clip.content for clip in clips], preset.split)[0]
    if not split.val or not split.test:
        raise UsageError("[split] compare needs a val part to choose on and a test part to report on")
    places = folders_of(preset.variants, folder / "runs")
    recipes = {variant.name: recipe_of(preset, variant) for variant in preset.variants}
    hashes = clip_hashes(clips, preset.cache, progress)
    jobs: dict[str, Job] = {}
    for variant in preset.variants:
        recipe = recipes[variant.name]
        if variant.needs_text and not has_text(recipe):
            continue
        try:
            check_recipe(recipe)
            training_places(clips, split, recipe.optimiser)
            check_start(recipe, base, model_config(recipe.model))
        except UsageError as error:
            raise UsageError(f"[[variants]] {variant.name}: {error}") from None
        sha256 = sha256_of_file(backbone_path(recipe.model, backbone_file))
        run_id = run_id_of(recipe, base, clips, hashes, split, sha256)
        jobs[variant.name] = Job(split, places[variant.name], run_id)
        refuse_another_run(places[variant.name], run_id)
    make_folder(folder)
    rows: list[Row] = []
    for number, variant in enumerate(preset.variants, start=1):
        recipe, head = recipes[variant.name], f"{number} of {len(preset.variants)}: {variant.name}"
        if variant.name not in jobs:
            rows.append(Row(group=variant.group, name=variant.name, note="needs a text tower; this backbone has none"))
            continue

        def told(what: str, done: int, of: int, head: str = head) -> None:
            progress(f"{head}, {what}", done, of)

        scorer = Scorer(started(recipe, base, backbone_file), device, threads=threads)
        activations = Activations(scorer, clips, recipe.sampling, recipe.cache)
        activations.fill(told)
        job = jobs[variant.name]
        try:
            result = train_split(scorer.model, activations, clips, job, recipe, told, scorer.device)
        except (DivergedError, ArithmeticError) as error:  # what a bad setting does to the arithmetic
            why = (str(error) or type(error).__name__).splitlines()[0]
            rows.append(Row(group=variant.group, name=variant.name, note=f"failed: {why}", failed=True))
        else:
            link_backbone(job.folder, recipe, backbone_file)
            parameters = sum(p.numel() for p in learned(scorer.model.qclip).values())
            rows.append(row_of(variant, result, parameters))
        write_rows(folder, rows)
    write_rows(folder, rows)
    return rows


def row_of(variant: Variant, result: SplitResult, trained_parameters: int) -> Row:
    """The row of a variant that was trained and tested."""
    assert result.test is not None
    found = result.test.figures
    return Row(
        group=variant.group,
        name=variant.name,
        trained_parameters=trained_parameters,
        epoch=result.chosen.epoch if result.chosen else None,
        val_srocc=result.chosen.val_srocc if result.chosen else None,
        srocc=found.srocc,
        plcc=found.plcc,
        rmse=found.rmse,
        pairs_right=result.test.pairs_right.get("5"),
        spent_s=round(result.spent_s, 1),
    )


def folders_of(variants: Sequence[Variant], runs: Path) -> dict[str, Path]:
    """The folder of each variant's run, by its name.

    Raises:
        UsageError: two variants have one name, or names that come to the same folder.
    """
    names: dict[str, str] = {}
    for variant in variants:
        folder = "".join(c if c.isalnum() else "-" for c in variant.name.lower())
        if folder in names:
            raise UsageError(f"[[variants]] {names[folder]!r} and {variant.name!r}: are one name; rename one of them")
        names[folder] = variant.name
    return {name: runs / folder for folder, name in names.items()}


def recipe_of(preset: ComparePreset, variant: Variant) -> TrainRecipe:
    """The whole recipe of a variant.

    Raises:
        UsageError: a setting is not known, or `like` names no earlier variant.
    """
    earlier = {v.name: v for v in preset.variants[: preset.variants.index(variant)]}
    chain = [variant]
    while chain[0].like is not None:
        if chain[0].like not in earlier:
            raise UsageError(f"[[variants]] {variant.name}: like = {chain[0].like!r} names no earlier variant")
        chain.insert(0, earlier[chain[0].like])
    tables: Table = msgspec.to_builtins(preset)
    for key in ("variants", "ladder"):
        del tables[key]
    for part in chain:
        for table in ("model", "sampling", "optimiser"):
            tables[table] = {**tables[table], **getattr(part, table)}
    try:
        recipe = msgspec.convert(tables, TrainRecipe)
    except msgspec.ValidationError as error:
        raise UsageError(f"[[variants]] {variant.name}: {error}") from None
    return recipe


def has_text(recipe: TrainRecipe) -> bool:
    """Whether the backbone has a text tower."""
    return recipe.model.backbone != BUNDLED and text_sizes(backbone_config(recipe.model)) != ((), None)


def write_rows(folder: Path, rows: Sequence[Row]) -> None:
    """Write the table as Markdown, CSV, JSON and a picture."""
    write_json(folder / "compare.json", rows)
    write_atomically(folder / "compare.md", markdown(rows).encode())
    flat = [flattened(row) for row in rows]
    write_csv(folder / "compare.csv", list(flat[0]), flat)
    shown = [(row.group, row.name, row.srocc) for row in rows if row.srocc is not None]
    if shown:
        intervals_png(folder / "compare.png", shown, "SROCC on held-out contents, 95 % interval")


def flattened(row: Row) -> Mapping[str, Any]:
    """One row of the CSV: each figure as value, low and high."""
    flat: dict[str, Any] = {}
    for name, value in msgspec.structs.asdict(row).items():
        if name in ("srocc", "plcc", "rmse", "pairs_right"):
            for end in ("value", "low", "high"):
                flat[name if end == "value" else f"{name}_{end}"] = getattr(value, end) if value else None
        else:
            flat[name] = value
    return flat


def markdown(rows: Sequence[Row]) -> str:
    """The table for people: figures of the test part with their 95 % intervals."""
    lines = [
        "| | trained parameters | epoch | SROCC, val | SROCC | PLCC | RMSE | pairs >= 5 right | s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    group = None
    for row in rows:
        if row.group != group:
            group = row.group
            lines.append(f"| **{group}** | | | | | | | | |")
        if row.srocc is None:
            lines.append(f"| {row.name} | {row.note} | | | | | | | |")
            continue
        cells = [
            row.name,
            f"{row.trained_parameters:,}",
            "" if row.epoch is None else str(row.epoch),
            "" if row.val_srocc is None else f"{row.val_srocc:.3f}",
            str(row.srocc),
            str(row.plcc),
            with_digits(row.rmse, 1),
            with_digits(row.pairs_right, 1, 100) + " %" if row.pairs_right else "",
            f"{row.spent_s:.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def with_digits(figure: Figure | None, digits: int, times: float = 1.0) -> str:
    """A figure and its interval with so many decimals."""
    if figure is None or figure.value is None:
        return "undefined"
    said = f"{times * figure.value:.{digits}f}"
    if figure.low is None or figure.high is None:
        return said
    return f"{said} [{times * figure.low:.{digits}f}, {times * figure.high:.{digits}f}]"
