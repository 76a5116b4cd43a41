"""What to read of the frozen tower: ridge heads on statistics of its blocks.

    python benchmarks/readouts.py ENCODES/labels.csv VIDEO_ENCODES/labels.csv --cache FOLDER

ENCODES and VIDEO_ENCODES are what `train.ladders` makes of presets/train/default.toml and videos.toml. Each row of
the table is one head: fitted on the training part of the photographs' split, scored on the rest of the photographs and
on every video, and on those with random rungs alone. "+ videos" trains on the other videos as well, in six folds by
content. Features are computed once into the cache.
"""

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from torch import Tensor

from qclip_ffmpeg.heads import LinearHead, Measure
from qclip_ffmpeg.model import Statistics
from qclip_ffmpeg.presets import read_toml
from qclip_ffmpeg.scorer import Scorer
from qclip_ffmpeg.train.activations import Activations
from qclip_ffmpeg.train.config import CacheRecipe, TrainRecipe, untrained
from qclip_ffmpeg.train.heads import standardise, start_at_ridge
from qclip_ffmpeg.train.labels import read_label_file
from qclip_ffmpeg.train.metrics import pairs_ordered_right
from qclip_ffmpeg.train.splits import splits

PRESET = Path(__file__).resolve().parent.parent / "presets" / "train" / "default.toml"
Places = NDArray[np.intp]
VIEWS = ("whole", "mosaic")
BLOCKS = (5, 6, 7, 8)
STATISTICS: tuple[Literal["class", "mean", "std"], ...] = ("class", "mean", "std")
MEASURES: tuple[Measure, ...] = ("motion", "display")
FOLDS = 6
RANDOM_RUNGS = 8  # the first encodes of a video; the others are CRF ladders at its full height


class Readout(NamedTuple):
    """A row of the table."""

    name: str
    blocks: tuple[int, ...]
    weight: float = 1.0
    """Variance of the class token of the whole picture after block 8; that of other features is 1."""
    measures: tuple[Measure, ...] = MEASURES
    strength: float = 1.0
    """Of the ridge."""
    views: tuple[str, ...] = VIEWS
    statistics: tuple[str, ...] = STATISTICS
    videos: bool = False
    """Train on the other videos too."""


READOUTS = (
    Readout("blocks 6 and 8", (6, 8), measures=(), strength=2.0),
    Readout("blocks 6 and 8", (6, 8)),
    Readout("blocks 5 to 8", (5, 6, 7, 8)),
    Readout("block 8", (8,)),
    Readout("block 8", (8,), measures=("motion",)),
    Readout("block 8", (8,), measures=("display",)),
    Readout("block 8", (8,), measures=()),
    Readout("block 8, whole only, class", (8,), views=("whole",), statistics=("class",)),
    Readout("block 8, mosaic only", (8,), views=("mosaic",)),
    Readout("block 8, class x 6", (8,), 6.0),
    Readout("block 8, class x 11", (8,), 11.0),
    Readout("block 8, class x 31", (8,), 31.0),
    Readout("blocks 6 and 8, class x 31", (6, 8), 31.0),
    Readout("block 8, class x 11, ridge 0.5", (8,), 11.0, strength=0.5),
    Readout("block 8, class x 11, ridge 2", (8,), 11.0, strength=2.0),
    Readout("block 8, class x 11, + videos", (8,), 11.0, videos=True),
)


@dataclass(frozen=True, eq=False)
class Labelled:
    """Labelled clips as heads see them: first the photographs, then the videos."""

    features: Tensor
    """(N, V, blocks, statistics, W), float32, means over the frames."""
    measures: Tensor
    """(N, 2), of MEASURES."""
    label: Tensor
    content: list[str]
    scene: list[str]
    """Content and scene: what was compared with one reference."""
    number: Places
    """Of the encode within its scene."""


def labelled(files: list[Path], recipe: TrainRecipe) -> Labelled:
    """Features of all clips of label files, from the cache where they are."""
    clips = [clip for path in files for clip in read_label_file(replace(recipe.data, labels=str(path)), Path())]
    scorer = Scorer(untrained(recipe, None), "cpu")
    activations = Activations(scorer, clips, recipe.sampling, recipe.cache)
    activations.fill(lambda what, done, of: print(f"\r{what} {done} of {of} ", end="", file=sys.stderr, flush=True))
    frozen = [
        (scorer.model.qclip.features_of(f).mean(dim=0), f["measures"][0]) for f in activations.of(range(len(clips)))
    ]
    shape = len(VIEWS), len(BLOCKS), len(STATISTICS), -1
    names = [re.fullmatch(r"(.*)\.(\d+)\.\w+", clip.path.name) for clip in clips]
    return Labelled(
        torch.stack([features for features, _ in frozen]).view(len(clips), *shape),
        torch.stack([measures for _, measures in frozen]),
        torch.tensor([clip.score for clip in clips]),
        [clip.content for clip in clips],
        [name[1] if name else "" for name in names],
        np.array([int(name[2]) if name else 0 for name in names]),
    )


