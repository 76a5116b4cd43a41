"""Teacher-labelled encodes: a folder of sources -> encodes of each with its labels.

    python -m qclip_ffmpeg.train.ladders presets/train/default.toml SOURCES OUT [--shard 1/2]

Sources are photographs, clips and folders of frames (`scenes`); each becomes scenes, each scene encodes (`damage`) and
each encode is measured against its scene (`teacher`). The preset's [ladder] table says how many and which. Everything
follows from its seed and the sources' names. A source's rows are written when all its encodes are there: a killed run
goes on where it was, several shards may fill one folder, and whoever comes last writes labels.csv of all of it.
"""

import argparse
import csv
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import msgspec

from qclip_ffmpeg.emit.csv import csv_table
from qclip_ffmpeg.errors import QClipError, UsageError
from qclip_ffmpeg.files import make_folder, write_atomically
from qclip_ffmpeg.presets import read_toml
from qclip_ffmpeg.train.damage import draw_encodes, make_encode
from qclip_ffmpeg.train.recipe import LadderPreset, LadderRecipe
from qclip_ffmpeg.train.scenes import Source, even, find_sources, make_reference, rng_for, scene_size_px
from qclip_ffmpeg.train.teacher import measure

RECIPE_FILE = "recipe.json"
LABELS_FILE = "labels.csv"
DECIMALS = 4


@dataclass(frozen=True, slots=True)
class LabelledEncode:
    """One row of labels.csv."""

    file: str
    """Name of the encode, relative to labels.csv."""
    label: float
    """0 to 100; what `Teacher.label` makes of the measurements."""
    content: str
    """Name of its source: what train/test splits must keep together."""
    scene: str
    """Encodes of one content and scene were compared with one reference."""
    kind: str
    """"still", "pan", "zoom", "shake", "cuts" or "video"."""
    codec: str
    rate_control: str
    """"crf", "q" or "bits_per_px"."""
    rate: float
    speed: str
    """Value of the encoder's preset option; empty where it has none."""
    height_px: int
    """Lines of the encode."""
    frame_rate_share: float
    fault: str
    display_height_px: int
    """Lines it was shown at when it was labelled."""
    vmaf: float
    vmaf_neg: float
    cambi: float
    """What the encode adds to the reference's."""
    chroma_psnr_db: float


