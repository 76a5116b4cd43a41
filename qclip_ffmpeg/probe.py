"""probe(): one video -> QualityTrack, the whole path in one readable place."""

import queue
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, TypeVar

import msgspec
import numpy as np
import torch
from torch import Tensor

from qclip_ffmpeg import __version__, reader
from qclip_ffmpeg.checkpoint import LoadedModel, load_model
from qclip_ffmpeg.errors import QClipError
from qclip_ffmpeg.frame import VideoInfo
from qclip_ffmpeg.inputs import InputOptions, displayed_name
from qclip_ffmpeg.model import ModelConfig
from qclip_ffmpeg.reader import VideoReader, open_video
from qclip_ffmpeg.sampling import Policy, Window, windows
from qclip_ffmpeg.scorer import Scorer, WindowViews
from qclip_ffmpeg.track import (
    SCHEMA_VERSION,
    TIME_DECIMALS,
    Model,
    QualityTrack,
    SegmentScore,
    Settings,
    Source,
    Tool,
    VideoStream,
    pool,
)
from qclip_ffmpeg.views import Display, frame_views

T = TypeVar("T")

WINDOWS_AHEAD = 2  # decoded while the scorer is busy; bounds memory
INTERRUPTED = "the measurement was interrupted"


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """How to measure. The defaults are what `qclip-probe FILE` does."""

    segment_s: Fraction | Literal["keyframes"] = Fraction(4)
    """Length of a segment in seconds."""
    sampling: Policy = "motion"
    frames_per_window: int | None = None
    """Most frames scored a segment; the model's own default when None."""
    display: Display = field(default=Display(1920, 1080))
    seed: int = 0


@dataclass(slots=True)
class Measurement:
    """A measurement under way: what has been scored so far, and the track made of it."""

    name: str
    scorer: Scorer
    settings: ProbeSettings
    options: InputOptions
    video: VideoReader | None = None
    segments: list[SegmentScore] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    frame_count: int = 0
    began_s: float = field(default_factory=time.monotonic)

    @property
    def expected_s(self) -> float | None:
        """Seconds of the input there are to score, as far as the container says."""
        if self.video is None or (end_s := self.video.info.duration_s) is None:
            return None
        rest_s = end_s - self.options.start_s
        return float(rest_s if self.options.duration_s is None else min(rest_s, self.options.duration_s))

    @property
    def done_s(self) -> float:
        """Seconds of the input that are scored."""
        return self.segments[-1].end_s - float(self.options.start_s) if self.segments else 0.0

    @property
    def frames_per_window(self) -> int:
        return self.settings.frames_per_window or self.scorer.model.card.frames_per_window

    def inputs(self, source: str) -> Generator[WindowViews, None, None]:
        """Decode, sample and resample; runs ahead of the scorer in its own thread."""
        settings = self.settings
        config = self.scorer.model.card.config
        with open_video(source, self.options) as video:
            self.video = video
            for window in windows(
                video,
                segment_s=settings.segment_s,
                frames_per_window=self.frames_per_window,
                policy=settings.sampling,
                seed=settings.seed,
                start_s=self.options.start_s,
            ):
                yield WindowViews(window, frame_views_of(window, video.info, settings.display, config, settings.seed))

    def track(self, timing: bool = False) -> QualityTrack:
        """The track of what has been scored so far."""
        video = self.video
        damage = video.damage if video else None
        problems = [*self.problems, *([damage] if damage else [])]
        segments = list(self.segments)
        if damage and segments:
            last = segments[-1]
            segments[-1] = msgspec.structs.replace(last, flags=sorted({*last.flags, "truncated"}))
        return QualityTrack(
            schema="qclip-track",
            schema_version=SCHEMA_VERSION,
            tool=Tool("qclip-ffmpeg", __version__, library_versions()),
            source=describe_source(self.name, video),
            model=describe_model(self.scorer.model),
            settings=self._describe_settings(),
            segments=segments,
            pooled=pool(segments),
            events=[],
            warnings=[*problems, *(video.warnings if video else []), *model_warnings(self.scorer.model, self.settings)],
            complete=not problems,
            timing=self._timing() if timing else msgspec.UNSET,
        )

    def _timing(self) -> dict[str, float]:
        spent_s = time.monotonic() - self.began_s
        return {"spent_s": round(spent_s, 3), "frames_per_s": round(self.frame_count / spent_s, 2)}

    def _describe_settings(self) -> Settings:
        settings, options, card = self.settings, self.options, self.scorer.model.card
        segment = "keyframes" if settings.segment_s == "keyframes" else f"{float(settings.segment_s):g}s"
        shown = settings.display.shown_size_px(self.video.info) if self.video else None
        return Settings(
            segment=segment,
            frames_per_window=self.frames_per_window,
            sampling=settings.sampling,
            seed=settings.seed,
            views=list(card.config.views),
            display=str(settings.display),
            display_height_px=shown[1] if shown else None,
            start_s=round(float(options.start_s), TIME_DECIMALS),
            duration_s=rounded(options.duration_s),
            precision=self.scorer.precision,
            device=self.scorer.device.type,
        )


