"""Teacher-labelled encodes: a folder of sources -> encodes of each with its VMAF.

    python -m qclip_ffmpeg.train.ladders presets/train/provisional.toml SOURCES OUT

Each source is fitted into the display (never enlarged) and becomes the reference; a still is used both as one frame
and as a short horizontal pan. The reference is scaled down to a rung's height, encoded, decoded, scaled back up to
the display (bicubic, as a player does) and compared by VMAF v0.6.1 with the reference. Sources that do not fill the
display are labelled at their own size. Everything follows from the seed and the source's name; finished rows are kept,
so a killed run goes on where it was.
"""

import argparse
import csv
import hashlib
import json
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import av
import ffmpeg
import numpy as np

from qclip_ffmpeg.ffmpeg import bundled_executable, run
from qclip_ffmpeg.presets import read_toml
from qclip_ffmpeg.train.recipe import LadderPreset, LadderRecipe

STILL_SUFFIXES = {".webp", ".png", ".jpg", ".jpeg"}


@dataclass(frozen=True)
class LabelledEncode:
    """One row of labels.csv."""

    file: str
    """Name of the encode, relative to labels.csv."""
    content: str
    """Name of its source: what train/test splits must keep together."""
    kind: str
    """"still", "pan" or "video"."""
    codec: str
    crf: int
    height_px: int
    """Lines of the encode."""
    display_height_px: int
    """Lines it was shown at when it was labelled."""
    vmaf: float
    """0 to 100, mean over the frames."""


def even(value: float) -> int:
    return max(2, 2 * round(value / 2))


def make_reference(
    source: Path, kind: str, out: Path, recipe: LadderRecipe, rng: np.random.Generator
) -> tuple[int, int]:
    """Write the reference as lossless H.264 and return its (width_px, height_px)."""
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        scale = min(1.0, recipe.display[0] / stream.width, recipe.display[1] / stream.height)
        width_px, height_px = even(stream.width * scale), even(stream.height * scale)
    if kind == "video":
        shown = ffmpeg.input(str(source)).filter("scale", width_px, height_px, flags="lanczos")
        frames = recipe.video_frames
    else:
        shown = ffmpeg.input(str(source), loop=1, framerate=24).filter("scale", width_px, height_px, flags="lanczos")
        frames = 1
    if kind == "pan":
        view_px = even(width_px * recipe.pan_width_share)
        step_px = int(rng.integers(2, 1 + max(3, (width_px - view_px) // recipe.pan_frames)))
        shown = shown.filter("crop", view_px, height_px, f"n*{step_px}", 0)
        width_px, frames = view_px, recipe.pan_frames
    run(shown.output(str(out), vcodec="libx264", qp=0, preset="ultrafast", pix_fmt="yuv420p", vframes=frames, an=None))
    return width_px, height_px


def vmaf(encode: Path, reference: Path, size_px: tuple[int, int]) -> float:
    """Mean VMAF v0.6.1 of the encode, scaled (bicubic) to the reference's size, 0 to 100."""
    with tempfile.TemporaryDirectory() as folder:
        shown = ffmpeg.input(str(encode.resolve())).filter("scale", *size_px, flags="bicubic").filter("setpts", "N")
        against = ffmpeg.input(str(reference.resolve())).filter("setpts", "N")
        log = "vmaf.json"
        compared = ffmpeg.filter([shown, against], "libvmaf", n_threads=2, log_fmt="json", log_path=log)
        run(compared.output("-", format="null"), program=bundled_executable(), cwd=Path(folder))
        return float(json.loads((Path(folder) / log).read_text())["pooled_metrics"]["vmaf"]["mean"])


def rng_for(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, *hashlib.sha256(name.encode()).digest()[:8]])


def encodes_of(source: Path, out: Path, recipe: LadderRecipe, done: set[str]) -> list[LabelledEncode]:
    """Encode and label one source; encodes named in `done` are passed over."""
    rows = []
    kinds = ["still", "pan"] if source.suffix.lower() in STILL_SUFFIXES else ["video"]
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            rng = rng_for(recipe.seed, f"{source.stem}/{kind}")
            reference = Path(folder) / f"{kind}.mkv"
            width_px, height_px = make_reference(source, kind, reference, recipe, rng)
            for index in range(recipe.encodes_per_source // len(kinds)):
                codec = recipe.codecs[rng.choice(len(recipe.codecs), p=[c.chance for c in recipe.codecs])]
                crf = int(rng.integers(*codec.crf, endpoint=True))
                share = recipe.rungs[rng.choice(len(recipe.rungs), p=[r.chance for r in recipe.rungs])].height_share
                name = f"{source.stem}.{kind}{index}.mkv"
                if name in done:
                    continue
                rung = ffmpeg.input(str(reference)).filter(
                    "scale", even(width_px * share), even(height_px * share), flags="lanczos"
                )
                options = {"vcodec": codec.name, "crf": crf, "pix_fmt": "yuv420p", **codec.options}
                run(rung.output(str(out / name), **options))
                score = vmaf(out / name, reference, (width_px, height_px))
                rows.append(
                    LabelledEncode(name, source.stem, kind, codec.name, crf, even(height_px * share), height_px, score)
                )
    return rows


def read_labels(path: Path) -> list[LabelledEncode]:
    """Rows of a labels.csv, in file order."""
    with path.open(newline="") as file:
        return [
            LabelledEncode(**{f.name: f.type(row[f.name]) for f in fields(LabelledEncode)})  # type: ignore[operator]
            for row in csv.DictReader(file)
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="training preset, for example presets/train/provisional.toml")
    parser.add_argument("sources", type=Path, help="folder of clips and stills")
    parser.add_argument("out", type=Path, help="folder for the encodes and labels.csv")
    options = parser.parse_args()
    recipe = read_toml(options.recipe, LadderPreset).ladder
    options.out.mkdir(parents=True, exist_ok=True)
    labels = options.out / "labels.csv"
    done = {row.file for row in read_labels(labels)} if labels.exists() else set()
    with labels.open("a", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(LabelledEncode)])
        if not file.tell():
            writer.writeheader()
        for source in sorted(options.sources.iterdir()):
            for row in encodes_of(source, options.out, recipe, done):
                writer.writerow(asdict(row))
                file.flush()


if __name__ == "__main__":
    main()
