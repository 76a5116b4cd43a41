"""One item at a time, in a process of its own: its scores by our model and the peers, and what they cost."""

import csv
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from math import isfinite
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median

import ffmpeg
from msgspec import Struct
from torch import Tensor

from benchmarks.accuracy.items import Item
from benchmarks.accuracy.peers import PEERS, Shown, show
from qclip_ffmpeg.checkpoint import load_model, read_checkpoint
from qclip_ffmpeg.errors import QClipError, UsageError
from qclip_ffmpeg.ffmpeg import bundled_executable, run
from qclip_ffmpeg.frame import VideoInfo
from qclip_ffmpeg.inputs import InputOptions
from qclip_ffmpeg.reader import open_video
from qclip_ffmpeg.scorer import Scorer, WindowViews
from qclip_ffmpeg.showing import shown_of
from qclip_ffmpeg.train.clips import SamplingRecipe, clip_views
from qclip_ffmpeg.train.run import TEST_FILE
from qclip_ffmpeg.train.run_folder import MODEL_FILE
from qclip_ffmpeg.views import Display

OURS = "qclip"
"""Key of our model among the metrics."""
TIMED_FRAMES = 32
"""At least so many frames does FFmpeg filter to be timed: starting it must not count."""
BY_KEY = {peer.key: peer for peer in PEERS}


class Result(Struct, frozen=True):
    """What one item got."""

    values: dict[str, float]
    problems: dict[str, str]
    """Metric -> why it has no score."""


class Worker:
    """What a worker process holds."""

    scorer: Scorer
    sampling: SamplingRecipe
    left_out: Mapping[str, dict[str, Tensor]]
    """Content -> what a model that has not seen it has learned."""