def probe(
    source: str,
    *,
    scorer: Scorer | None = None,
    settings: ProbeSettings | None = None,
    options: InputOptions | None = None,
    on_segment: Callable[[Measurement, SegmentScore], None] | None = None,
    timing: bool = False,
) -> QualityTrack:
    """Measure one video in one pass.

    Args:
        source: a path, a URL, or "-" for standard input.
        scorer: holds the model; made for the bundled default when None. Reuse it for several inputs.
        settings: how to measure.
        options: what ffmpeg's input options would say of the source.
        on_segment: called after each segment is scored, in order.
        timing: put the time spent into the track; it then differs from run to run.

    Returns:
        The track. Where the input broke off, or Ctrl-C came after the first segment, it holds what was measured until
        then, with `complete` False and the reason as the first of its warnings.

    Raises:
        UsageError: the source or the options cannot be used.
        InputError: not one frame could be measured.
    """
    scorer = scorer or Scorer(load_model())
    measurement = Measurement(displayed_name(source), scorer, settings or ProbeSettings(), options or InputOptions())
    ahead = run_ahead(measurement.inputs(source), WINDOWS_AHEAD)
    try:
        with closing(scorer.score(ahead)) as scored:
            for segment in scored:
                measurement.segments.append(segment)
                measurement.frame_count += segment.frame_count
                if on_segment is not None:
                    on_segment(measurement, segment)
    except KeyboardInterrupt:
        if not measurement.segments:
            raise
        measurement.problems.append(INTERRUPTED)
    finally:
        ahead.close()
    return measurement.track(timing)


def frame_views_of(window: Window, info: VideoInfo, display: Display, config: ModelConfig, seed: int) -> Tensor:
    """What the model is shown of a window: (T, len(views), 3, S, S), R'G'B' in 0..1.

    The n-th frame of every window has its mosaic tiles at the same places, so that two encodes of one content are
    looked at alike.
    """
    shown_size_px = display.shown_size_px(info)
    return torch.stack(
        [
            frame_views(
                frame.rgb(),
                shown_size_px,
                info.transfer,
                config.views,
                np.random.default_rng([seed, place]),
                config.backbone.image_px,
            )
            for place, frame in enumerate(window.frames)
        ]
    )


def failed_track(
    source: str, error: QClipError, scorer: Scorer, settings: ProbeSettings, options: InputOptions
) -> QualityTrack:
    """The incomplete track of an input that could not be measured at all, to keep its place among several."""
    return Measurement(displayed_name(source), scorer, settings, options, problems=[str(error)]).track()


def run_ahead(items: Generator[T, None, None], depth: int) -> Generator[T, None, None]:
    """Iterate `items` in a thread of its own, at most `depth` items ahead. An exception in it is raised here.

    Closing early stops the thread at its next item; a thread that is blocked reading a pipe is left behind (daemon).
    """
    ready: queue.Queue[T | BaseException | None] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: T | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            break

    def produce() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    break
            put(None)
        except BaseException as error:
            put(error)
        finally:
            items.close()  # closes what the generator holds open, in the thread that uses it

    thread = threading.Thread(target=produce, name="decode", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
        thread.join()
    finally:
        stopped.set()
        thread.join(timeout=1)


def library_versions() -> dict[str, str]:
    """Versions of everything that decides the numbers."""
    return {"torch": str(torch.__version__), "numpy": np.__version__, **reader.library_versions()}


def describe_source(name: str, video: VideoReader | None) -> Source:
    """What the track says of its source; little, if it could not be opened."""
    if video is None:
        return Source(name, None, None, None, None)
    info = video.info
    stream = VideoStream(
        codec=info.codec,
        decoder=info.decoder,
        width_px=info.width_px,
        height_px=info.height_px,
        pixel_format=info.pixel_format,
        frame_rate=str(info.frame_rate) if info.frame_rate else None,
        time_base=str(info.time_base),
        sample_aspect_ratio=str(info.sample_aspect_ratio),
        rotation_deg=info.rotation_deg,
        mirrored=info.mirrored,
        color_matrix=info.color_matrix,
        color_range=info.color_range,
        transfer=info.transfer,
    )
    return Source(name, info.container, rounded(info.start_s), rounded(info.duration_s), stream)


def rounded(seconds: Fraction | None) -> float | None:
    return None if seconds is None else round(float(seconds), TIME_DECIMALS)


def describe_model(model: LoadedModel) -> Model:
    """What the track says of its model."""
    card = model.card
    return Model(
        id=card.id,
        backbone=card.config.backbone.architecture,
        backbone_sha256=card.backbone_sha256,
        weights_sha256=model.weights_sha256,
        calibration=card.calibration,
        score_range=card.score_range,
        status=card.status,
    )


def model_warnings(model: LoadedModel, settings: ProbeSettings) -> list[str]:
    """What a reader must know of the model before trusting the scores."""
    card = model.card
    found = []
    if card.status != "trained":
        found.append(f"the model {card.id} is {card.status}: good for comparing encodes, not for deciding a gate")
    elif card.calibration is None:
        found.append(f"the model {card.id} is not calibrated: its scores may not be compared with another model's")
    if str(settings.display) != card.display:
        found.append(f"the model was trained at display {card.display}; scores at {settings.display} are less certain")
    return found