def encodes_of(source: Source, out: Path, recipe: LadderRecipe) -> list[LabelledEncode]:
    """Make and label all encodes of one source; none where it is too small for every scene.

    Raises:
        InputError: the source cannot be read.
        FFmpegError: an encoder failed.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for scene in recipe.scenes:
            if source.is_picture == (scene.kind == "video"):
                continue
            size_px = scene_size_px(source, scene)
            if size_px is None:
                continue
            reference = Path(folder) / f"{scene.name}.mkv"
            make_reference(source, scene, size_px, reference, recipe.seed)
            rng = rng_for(recipe.seed, source.content, scene.name, "encodes")
            for index, encode in enumerate(draw_encodes(scene, recipe, rng)):
                name = f"{source.content}.{scene.name}.{index}.mkv"
                make_encode(reference, size_px, encode, out / name, rng)
                found = measure(out / name, reference, size_px, frame_step_of(encode.fault, encode.frame_rate_share))
                rows.append(
                    LabelledEncode(
                        file=name,
                        label=round(found.label(encode.fault), DECIMALS),
                        content=source.content,
                        scene=scene.name,
                        kind=scene.kind,
                        codec=encode.codec.name,
                        rate_control=encode.codec.rate_control,
                        rate=encode.rate,
                        speed=encode.speed or "",
                        height_px=even(size_px[1] * encode.height_share),
                        frame_rate_share=encode.frame_rate_share,
                        fault=encode.fault,
                        display_height_px=size_px[1],
                        **{name: round(value, DECIMALS) for name, value in asdict(found).items()},
                    )
                )
    return rows


def frame_step_of(fault: str, frame_rate_share: float) -> int:
    """Of the reference: two fields of two frames make one interlaced frame."""
    return 2 if fault == "interlaced" else round(1 / frame_rate_share)


def write_rows(path: Path, rows: Iterable[LabelledEncode]) -> None:
    """Write rows as CSV with a header."""
    write_atomically(path, csv_table([f.name for f in fields(LabelledEncode)], (asdict(row) for row in rows)))


def read_labels(path: Path) -> list[LabelledEncode]:
    """Rows of a labels.csv, in file order.

    Raises:
        UsageError: it is missing, or was not written by `write_rows`.
    """
    try:
        with path.open(newline="") as file:
            return [
                LabelledEncode(**{f.name: f.type(row[f.name]) for f in fields(LabelledEncode)})  # type: ignore[operator]
                for row in csv.DictReader(file)
            ]
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); make it with train.ladders") from None
    except (KeyError, ValueError, TypeError) as error:
        raise UsageError(f"{path}: is no label file of train.ladders ({error})") from None


def keep_recipe(out: Path, recipe: LadderRecipe) -> None:
    """Write the recipe beside what it makes.

    Raises:
        UsageError: the folder holds encodes of another recipe.
    """
    path, text = out / RECIPE_FILE, msgspec.json.format(msgspec.json.encode(recipe), indent=1)
    if path.exists() and path.read_bytes() != text:
        raise UsageError(f"{out}: holds encodes of another recipe ({RECIPE_FILE} differs); choose another folder")
    write_atomically(path, text)


def make(
    recipe: LadderRecipe,
    sources: list[Source],
    out: Path,
    shard: tuple[int, int] = (1, 1),
    progress: Callable[[str, int, int], None] = lambda content, number, of: None,
) -> None:
    """Encode and label the sources of a shard, and write labels.csv once nothing is missing.

    Args:
        recipe: what to make of them.
        sources: all of them, whatever the shard.
        out: folder for the encodes.
        shard: (number from 1, shards).
        progress: told the content that is begun, its number from 1, and how many there are.

    Raises:
        UsageError: the folder cannot be written, or holds encodes of another recipe.
        InputError: a source cannot be read.
        FFmpegError: an encoder failed.
    """
    make_folder(out, "OUT")
    keep_recipe(out, recipe)
    rows_folder = out / "rows"
    make_folder(rows_folder)
    number, shards = shard
    for index, source in enumerate(sources):
        rows = rows_folder / f"{source.content}.csv"
        if index % shards == number - 1 and not rows.exists():
            progress(source.content, index + 1, len(sources))
            write_rows(rows, encodes_of(source, out, recipe))
    done = [rows_folder / f"{source.content}.csv" for source in sources]
    if all(path.exists() for path in done):
        write_rows(out / LABELS_FILE, [row for path in done for row in read_labels(path)])


def shard_of(text: str) -> tuple[int, int]:
    """ "1/2": the first of two."""
    number, _, shards = text.partition("/")
    if not (number.isdecimal() and shards.isdecimal() and 1 <= int(number) <= int(shards)):
        raise argparse.ArgumentTypeError(f"{text!r}: say K/N, for example 1/2, the first of two")
    return int(number), int(shards)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", type=Path, help="training preset, for example presets/train/default.toml")
    parser.add_argument("sources", type=Path, help="folder of photographs, clips and folders of frames")
    parser.add_argument("out", type=Path, help="folder for the encodes and labels.csv")
    parser.add_argument("--shard", type=shard_of, default=(1, 1), metavar="K/N", help="do the Kth of N parts")
    options = parser.parse_args()

    def told(content: str, number: int, of: int) -> None:
        print(f"{number} of {of}: {content}", file=sys.stderr, flush=True)

    try:
        recipe = read_toml(options.preset, LadderPreset).ladder
        make(recipe, find_sources(options.sources), options.out, options.shard, told)
    except QClipError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
