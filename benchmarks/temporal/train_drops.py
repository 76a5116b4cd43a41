"""Train the network that judges dropped frames (`qclip_ffmpeg.temporal.drops.Judge`), and say how well it does.

    python -m benchmarks.temporal SOURCES... -o RESULTS --half development       # makes the clips
    python -m benchmarks.temporal.train_drops RESULTS... -o qclip_ffmpeg/temporal/drops.json

`drop_examples` has what it learns from. Sources take turns in FOLDS folds: prints recall at so and so many false
reports, and the scores those have, of a straight line and of the network. The network is NETWORKS ones of HIDDEN units,
begun from other random weights, whose scores are averaged: written as one, side by side.

With --keep nothing is trained: the threshold of a network is set by sources that it has not seen.
"""

import argparse
import sys
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.temporal.drop_examples import Examples, examples_of
from qclip_ffmpeg.files import write_atomically
from qclip_ffmpeg.temporal.drops import Judge

FOLDS = 8
HIDDEN = 16
"""Units of a network."""
NETWORKS = 4
STEPS = 1500
"""Of descent, each by all examples."""
DECAY = 1e-4
"""Of the weights. More of it, fewer steps or fewer units are worse by one to three in a hundred."""
FALSE = (0, 1, 2, 3, 4, 6, 8, 16)
"""False reports at which recall is printed."""
MINUTES_A_FALSE = 6.0
"""Sets the threshold: of steps of left-out sources, in clean clips and in damaged ones, one is above it in so long a
time."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.temporal.train_drops",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("results", type=Path, nargs="+", metavar="RESULTS")
    made.add_argument("-o", "--output", type=Path, required=True, metavar="WEIGHTS")
    made.add_argument("--leave-out", nargs="*", default=[], metavar="SOURCE", help="their motion is not to be trusted")
    made.add_argument("--keep", type=Path, metavar="WEIGHTS", help="set the threshold of these")
    return made


def trained(figures: NDArray[np.float32], dropped: NDArray[np.bool_], hidden: int) -> Judge:
    """NETWORKS networks as one; with no hidden units a straight line, written as one unit that hardly bends."""
    mean, scale = figures.mean(axis=0), figures.std(axis=0) + 1e-3
    given = torch.tensor(np.clip((figures - mean) / scale, -3, 3))
    wanted = torch.tensor(dropped.astype(np.float32))
    networks = [descended(given, wanted, hidden, seed) for seed in range(NETWORKS if hidden else 1)]
    shrink = 1.0 if hidden else 1e-3
    share = 1 / len(networks) / shrink
    first, last = ([network[place] for network in networks] for place in (0, -1))
    return Judge(
        mean=rounded(mean),
        scale=rounded(scale),
        hidden=[rounded(row * shrink) for layer in first for row in layer.weight.detach().numpy()],
        hidden_bias=[value for layer in first for value in rounded(layer.bias.detach().numpy() * shrink)],
        out=[v for layer in last for v in rounded(layer.weight.detach().numpy()[0] * share)] if hidden else [share],
        out_bias=sum(float(layer.bias.detach()) for layer in last) / len(last) if hidden else 0.0,
        threshold=0.0,
    )


def descended(given: torch.Tensor, wanted: torch.Tensor, hidden: int, seed: int) -> torch.nn.Sequential:
    torch.manual_seed(seed)
    count = given.shape[1]
    line = torch.nn.Linear(count, 1)
    layers = [torch.nn.Linear(count, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 1)] if hidden else [line]
    network = torch.nn.Sequential(*layers)
    descent = torch.optim.Adam(network.parameters(), 1e-2, weight_decay=DECAY)
    for _ in range(STEPS):
        descent.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(given)[:, 0], wanted)
        loss.backward()
        descent.step()
    return network


def rounded(values: NDArray[np.float32]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


def left_out_scores(examples: Examples, hidden: int) -> NDArray[np.float64]:
    """Of every example by a network that knows nothing of its source."""
    sources = sorted({example.source for example in examples.seen})
    order = np.random.default_rng(0).permutation(len(sources))
    fold_of = {sources[place]: n % FOLDS for n, place in enumerate(order)}
    fold = np.array([fold_of[example.source] for example in examples.seen])
    figures, dropped = examples.figures, examples.are_dropped
    scores = np.zeros(len(figures))
    for n in range(FOLDS):
        judge = trained(figures[fold != n], dropped[fold != n], hidden)
        scores[fold == n] = [judge.score(example) for example in figures[fold == n]]
    return scores


def main() -> None:
    options = parser().parse_args()
    torch.set_num_threads(1)
    found = Examples()
    paths = {path.name: path for folder in options.results for path in (folder / "clips").glob("*.mkv")}
    for path in (paths[name] for name in sorted(paths)):
        examples_of(path, found, options.leave_out)
    dropped, clean = found.are_dropped, found.of_clips("clean")
    minutes = ", ".join(f"{name} {value:.1f}" for name, value in found.minutes.items())
    print(f"minutes of clips that move: {minutes}; {len({e.source for e in found.seen})} sources with suspects")
    print(f"of {found.dropped} dropped frames of clean clips {(dropped & clean).sum()} are looked at closely")
    print(f"other steps: {', '.join(f'{name} {(~dropped & found.of_clips(name)).sum()}' for name in found.minutes)}")
    if options.keep is not None:
        judge = msgspec.json.decode(options.keep.read_bytes(), type=Judge)
        threshold = told(found, np.array([judge.score(figures) for figures in found.figures]), "as it is")
    else:
        told(found, left_out_scores(found, 0), "a straight line")
        threshold = told(found, left_out_scores(found, HIDDEN), f"{HIDDEN} hidden units")
        judge = trained(found.figures, dropped, HIDDEN)
    judge = msgspec.structs.replace(judge, threshold=round(threshold, 2))
    write_atomically(options.output, msgspec.json.encode(judge) + b"\n")
    print(f"written to {options.output}", file=sys.stderr)


def told(found: Examples, scores: NDArray[np.float64], name: str) -> float:
    """Print what scores of all examples are worth; the threshold by MINUTES_A_FALSE."""
    dropped, clean = found.are_dropped, found.of_clips("clean")
    false, right = (np.sort(scores[of & clean])[::-1] for of in (~dropped, dropped))
    shares = [
        f"{n}: {(right > false[n]).sum() / found.dropped:.1%} (from {false[n]:.2f})" for n in FALSE if n < len(false)
    ]
    print(f"{name}, recall at so many false in clean clips: " + ", ".join(shares))
    as_shown = np.sort(scores[~dropped & ~found.of_clips("otherwise")])[::-1]
    allowed = int((found.minutes["clean"] + found.minutes["damaged"]) / MINUTES_A_FALSE)
    threshold = float(as_shown[min(allowed, len(as_shown) - 1)])
    print(f"above {threshold:.2f}: {(right > threshold).sum() / found.dropped:.1%}; false", end=" ")
    wrong = ~dropped & (scores > threshold)
    print(", ".join(f"{name} {(wrong & found.of_clips(name)).sum()}" for name in found.minutes))
    return threshold


if __name__ == "__main__":
    main()
