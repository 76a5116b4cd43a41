"""A trained judge of judder beside the rules, on the same clips. Nothing of it is shipped; it prints a table.

    python -m benchmarks.temporal SOURCES... -o RESULTS --half development       # makes the clips, and finds by rules
    python -m benchmarks.temporal.train_judder RESULTS                           # 0.15 s of CPU a frame

Of every stretch of WINDOW_S the judge has the changes from frame to frame, held against those beside them: the lowest
and the highest, how they repeat at 1 to 6 frames, how far places of a period of 2 to 6 are apart. Changes are those of
thumbnails, and of what the image tower makes of the frames half way: how far its patch tokens after block BLOCK move.
Sources take turns in folds. A clip is said to judder where its highest stretch does.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.temporal.detectors import Found
from benchmarks.temporal.drop_examples import Example, Examples, source_of
from benchmarks.temporal.items import ItemTruth, read
from benchmarks.temporal.train_drops import left_out_scores
from qclip_ffmpeg.backbone import Tower
from qclip_ffmpeg.checkpoint import load_model
from qclip_ffmpeg.reader import open_video
from qclip_ffmpeg.temporal.looks import Looker

HIDDEN = 8
RECIPES = ("judder", "cadence", "freeze", "clean", "drops")
WINDOW_S, HOP_S = 1.5, 0.5
BESIDE = 3
LOWEST, HIGHEST = 8, 4
BLOCK = 4
"""Of twelve: a third of the tower's time."""
FLOOR = {"thumbnails": 0.1, "tokens": 0.02}
"""Added to changes before they are held against each other."""

Series = dict[str, NDArray[np.float64]]
"""By kind, the change of every frame to the one before it, (frames,)."""
Clip = tuple[ItemTruth, bool, Series]
"""What is known of it, and whether rules find judder in it."""


class Tokens:
    """Frames -> how far patch tokens move from one to the next, over the length of the tokens."""

    def __init__(self) -> None:
        model = load_model().qclip
        self._tower: Tower = model.tower
        backbone = model.config.backbone
        self._px = backbone.image_px
        self._mean, self._std = (torch.tensor(v).view(1, 3, 1, 1) for v in (backbone.image_mean, backbone.image_std))
        self._before: torch.Tensor | None = None

    @torch.inference_mode()
    def change(self, rgb: NDArray[np.uint8]) -> float:
        """Of a picture (3, height, width), squeezed to the tower's square."""
        picture = torch.from_numpy(rgb.astype(np.float32) / 255)[None]
        square = torch.nn.functional.interpolate(picture, (self._px, self._px), mode="bilinear", antialias=True)
        tokens = self._tower.embed((square - self._mean) / self._std)
        for number in range(1, BLOCK + 1):
            tokens = self._tower.block(number, tokens)
        patches = tokens[0, self._tower.prefix_tokens :]
        before, self._before = self._before, patches
        if before is None:
            return 0.0
        return float(((patches - before).norm(dim=1) / before.norm(dim=1)).mean())


def series_of(path: Path, kept: Path, tower: Tokens) -> Series:
    """Read, or measured and kept."""
    if not kept.exists():
        looker = Looker(28.0)
        with open_video(str(path)) as video:
            frames = [(look.change, tower.change(frame.rgb())) for frame in video if (look := looker.look(frame))]
        frames[0] = (0.0, 0.0)  # of another clip
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, np.array(frames).T)
    return dict(zip(FLOOR, np.load(kept), strict=True))


def held_against(change: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """Natural logarithms of changes over the median of those beside them, (frames,)."""
    count = len(change)
    beside = [np.delete(change[max(1, n - BESIDE) : n + BESIDE + 1], min(BESIDE, max(0, n - 1))) for n in range(count)]
    return np.log((change + floor) / (np.array([np.median(b) for b in beside]) + floor))


def figures(ratios: NDArray[np.float64], change: NDArray[np.float64]) -> NDArray[np.float32]:
    ordered = np.sort(np.pad(ratios, (0, max(0, LOWEST + HIGHEST - len(ratios)))))
    centred = ratios - ratios.mean()
    power = float((centred**2).sum()) + 1e-6
    repeats = [float((centred[n:] * centred[:-n]).sum()) / power for n in range(1, 7)]
    apart = []
    for period in range(2, 7):
        means = np.sort([ratios[place::period].mean() for place in range(period)])
        apart.append(float(np.diff(means).max()))
    level = [float(np.log(np.median(change) + 0.1)), float(ratios.std()), float((ratios < -1).mean())]
    return np.array([*ordered[:LOWEST], *ordered[-HIGHEST:], *repeats, *apart, *level], np.float32)


def stretches(series: Series, kinds: tuple[str, ...], rate: float) -> Iterator[NDArray[np.float32]]:
    ratios = {kind: held_against(series[kind], FLOOR[kind]) for kind in kinds}
    frames = len(series[kinds[0]])
    long, hop = round(WINDOW_S * rate), max(1, round(HOP_S * rate))
    for first in range(2, max(3, frames - long), hop):
        part = slice(first, first + long)
        yield np.concatenate([figures(ratios[kind][part], series[kind][part]) for kind in kinds])


def stretches_of(clips: Sequence[Clip], kinds: tuple[str, ...]) -> tuple[Examples, list[range]]:
    """All stretches of all clips, and which of them are each clip's."""
    examples, places = Examples(), []
    for truth, _, series in clips:
        told = list(stretches(series, kinds, truth.rate))
        places.append(range(len(examples.seen), len(examples.seen) + len(told)))
        source, judders = source_of(truth.content), truth.recipe == "judder"
        examples.seen += [Example(source, figures_, judders, "clean") for figures_ in told]
    return examples, places


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, metavar="RESULTS")
    parser.add_argument("--every", type=int, default=1, help="take every n-th clip that does not judder")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tower = Tokens()
    clips: list[Clip] = []
    others = 0
    for path in sorted((options.results / "clips").glob("*.mkv")):
        truth = read(path.with_suffix(".truth.json"))
        said = options.results / "found" / "ours" / f"{path.stem}.json"
        if not isinstance(truth, ItemTruth) or truth.recipe not in RECIPES or not truth.moving or not said.exists():
            continue
        judders = truth.recipe == "judder"
        others += not judders
        if (judders and not truth.events[0].counts) or (not judders and others % options.every):
            continue
        by_rules = any(f.kind == "judder" for f in msgspec.json.decode(said.read_bytes(), type=list[Found]))
        series = series_of(path, options.results / "changes" / f"{path.stem}.npy", tower)
        clips.append((truth, by_rules, series))
    truly = np.array([truth.recipe == "judder" for truth, _, _ in clips])
    rules = np.array([by_rules for _, by_rules, _ in clips])
    print(f"{truly.sum()} clips that judder, {(~truly).sum()} that do not")
    print(f"rules: recall {rules[truly].mean():.1%}, {rules[~truly].sum()} false")
    for kinds in (("thumbnails",), ("tokens",), ("thumbnails", "tokens")):
        examples, places = stretches_of(clips, kinds)
        for hidden in (0, HIDDEN):
            scores = left_out_scores(examples, hidden)
            highest = np.array([scores[place].max() if len(place) else -99.0 for place in places])
            false = np.sort(highest[~truly])[::-1]
            at = sorted(n for n in {0, 2, 5, 10, int(rules[~truly].sum())} if n < len(false))
            shares = ", ".join(f"{(highest[truly] > false[n]).mean():.1%} at {n} false" for n in at)
            print(f"{' and '.join(kinds)}, {hidden or 'no'} hidden units: recall {shares}")


if __name__ == "__main__":
    main()
