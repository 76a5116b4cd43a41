"""Windows -> SegmentScores on a device.

On a CPU the unit of work is one frame, always on one thread, several frames side by side: the arithmetic of a frame is
then the same whatever the thread count, and so is every digit of the result. It is also faster than splitting each
matrix product between cores.
"""

import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qclip_ffmpeg.checkpoint import LoadedModel
from qclip_ffmpeg.errors import QClipError, UsageError
from qclip_ffmpeg.model import Frozen, QClip
from qclip_ffmpeg.sampling import Window
from qclip_ffmpeg.track import SCORE_DECIMALS, TIME_DECIMALS, FrameTime, Levels, SegmentScore

T = TypeVar("T")
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16", "float16"]
LEVEL_DECIMALS = 6
WINDOWS_IN_WORK = 2  # so that no core waits at the end of a window


@dataclass(frozen=True, slots=True, eq=False)
class WindowViews:
    """A window and what the model is shown of it."""

    window: Window
    views: Tensor
    """(T, V, 3, 224, 224), R'G'B' in 0..1."""
    measures: Tensor | None = None
    """(M,), what the model's head is told beside them; None where it is told nothing."""


class Judged(NamedTuple):
    """What a model makes of a window."""

    raw: float
    """Its raw score; see `Card.scores`."""
    of_frames: NDArray[np.float64]
    """(T,), raw scores of its frames, each judged by itself."""
    levels: list[float]
    """Probabilities of the five levels."""
    features: Tensor
    """(D,), mean of the frames' features, float32 on the CPU."""