def start_worker(model: str, sampling: SamplingRecipe, folds: Path | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    Worker.scorer = Scorer(load_model(model), "cpu", threads=1)
    Worker.sampling = sampling
    Worker.left_out = learned_without(folds) if folds else {}


def learned_without(folds: Path) -> dict[str, dict[str, Tensor]]:
    """Content -> the tensors of the fold's model that it tested.

    Args:
        folds: what `qclip-model train` wrote of a preset with [split] folds.
    """
    found = {}
    for fold in sorted(folds.glob("split-*")):
        _, tensors = read_checkpoint(fold / MODEL_FILE)
        with (fold / TEST_FILE).open(newline="", encoding="utf-8") as file:
            found |= {row["content"]: tensors for row in csv.DictReader(file)}
    return found


def measure_item(item: Item, keys: Sequence[str]) -> Result:
    """Scores of one item by the metrics named. What fails costs itself only."""
    values: dict[str, float] = {}
    problems: dict[str, str] = {}

    def attempt(key: str, score: Callable[[], float | None]) -> None:
        try:
            value = score()
        except Exception as error:  # a peer may raise anything
            problems[key] = (str(error) or type(error).__name__).splitlines()[0]
            return
        if value is None or not isfinite(value):
            problems[key] = "gives no finite score"
        else:
            values[key] = float(value)

    peers = [key for key in keys if key != OURS]
    try:
        views = clip_views(item.clip, Worker.sampling, Worker.scorer.model.card.config)
        if OURS in keys:
            attempt(OURS, partial(ours, item, views))
        if peers:
            with shown(item, views) as pictures:
                for key in peers:
                    attempt(key, partial(BY_KEY[key].score, pictures))
    except QClipError as error:
        problems.update({key: str(error).splitlines()[0] for key in keys if key not in values})
    return Result(values, problems)


def ours(item: Item, views: WindowViews) -> float | None:
    """What the probe would report of a segment: 0 to 100. Where there are folds, by the model that has not seen it."""
    if not Worker.left_out:
        return next(Worker.scorer.score([views])).score
    if item.clip.content not in Worker.left_out:
        raise UsageError(f"--folds: no fold tested the content {item.clip.content!r}")
    model = Worker.scorer.model
    model.qclip.load_state_dict(Worker.left_out[item.clip.content], strict=False)  # the tower is the same
    return float(model.card.scores(next(Worker.scorer.judged([views])).raw))


@contextmanager
def shown(item: Item, views: WindowViews) -> Iterator[Shown]:
    """The picked frames of an item, as its peers are given them."""
    places = [frame.index for frame in views.window.frames]
    info, display = info_of(item.clip.path), display_of(item)
    with tempfile.TemporaryDirectory() as folder:
        yield show(item.clip.path, info, display, places, item.reference, Path(folder))


def info_of(path: Path) -> VideoInfo:
    with open_video(str(path), InputOptions(threads=1)) as video:
        return video.info


def display_of(item: Item) -> Display:
    width_px, height_px = Worker.sampling.display
    return Display(width_px, item.clip.display_height_px or height_px)


def time_metrics(items: Sequence[Item], keys: Sequence[str]) -> dict[str, float]:
    """CPU seconds a frame, user and system, children included; the median over the items.

    Ours: from R'G'B' pictures in memory to the score, the resampling of its views included. Peers: from the pictures
    as displayed to the figure; of FFmpeg's filters the time that FFmpeg takes to read the same pictures is taken off.
    Decoding counts for nobody. Full-reference filters are timed on the pictures and themselves.
    """
    found: dict[str, list[float]] = {key: [] for key in keys}
    for item in items:
        try:
            views = clip_views(item.clip, Worker.sampling, Worker.scorer.model.card.config)
            with shown(item, views) as pictures:
                for key in keys:
                    with suppress(Exception):  # what made it fail was said when the item was scored
                        found[key].append(frame_cpu_s(key, item, views, pictures))
        except QClipError:
            continue
    return {key: median(spent) for key, spent in found.items() if spent}


def frame_cpu_s(key: str, item: Item, views: WindowViews, pictures: Shown) -> float:
    """CPU seconds a frame of one metric on one item."""
    count = len(views.window.frames)
    if key == OURS:
        return cpu_s(with_pictures_ready(item, views)) / count
    peer = BY_KEY[key]
    if peer.baseline is None:
        assert pictures.rgb  # read before the clock starts
        return cpu_s(partial(peer.measure, pictures)) / count
    repeats = -(-TIMED_FRAMES // count)
    long, again = pictures.folder / "repeated.nut", pictures.folder / "again.nut"
    if not long.exists():
        looped = ffmpeg.input(str(pictures.pictures)).filter("loop", loop=repeats - 1, size=count)
        run(looped.output(str(long), vcodec="rawvideo"), program=bundled_executable())
        again.symlink_to(long)  # ffmpeg-python takes inputs of one name for one input
    repeated = replace(pictures, source=again, pictures=long, reference=long, reference_size_px=pictures.size_px)
    net_s = cpu_s(partial(peer.measure, repeated)) - cpu_s(partial(peer.baseline, repeated))
    return max(0.0, net_s) / (repeats * count)


def with_pictures_ready(item: Item, views: WindowViews) -> Callable[[], object]:
    """Our score of a window whose frames are converted already, as something to be timed."""
    converted = [(frame, frame.rgb()) for frame in views.window.frames]
    ready = tuple(replace(frame, convert=partial(lambda rgb: rgb, rgb)) for frame, rgb in converted)
    window = replace(views.window, frames=ready)
    info, display, config = info_of(item.clip.path), display_of(item), Worker.scorer.model.card.config

    def score() -> object:
        return ours(item, shown_of(window, info, display, config, Worker.sampling.seed))

    return score


def cpu_s(work: Callable[[], object], rounds: int = 2) -> float:
    """Least CPU seconds of `work` in several rounds: the first one may have to load a library."""
    spent = []
    for _ in range(rounds):
        began_s = cpu_clock_s()
        work()
        spent.append(cpu_clock_s() - began_s)
    return min(spent)


def cpu_clock_s() -> float:
    children = getrusage(RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
