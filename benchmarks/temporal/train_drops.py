"""Train the network that judges dropped frames (`qclip_ffmpeg.temporal.drops.Judge`), and say how well it does.

    python -m benchmarks.temporal SOURCES... -o RESULTS --half development       # makes the clips
    python -m benchmarks.temporal.train_drops RESULTS -o qclip_ffmpeg/temporal/drops.json

Of every clean clip in RESULTS/clips that moves each frame is left out once, every eighth at a time. Those whose step
stands out by the truth's own measure (`displacement`) are what is to be found, the clip as it is what is not to be.
Sources take turns in five folds: prints recall at so and so many false reports, and the scores those have, of a
straight line and of the network.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.temporal.displacement import instant, shifts
from benchmarks.temporal.items import ItemTruth, read
from qclip_ffmpeg.files import write_atomically
from qclip_ffmpeg.frame import Frame
from qclip_ffmpeg.reader import open_video
from qclip_ffmpeg.temporal.cuts import Cuts
from qclip_ffmpeg.temporal.drops import Judge, Suspect, Suspects
from qclip_ffmpeg.temporal.looks import Looker

APART = 8
FOLDS = 5
HIDDEN = 8
STEPS = 400
FALSE = (0, 1, 2, 4, 8, 16)
MINUTES_A_FALSE = 10.0
"""Sets the threshold: of steps of left-out sources, one is above it in so long a time."""


@dataclass(frozen=True)
class Example:
    source: str
    figures: NDArray[np.float32]
    dropped: bool


@dataclass
class Examples:
    """Of all clips: the steps that are looked at closely."""

    seen: list[Example]
    dropped: int = 0
    """How many there are to be found, looked at or not."""
    minutes: float = 0.0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.temporal.train_drops",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("results", type=Path, metavar="RESULTS")
    made.add_argument("-o", "--output", type=Path, required=True, metavar="WEIGHTS")
    made.add_argument("--leave-out", nargs="*", default=[], metavar="SOURCE", help="their motion is not to be trusted")
    return made


def suspects(frames: Sequence[Frame]) -> Iterator[tuple[int, Suspect]]:
    """(number of the frame after the step, suspect)"""
    looker, cuts, found = Looker(28.0), Cuts(), Suspects()
    numbers: list[int] = []
    for frame in frames:
        look = looker.look(frame)
        assert look is not None
        numbers.append(frame.index)
        for judged, cut in cuts.add(look):
            if (suspect := found.add(judged, cut is not None)) is not None:
                yield numbers[suspect.look.index], suspect


def examples_of(path: Path, into: Examples) -> None:
    truth = read(path.with_suffix(".truth.json"))
    assert isinstance(truth, ItemTruth)
    if not truth.moving:
        return
    with open_video(str(path)) as video:
        frames = list(video)
    source = truth.content.split("+")[0]
    frame_s = Fraction(1) / Fraction(truth.rate).limit_denominator(1001)
    luma = [frame.thumbnail.astype(np.uint8) for frame in frames]
    moved = [shifts(luma[max(0, n - 1)], picture) for n, picture in enumerate(luma)]
    stands_out = [2 <= n < len(luma) - 2 and instant(*moved[n - 1 : n + 3]).jump for n in range(len(luma))]
    into.minutes += len(luma) * float(frame_s) / 60
    into.seen += [Example(source, suspect.figures, False) for _, suspect in suspects(frames)]
    for phase in range(APART):
        kept = [frame for n, frame in enumerate(frames) if n < APART or n % APART != phase]
        late = [replace(frame, time_s=n * frame_s) for n, frame in enumerate(kept)]
        into.dropped += sum(stands_out[n] for n in range(APART + phase, len(luma) - 4, APART))
        for number, suspect in suspects(late):
            if number % APART == (phase + 1) % APART and number > APART and stands_out[number - 1]:
                into.seen.append(Example(source, suspect.figures, True))


def trained(figures: NDArray[np.float32], dropped: NDArray[np.bool_], hidden: int) -> Judge:
    """A network; with no hidden units a straight line, written as one unit that hardly bends."""
    torch.manual_seed(0)
    mean, scale = figures.mean(axis=0), figures.std(axis=0) + 1e-3
    given = torch.tensor(np.clip((figures - mean) / scale, -3, 3))
    wanted = torch.tensor(dropped.astype(np.float32))
    count = figures.shape[1]
    line = torch.nn.Linear(count, 1)
    layers = [torch.nn.Linear(count, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 1)] if hidden else [line]
    network = torch.nn.Sequential(*layers)
    descent = torch.optim.Adam(network.parameters(), 1e-2, weight_decay=1e-3)
    for _ in range(STEPS):
        descent.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(given)[:, 0], wanted)
        loss.backward()
        descent.step()
    first, last = network[0], network[-1]
    shrink = 1.0 if hidden else 1e-3
    return Judge(
        mean=rounded(mean),
        scale=rounded(scale),
        hidden=[rounded(row) for row in (first.weight.detach().numpy() * shrink)],
        hidden_bias=rounded(first.bias.detach().numpy() * shrink),
        out=rounded(last.weight.detach().numpy()[0]) if hidden else [1 / shrink],
        out_bias=rounded(last.bias.detach().numpy())[0] if hidden else 0.0,
        threshold=0.0,
    )


def rounded(values: NDArray[np.float32]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


def left_out_scores(examples: Sequence[Example], hidden: int) -> NDArray[np.float64]:
    """Of every example by a network that knows nothing of its source."""
    sources = sorted({example.source for example in examples})
    order = np.random.default_rng(0).permutation(len(sources))
    fold_of = {sources[place]: n % FOLDS for n, place in enumerate(order)}
    fold = np.array([fold_of[example.source] for example in examples])
    figures = np.stack([example.figures for example in examples])
    dropped = np.array([example.dropped for example in examples])
    scores = np.zeros(len(examples))
    for n in range(FOLDS):
        judge = trained(figures[fold != n], dropped[fold != n], hidden)
        scores[fold == n] = [judge.score(example) for example in figures[fold == n]]
    return scores


def main() -> None:
    options = parser().parse_args()
    torch.set_num_threads(1)
    found = Examples([])
    for path in sorted((options.results / "clips").glob("*-clean.mkv")):
        if path.name.split("-clean")[0].split("+")[0] not in options.leave_out:
            examples_of(path, found)
    dropped = np.array([example.dropped for example in found.seen])
    print(f"{found.minutes:.1f} minutes, {len({e.source for e in found.seen})} sources with suspects")
    print(f"looked at closely: {dropped.sum()} of {found.dropped} dropped frames, {(~dropped).sum()} other steps")
    threshold = 0.0
    for hidden in (0, HIDDEN):
        scores = left_out_scores(found.seen, hidden)
        false = np.sort(scores[~dropped])[::-1]
        shares = [f"{n}: {(scores[dropped] > false[n]).sum() / found.dropped:.1%} (from {false[n]:.2f})" for n in FALSE]
        print(f"{hidden or 'no'} hidden units, recall at so many false: " + ", ".join(shares))
        threshold = float(false[int(found.minutes / MINUTES_A_FALSE)])
    figures = np.stack([example.figures for example in found.seen])
    judge = msgspec.structs.replace(trained(figures, dropped, HIDDEN), threshold=round(threshold, 2))
    write_atomically(options.output, msgspec.json.encode(judge) + b"\n")
    print(f"written to {options.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