def cpu_count() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_device(device: Device) -> torch.device:
    """The device to run on: "auto" takes CUDA where there is one.

    Raises:
        UsageError: CUDA was asked for and there is none. Nothing else is used in its place.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        why = "this build of torch has no CUDA" if torch.version.cuda is None else "torch finds no CUDA device"
        raise UsageError(f"--device cuda: {why}; use --device cpu, or check the driver with nvidia-smi")
    return torch.device("cuda" if device == "cuda" or (device == "auto" and available) else "cpu")


class Scorer:
    """Holds a model on a device and scores windows in order.

    Args:
        model: from `checkpoint.load_model`. Moved to the device.
        device: where to run.
        precision: of the image tower; the head always runs in float32.
        threads: frames scored side by side on a CPU. Does not change the scores.

    Raises:
        UsageError: CUDA was asked for and there is none.
    """

    def __init__(
        self, model: LoadedModel, device: Device = "auto", precision: Precision = "float32", threads: int | None = None
    ) -> None:
        self.model = model
        self.device = choose_device(device)
        self.precision = precision
        self._threads = threads or cpu_count()
        self._qclip = model.qclip.to(self.device)

    def score(
        self, inputs: Iterable[WindowViews], in_work: int = WINDOWS_IN_WORK
    ) -> Generator[SegmentScore, None, None]:
        """Score windows as they come, in their order.

        Args:
            inputs: the windows.
            in_work: most windows held at a time. With 1 a window's score does not wait for the next window to come.
        """
        for shown, parts in self._each(inputs, self._frame_features, in_work):
            judged = judge_window(self._qclip, torch.cat(parts), shown.measures)
            yield self._segment_score(shown.window, judged)

    def judged(self, inputs: Iterable[WindowViews]) -> Iterator[Judged]:
        """What the model makes of each window before its card has a say, in order."""
        for item, parts in self._each(inputs, self._frame_features):
            yield judge_window(self._qclip, torch.cat(parts), item.measures)

    def frozen(self, inputs: Iterable[WindowViews]) -> Iterator[Frozen]:
        """What the frozen blocks make of windows as they come, float32 on the CPU: what adapters are trained on."""
        for item, parts in self._each(inputs, self._frozen_part):
            kept = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            if item.measures is not None:
                kept["measures"] = item.measures.expand(len(item.views), -1)
            yield kept

    def _each(
        self, inputs: Iterable[WindowViews], work: Callable[[Tensor], T], in_work: int = WINDOWS_IN_WORK
    ) -> Iterator[tuple[WindowViews, list[T]]]:
        """Each window with what `work` makes of its frames: (1, V, 3, S, S) at a time on a CPU, else all at once."""
        with ThreadPoolExecutor(self._threads) as pool, reproducible(self.device):
            waiting: deque[tuple[WindowViews, list[Future[T]]]] = deque()
            for item in inputs:
                units = item.views.tensor_split(len(item.views)) if self.device.type == "cpu" else (item.views,)
                waiting.append((item, [pool.submit(self._guarded, work, views) for views in units]))
                if len(waiting) == in_work:
                    yield gathered(*waiting.popleft())
            while waiting:
                yield gathered(*waiting.popleft())

    @torch.inference_mode()
    def _guarded(self, work: Callable[[Tensor], T], views: Tensor) -> T:
        """`work` on the device, in the precision asked for."""
        try:
            with self._autocast():
                return work(views.to(self.device))
        except torch.OutOfMemoryError:
            raise QClipError(
                f"--device {self.device.type}: out of memory with {len(views)} frames; "
                "say fewer --frames, --precision bfloat16, or --device cpu"
            ) from None

    def _frame_features(self, views: Tensor) -> Tensor:
        """(F, V, 3, S, S) -> (F, D) float32 on the CPU."""
        return self._qclip.frame_features(views).float().cpu()

    def _frozen_part(self, views: Tensor) -> Frozen:
        return {name: tensor.float().cpu() for name, tensor in self._qclip.frozen(views).items()}

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=getattr(torch, self.precision))

    def _segment_score(self, window: Window, judged: Judged) -> SegmentScore:
        card, domain, raw = self.model.card, self.model.domain, judged.raw
        score = float(card.scores(raw)) if math.isfinite(raw) else math.nan
        sampling = stderr_of_mean(card.scores(judged.of_frames, clipped=False))
        flags = set()
        if card.calibration is not None and not card.calibration.reaches(raw):
            flags.add("beyond_calibration")
        if domain is not None and domain.is_outside(judged.features):
            flags.add("out_of_domain")
        error = card.calibration.error_at(raw) if card.calibration is not None else None
        return segment_score(window, score, sampling, judged.levels, error, flags)


def gathered(item: WindowViews, parts: list[Future[T]]) -> tuple[WindowViews, list[T]]:
    return item, [part.result() for part in parts]


@torch.inference_mode()
def judge_window(qclip: QClip, features: Tensor, measures: Tensor | None) -> Judged:
    """Judge a window, and each of its frames by itself.

    Args:
        qclip: the model, on any device.
        features: of the window's frames, (T, D) float32, on any device: their mean is taken there.
        measures: of the window, (M,), where the model's head is told any.
    """
    device = next(qclip.parameters()).device
    seen = features.to(device)
    told = None if measures is None else measures.to(device).unsqueeze(0)
    levels, scored = qclip.judge(seen.unsqueeze(0), told)
    of_frames = qclip.judge(seen.unsqueeze(1), None if told is None else told.expand(len(seen), -1))[1]
    mean = features.mean(dim=0).cpu()
    return Judged(float(scored), of_frames.double().cpu().numpy(), levels[0].tolist(), mean)


def stderr_of_mean(values: NDArray[np.float64]) -> float | None:
    """Standard error of the mean of values, (N,), by their spread; None of a single one."""
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None


def segment_score(
    window: Window,
    score: float,
    sampling: float | None,
    probabilities: list[float],
    error: float | None = None,
    flags: Set[str] = frozenset(),
) -> SegmentScore:
    """Round and assemble what is reported of a window.

    Args:
        window: what was scored.
        score: within the model's range.
        sampling: standard error of the mean of the frames' scores; None with one frame.
        probabilities: of the levels.
        error: the model's own at that score; None without a calibration.
        flags: what was found in scoring, beside the window's.
    """
    finite = all(map(math.isfinite, [score, *probabilities]))
    parts = [part for part in (sampling, error) if part is not None and finite]
    return SegmentScore(
        index=window.index,
        start_s=round(float(window.start_s), TIME_DECIMALS),
        end_s=round(float(window.end_s), TIME_DECIMALS),
        start_pts=window.start_pts,
        score=round(score, SCORE_DECIMALS) if finite else None,
        score_stderr=round(math.hypot(*parts), SCORE_DECIMALS) if parts else None,
        sampling_stderr=round(sampling, SCORE_DECIMALS) if finite and sampling is not None else None,
        levels=Levels(*(round(p, LEVEL_DECIMALS) for p in probabilities)) if finite else None,
        frames=[FrameTime(f.pts, round(float(f.time_s), TIME_DECIMALS)) for f in window.frames],
        frame_count=window.frame_count,
        motion=round(window.motion, SCORE_DECIMALS),
        flags=sorted(window.flags | (flags if finite else {"not_finite"})),
    )


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Torch's settings of this process while a device scores, put back afterwards.

    A CPU does not split single operations between cores (frames run side by side instead); CUDA convolves in float32
    and not in TF32.
    """
    if device.type == "cuda":
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