def seen(readout: Readout, data: Labelled, places: Places) -> tuple[Tensor, Tensor | None, Tensor]:
    """Features (N, D) and measures (N, M) that a readout takes of some clips, and the weights (D,) of the features."""
    features = data.features[places][:, [VIEWS.index(view) for view in readout.views]]
    features = features[:, :, [BLOCKS.index(block) for block in readout.blocks]]
    features = features[..., [STATISTICS.index(statistic) for statistic in readout.statistics], :]
    weights = torch.ones(features.shape[1:])
    weights[0, -1, 0] = readout.weight
    told = data.measures[places][:, [MEASURES.index(name) for name in readout.measures]] if readout.measures else None
    return features.flatten(1), told, weights.flatten()


def fitted_scores(readout: Readout, data: Labelled, train: Places, test: Places) -> NDArray[np.float64]:
    """Scores (N,) of the clips at `test` by a head that is fitted on those at `train`."""
    features, told, weights = seen(readout, data, train)
    head = LinearHead(features.shape[1], readout.measures)
    standardise(head, features, told, weights)
    start_at_ridge(head, features, data.label[train], readout.strength, told)
    shown, told, _ = seen(readout, data, test)
    with torch.inference_mode():
        score: NDArray[np.float64] = head(shown, told)[1].double().numpy()
    return score


def cross_fitted_scores(readout: Readout, data: Labelled, train: Places, videos: Places) -> NDArray[np.float64]:
    """Scores of videos by heads that are fitted on the photographs and on the videos of other folds."""
    contents = sorted({data.content[i] for i in videos})
    fold = np.array([contents.index(data.content[i]) % FOLDS for i in videos])
    score = np.zeros(len(videos))
    for number in range(FOLDS):
        others = np.concatenate([train, videos[fold != number]])
        score[fold == number] = fitted_scores(readout, data, others, videos[fold == number])
    return score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, help="labels.csv of encodes of photographs")
    parser.add_argument("videos", type=Path, help="labels.csv of encodes of videos")
    parser.add_argument("--cache", required=True, help="folder for features")
    options = parser.parse_args()
    recipe = read_toml(PRESET, TrainRecipe)
    recipe = replace(
        recipe,
        model=replace(recipe.model, readout=Statistics(BLOCKS, STATISTICS), measures=MEASURES),
        optimiser=replace(recipe.optimiser, emphasis=[]),
        cache=CacheRecipe(folder=options.cache),
    )
    data = labelled([options.photographs.resolve(), options.videos.resolve()], recipe)
    photographs = len(read_label_file(replace(recipe.data, labels=str(options.photographs.resolve())), Path()))
    [split] = splits(data.content[:photographs], recipe.split)
    train, held_out = np.array(split.train), np.array([*split.val, *split.test])
    videos = np.arange(photographs, len(data.content))
    random = data.number[videos] < RANDOM_RUNGS
    truth = data.label.double().numpy()
    scenes = [data.scene[i] for i in videos]
    table = Table(title="SROCC to the labels; % of pairs of one video that far apart ordered right")
    for column in ("readout", "told", "ridge", "photographs", "videos", "random rungs", "5", "2"):
        table.add_column(column)
    for readout in READOUTS:
        of_photographs = fitted_scores(readout, data, train, held_out)
        scored = cross_fitted_scores if readout.videos else fitted_scores
        of_videos = scored(readout, data, train, videos)
        right = [pairs_ordered_right(of_videos, truth[videos], scenes, apart) for apart in (5, 2)]
        table.add_row(
            readout.name,
            " ".join(readout.measures) or "-",
            f"{readout.strength:g}",
            f"{spearmanr(of_photographs, truth[held_out]).statistic:.4f}",
            f"{spearmanr(of_videos, truth[videos]).statistic:.4f}",
            f"{spearmanr(of_videos[random], truth[videos][random]).statistic:.4f}",
            *(f"{100 * good / of:.2f}" for good, of in right),
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
