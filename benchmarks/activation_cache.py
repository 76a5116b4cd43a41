"""Training from the activation cache against training without it: are the losses the same, and how much faster is it?

    python benchmarks/activation_cache.py

The bundled backbone, both views, adapters on the last third of its blocks: after 7 and 8 of all 8, and after 5 and 6
where it is left after block 6 as the bundled model leaves it. On encodes of the example clip. Losses: 20 steps, each a
batch of all clips. Speed: the second epoch of a run without the cache and of one with it, in turn, three times.
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
from qclip_ffmpeg.train.loop import Trainer
from qclip_ffmpeg.train.run_folder import EpochRow
from qclip_ffmpeg.train.splits import Split

CRFS = (18, 22, 26, 30, 34, 38, 42, 46)
LEFT_AFTER = {8: 7, 6: 5}
"""Last block that runs -> first adapted one."""
STEPS = 20
ROUNDS = 3


def clips(folder: Path) -> list[Clip]:
    """The example clip (5 s, as rated clips are long) at several qualities; the label is only what training needs."""
    made = []
    for crf in CRFS:
        path = folder / f"crf{crf}.mp4"
        run(ffmpeg.input(str(EXAMPLE)).output(str(path), vcodec="libx264", preset="medium", crf=crf, an=None))
        made.append(Clip(path, path.name, 100.0 - crf, "one", None, None, 0))
    return made


def model(last_block: int) -> NetworkRecipe:
    """The tower, left after a block, with shared adapters on its last third."""
    return NetworkRecipe(
        backbone=BUNDLED,
        views=("whole", "mosaic"),
        readout=Statistics((4, last_block), ("class", "mean", "std")),
        levels="vectors",
        adapters=SharedAdapter(share="core", dim=64, first_block=LEFT_AFTER[last_block]),
    )


def trained(
    network: NetworkRecipe, made: list[Clip], frames: int, epochs: int, batch: int, cache: CacheRecipe | None
) -> tuple[list[EpochRow], float]:
    """The log of a run, and the seconds its last epoch took."""
    sampling = SamplingRecipe(frames=frames)
    optimiser = OptimiserRecipe(epochs=epochs, batch=batch)
    recipe = TrainRecipe(
        model=network, data=LabelSource(labels="", score_range=(0, 100)), sampling=sampling, optimiser=optimiser
    )
    start = untrained(recipe, None)
    activations = Activations(Scorer(start, "cpu"), made, sampling, cache)
    activations.fill(lambda *_: None)
    began_s = 0.0

    def note_start(stage: str, done: int, _: int) -> None:
        nonlocal began_s
        if stage.startswith(f"epoch {epochs} ") and not done:
            began_s = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        everything = Split(tuple(range(len(made))), (), ())
        trainer = Trainer(start, activations, made, everything, optimiser, Path(folder) / "run", "benchmark")
        trainer.run(note_start)
        return trainer.rows, time.perf_counter() - began_s


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = clips(Path(folder))
        plain, _ = trained(model(6), made, 1, STEPS, len(made), None)
        for precision in ("float32", "float16"):
            cache = CacheRecipe(folder=f"{folder}/{precision}", precision=precision)
            cached, _ = trained(model(6), made, 1, STEPS, len(made), cache)
            off = [abs(a.loss - b.loss) for a, b in zip(plain, cached, strict=True)]
            relative = max(o / row.loss for o, row in zip(off, plain, strict=True))
            print(
                f"{precision} cache, {STEPS} steps, loss {plain[0].loss:.4f} to {plain[-1].loss:.4f}: differs by at "
                f"most {max(off):.1e}, relative {relative:.1e}; in the first step by {off[0]:.1e}"
            )
        for last_block, first_adapted in LEFT_AFTER.items():
            ratios = []
            for _ in range(ROUNDS):
                _, plain_s = trained(model(last_block), made, 4, 2, 4, None)
                cache = CacheRecipe(folder=f"{folder}/speed{last_block}")
                _, cached_s = trained(model(last_block), made, 4, 2, 4, cache)
                ratios.append(plain_s / cached_s)
                print(f"an epoch of {len(made)} clips, 4 frames: {plain_s:.2f} s, from the cache {cached_s:.2f} s")
            print(
                f"{last_block} blocks, adapters after {first_adapted} to {last_block}: the cache is "
                f"{statistics.median(ratios):.1f} times faster ({min(ratios):.1f} to {max(ratios):.1f})"
            )


if __name__ == "__main__":
    main()
