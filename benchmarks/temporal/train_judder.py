"""A trained judge of judder beside the rules, on the same clips. Nothing of it is shipped; it prints a table.

    python -m benchmarks.temporal SOURCES... -o RESULTS --half development       # makes the clips, and finds by rules
    python -m benchmarks.temporal.train_judder RESULTS

Of every stretch of WINDOW_S the judge has the changes from frame to frame, held against those beside them: the lowest
and the highest, how they repeat at 1 to 6 frames, how far places of a period of 2 to 6 are apart. Sources take turns in
five folds. A clip is said to judder where its highest stretch does.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.temporal.detectors import Found
from benchmarks.temporal.drop_examples import Example
from benchmarks.temporal.items import ItemTruth, read
from benchmarks.temporal.train_drops import HIDDEN, left_out_scores
from qclip_ffmpeg.reader import open_video
from qclip_ffmpeg.temporal.looks import Looker

RECIPES = ("judder", "cadence", "freeze", "clean", "drops")
WINDOW_S, HOP_S = 1.5, 0.5
BESIDE = 3
LOWEST, HIGHEST = 8, 4


def held_against(change: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithms of changes over the median of those beside them, (frames,)."""
    count = len(change)
    beside = [np.delete(change[max(1, n - BESIDE) : n + BESIDE + 1], min(BESIDE, max(0, n - 1))) for n in range(count)]
    return np.log((change + 0.1) / (np.array([np.median(b) for b in beside]) + 0.1))


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


def stretches(path: Path, truth: ItemTruth) -> Iterator[NDArray[np.float32]]:
    looker = Looker(28.0)
    with open_video(str(path)) as video:
        change = np.array([look.change for frame in video if (look := looker.look(frame)) is not None])
    ratios = held_against(change)
    long, hop = round(WINDOW_S * truth.rate), max(1, round(HOP_S * truth.rate))
    for first in range(2, max(3, len(change) - long), hop):
        yield figures(ratios[first : first + long], change[first : first + long])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, metavar="RESULTS")
    options = parser.parse_args()
    examples: list[Example] = []
    clips: list[tuple[bool, bool, list[int]]] = []  # judders, by the rules, its stretches
    for path in sorted((options.results / "clips").glob("*.mkv")):
        truth = read(path.with_suffix(".truth.json"))
        said = options.results / "found" / "ours" / f"{path.stem}.json"
        if not isinstance(truth, ItemTruth) or truth.recipe not in RECIPES or not truth.moving or not said.exists():
            continue
        judders = truth.recipe == "judder"
        if judders and not truth.events[0].counts:
            continue
        by_rules = any(f.kind == "judder" for f in msgspec.json.decode(said.read_bytes(), type=list[Found]))
        source = truth.content.split("+")[0]
        mine = [Example(source, told, judders) for told in stretches(path, truth)]
        clips.append((judders, by_rules, list(range(len(examples), len(examples) + len(mine)))))
        examples += mine
    truly, rules = (np.array([clip[n] for clip in clips], bool) for n in (0, 1))
    print(f"{truly.sum()} clips that judder, {(~truly).sum()} that do not")
    print(f"rules: recall {rules[truly].mean():.1%}, {rules[~truly].sum()} false")
    for hidden in (0, HIDDEN):
        scores = left_out_scores(examples, hidden)
        highest = np.array([scores[places].max() if places else -99.0 for _, _, places in clips])
        false = np.sort(highest[~truly])[::-1]
        at = sorted({0, 2, 5, 10, int(rules[~truly].sum())})
        shares = ", ".join(f"{(highest[truly] > false[n]).mean():.1%} at {n} false" for n in at)
        print(f"{hidden or 'no'} hidden units: recall {shares}")


if __name__ == "__main__":
    main()
