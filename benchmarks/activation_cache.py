"""Training from the activation cache against training without it: are the losses the same, and how much faster is it?

    python benchmarks/activation_cache.py

The bundled backbone, left after block 6, both views, adapters on the last third of its blocks (5 and 6), on encodes
of the example clip. Losses: 20 steps, one a batch of all clips. Speed: one epoch each in turn, three times.
"""

import statistics
import tempfile
import time
from pathlib import Path

import ffmpeg
from common import EXAMPLE

from qclip_ffmpeg.adapters import SharedAdapter
from qclip_ffmpeg.ffmpeg import run
from qclip_ffmpeg.model import Statistics
from qclip_ffmpeg.scorer import Scorer
from qclip_ffmpeg.train.activations import Activations
from qclip_ffmpeg.train.clips import SamplingRecipe
from qclip_ffmpeg.train.config import BUNDLED, CacheRecipe, NetworkRecipe, OptimiserRecipe, TrainRecipe, untrained
from qclip_ffmpeg.train.labels import Clip, LabelSource
from qclip_ffmpeg.train.loop import EpochRow, Trainer
from qclip_ffmpeg.train.splits import Split

CRFS = (18, 22, 26, 30, 34, 38, 42, 46)
MODEL = NetworkRecipe(
    backbone=BUNDLED,
    views=("whole", "mosaic"),
    readout=Statistics((4, 6), ("class", "mean", "std")),
    levels="vectors",
    adapters=SharedAdapter(share="core", dim=64, first_block=5),
)
STEPS = 20
ROUNDS = 3


def clips(folder: Path) -> list[Clip]:
    """Two seconds of the example clip at several qualities; the label is only what training needs: a number."""
    made = []
    for crf in CRFS:
        path = folder / f"crf{crf}.mp4"
        run(ffmpeg.input(str(EXAMPLE), t=2).output(str(path), vcodec="libx264", preset="medium", crf=crf, an=None))
        made.append(Clip(path, path.name, 100.0 - crf, "one", None, None, 0))
    return made


def trained(made: list[Clip], frames: int, epochs: int, cache: CacheRecipe | None) -> tuple[list[EpochRow], float]:
    """The log of a run whose every batch is all clips, and the seconds its epochs took."""
    sampling = SamplingRecipe(frames=frames)
    optimiser = OptimiserRecipe(epochs=epochs, batch=len(made))
    recipe = TrainRecipe(
        model=MODEL, data=LabelSource(labels="", score_range=(0, 100)), sampling=sampling, optimiser=optimiser
    )
    model = untrained(recipe, None)
    activations = Activations(Scorer(model, "cpu"), made, sampling, cache)
    activations.fill(lambda *_: None)
    began_s = 0.0

    def note_start(stage: str, *_: int) -> None:
        nonlocal began_s
        if stage.startswith("epoch 1") and not began_s:
            began_s = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        everything = Split(tuple(range(len(made))), (), ())
        trainer = Trainer(model, activations, made, everything, optimiser, Path(folder) / "run", "benchmark")
        trainer.run(note_start)
        return trainer.rows, time.perf_counter() - began_s


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = clips(Path(folder))
        plain, _ = trained(made, 1, STEPS, None)
        for precision in ("float32", "float16"):
            cached, _ = trained(made, 1, STEPS, CacheRecipe(folder=f"{folder}/{precision}", precision=precision))
            worst = max(abs(a.loss - b.loss) / a.loss for a, b in zip(plain, cached, strict=True))
            print(f"{precision} cache: largest relative difference of the loss in {STEPS} steps {worst:.1e}")
        ratios = []
        for _ in range(ROUNDS):
            _, plain_s = trained(made, 4, 1, None)
            _, cached_s = trained(made, 4, 1, CacheRecipe(folder=f"{folder}/speed"))
            ratios.append(plain_s / cached_s)
            print(f"an epoch of {len(made)} clips, 4 frames: {plain_s:.2f} s, from the cache {cached_s:.2f} s")
        print(f"the cache is {statistics.median(ratios):.1f} times faster ({min(ratios):.1f} to {max(ratios):.1f})")


if __name__ == "__main__":
    main()
