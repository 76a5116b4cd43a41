"""probe() and probe_many(): videos -> QualityTracks, the whole path in one readable place."""

import math
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from fractions import Fraction
from numbers import Rational
from typing import Literal, get_args

import msgspec

from qclip_ffmpeg import __version__
from qclip_ffmpeg.active_picture import ActivePicture, Bars
from qclip_ffmpeg.ahead import run_ahead
from qclip_ffmpeg.checkpoint import load_model
from qclip_ffmpeg.description import (
    bars_warnings,
    describe_model,
    describe_source,
    domain_warnings,
    dropped_warnings,
    library_versions,
    model_warnings,
    rounded,
)
from qclip_ffmpeg.domain import is_odd_size
from qclip_ffmpeg.errors import QClipError, UsageError
from qclip_ffmpeg.inputs import InputOptions, VideoSource, displayed_name
from qclip_ffmpeg.reader import VideoReader, open_video
from qclip_ffmpeg.sampling import MOST_FRAMES, Policy, Window, windows
from qclip_ffmpeg.scorer import WINDOWS_IN_WORK, Scorer, WindowViews, segment_score
from qclip_ffmpeg.showing import shown_of
from qclip_ffmpeg.temporal import TemporalWatch
from qclip_ffmpeg.temporal.figure import with_temporal
from qclip_ffmpeg.track import (
    SCHEMA_VERSION,
    TIME_DECIMALS,
    Area,
    QualityTrack,
    SegmentScore,
    Settings,
    Tool,
    pool,
)
from qclip_ffmpeg.views import Display

Cuts = Literal["ignore", "split"]

WINDOWS_AHEAD = 2  # decoded while the scorer is busy; bounds memory
WINDOWS_IN_HAND = 2  # with --drop: one is being scored, one waits
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
    bars: Bars = "cut"
    """"cut": black bars around the picture are left out."""
    cuts: Cuts = "ignore"
    """"split": a segment ends where a scene does, too, so that no window holds frames of two."""
    live: bool = False
    """Each segment is reported when it is scored, and does not wait for the next one. The scores are the same."""
    drop: bool = False
    """A window that comes while one is being scored and another one waits is not scored; decoding never waits."""

    def __post_init__(self) -> None:
        """Raises UsageError where a field cannot be."""
        length, frames = self.segment_s, self.frames_per_window
        for wrong, said in (
            (
                length != "keyframes" and not (isinstance(length, Rational) and length > 0),
                f'segment_s = {length!r}: give seconds above 0 as a Fraction, or "keyframes"',
            ),
            (
                self.sampling not in get_args(Policy),
                f"sampling = {self.sampling!r}: choose one of {', '.join(get_args(Policy))}",
            ),
            (
                frames is not None and not 1 <= frames <= MOST_FRAMES,
                f"frames_per_window = {frames}: give 1 to {MOST_FRAMES}",
            ),
            (self.cuts not in get_args(Cuts), f"cuts = {self.cuts!r}: choose one of {', '.join(get_args(Cuts))}"),
            (not isinstance(self.display, Display), f"display = {self.display!r}: give a Display"),
        ):
            if wrong:
                raise UsageError(said)


@dataclass(slots=True)
class Measurement:
    """A measurement under way: what has been scored so far, and the track made of it."""

    name: str
    scorer: Scorer
    settings: ProbeSettings
    options: InputOptions
    video: VideoReader | None = None
    watch: TemporalWatch | None = None
    """Sees every frame; knows the events."""
    segments: list[SegmentScore] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    frame_count: int = 0
    coded_bytes: int = 0
    """Size of the packets of all frames reported."""
    pictures: deque[tuple[Area | None, bool, int]] = field(default_factory=deque)
    """Of each window that is read and not yet scored: active picture, whether its bars are new, size of its packets."""
    dropped: deque[Window] = field(default_factory=deque)
    """Windows that will not be scored and are not yet reported, without their frames."""
    cut_off: Callable[[], str | None] = lambda: None
    """As `open_video` takes it."""
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
        active = ActivePicture(settings.bars)
        with open_video(source, self.options, self.cut_off) as video:
            self.video = video
            self.watch = watch = TemporalWatch(video.info)
            split = settings.cuts == "split"
            try:
                for window in windows(
                    watch.over(video, mark_scenes=split),
                    segment_s=settings.segment_s,
                    frames_per_window=self.frames_per_window,
                    policy=settings.sampling,
                    seed=settings.seed,
                    start_s=self.options.start_s,
                    split_at_cuts=split,
                ):
                    window = replace(window, flags=window.flags | watch.look(window))
                    if video.damage is not None:  # so this is the last one
                        window = replace(window, flags=window.flags | {"truncated"})
                    if settings.drop and len(self.pictures) == WINDOWS_IN_HAND:
                        self.dropped.append(replace(window, frames=()))
                        continue
                    shown = shown_of(window, video.info, settings.display, config, settings.seed, active)
                    self.pictures.append((active.area_px, active.changed, window.coded_bytes))
                    yield shown
            finally:  # what was under way when it was stopped happened, too
                watch.end()

    def report(self, scored: Iterable[SegmentScore]) -> Iterator[SegmentScore]:
        """Take in segments as they are scored, and what was dropped between them; hand them on as they are reported.

        Where scoring fails in the middle they end there, and the reason is one of the problems.
        """
        try:
            for segment in scored:
                yield from self._dropped_next()  # it came after the last look
                yield self._add(segment)
                yield from self._dropped_next()
        except QClipError as error:
            if not self.segments:
                raise
            self.problems.append(str(error))
        yield from self._dropped_next()

    def _dropped_next(self) -> Iterator[SegmentScore]:
        """The dropped segments that come next in time."""
        while self.dropped and self.dropped[0].index == len(self.segments):
            window = self.dropped.popleft()
            self.segments.append(dropped_segment(window))
            self.coded_bytes += window.coded_bytes
            yield self.segments[-1]

    def _add(self, segment: SegmentScore) -> SegmentScore:
        """Take in what was scored next. Returns it as it is reported, with the picture that was scored."""
        area_px, changed, coded_bytes = self.pictures.popleft()
        flags = {*segment.flags, "bars_changed"} if changed else set(segment.flags)
        if self.scorer.model.domain is not None and area_px is not None and is_odd_size(area_px.width, area_px.height):
            flags.add("out_of_domain")
        self.segments.append(msgspec.structs.replace(segment, flags=sorted(flags), active_picture_px=area_px))
        self.frame_count += segment.frame_count
        self.coded_bytes += coded_bytes
        return self.segments[-1]

    def track(self, timing: bool = False) -> QualityTrack:
        """The track of what has been scored so far."""
        video = self.video
        damage = video.damage if video else None
        problems = [*self.problems, *([damage] if damage else [])]
        segments = list(self.segments)
        until_s = segments[-1].end_s if segments else 0.0  # decoding is ahead of what is scored
        events = self.watch.events(until_s) if self.watch else []
        pooled = pool(segments, self.scorer.model.card.noise_band)
        if self.watch is not None:
            pooled = with_temporal(pooled, events, segments, self.scorer.model.card.score_range)
        return QualityTrack(
            schema="qclip-track",
            schema_version=SCHEMA_VERSION,
            tool=Tool("qclip-ffmpeg", __version__, library_versions()),
            source=describe_source(self.name, video, self.coded_bytes, segments),
            model=describe_model(self.scorer.model),
            settings=self._describe_settings(),
            segments=segments,
            pooled=pooled,
            events=events,
            warnings=[
                *problems,
                *(video.warnings if video else []),
                *bars_warnings(segments),
                *domain_warnings(segments),
                *dropped_warnings(segments),
                *(self.watch.warnings() if self.watch else []),
                *model_warnings(self.scorer.model, self.settings.display),
            ],
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
            bars=settings.bars,
            cuts=settings.cuts,
        )


def probe(
    source: VideoSource,
    *,
    scorer: Scorer | None = None,
    settings: ProbeSettings | None = None,
    options: InputOptions | None = None,
    on_segment: Callable[[Measurement, SegmentScore], None] | None = None,
    timing: bool = False,
    cut_off: Callable[[], str | None] = lambda: None,
) -> QualityTrack:
    """Measure one video in one pass.

    Args:
        source: a path, a URL, or "-" for standard input.
        scorer: holds the model; made for the bundled default when None. Reuse it for several inputs (see `probe_many`).
        settings: how to measure.
        options: what ffmpeg's input options would say of the source.
        on_segment: called after each segment is scored, in order.
        timing: put the time spent into the track; it then differs from run to run.
        cut_off: as `open_video` takes it.

    Returns:
        The track. Where the input broke off, or scoring failed or Ctrl-C came after the first segment, it holds what
        was measured until then, with `complete` False and the reason as the first of its warnings.

    Raises:
        UsageError: the source or the options cannot be used.
        InputError: not one frame could be measured.
    """
    source = os.fspath(source)
    scorer = scorer or Scorer(load_model())
    settings = settings or ProbeSettings()
    measurement = Measurement(displayed_name(source), scorer, settings, options or InputOptions(), cut_off=cut_off)
    in_work = 1 if settings.live or settings.drop else WINDOWS_IN_WORK
    ahead = run_ahead(measurement.inputs(source), WINDOWS_AHEAD)
    try:
        with closing(ahead), closing(scorer.score(ahead, in_work)) as scored:
            for segment in measurement.report(scored):
                if on_segment is not None:
                    on_segment(measurement, segment)
        return measurement.track(timing)
    except KeyboardInterrupt:
        if not measurement.segments:
            raise
        measurement.problems.append(INTERRUPTED)
    return measurement.track(timing)


def probe_many(
    sources: Iterable[VideoSource],
    *,
    scorer: Scorer | None = None,
    settings: ProbeSettings | None = None,
    options: InputOptions | None = None,
    on_segment: Callable[[Measurement, SegmentScore], None] | None = None,
    on_error: Callable[[VideoSource, QClipError], None] | None = None,
    timing: bool = False,
    cut_off: Callable[[], str | None] = lambda: None,
) -> Iterator[QualityTrack]:
    """Measure several videos with one model: a track an input, in their order, each when it is asked for.

    An input that cannot be measured costs itself only: its track has no segments, `complete` False and the reason as
    the first of its warnings.

    Args:
        sources: inputs as `probe` takes them; the next one is taken when the track before it has been.
        scorer: holds the model; made for the bundled default, with the first track, when None.
        settings: how to measure, the same for all.
        options: what ffmpeg's input options would say of each of them.
        on_segment: called after each segment is scored, in order.
        on_error: called with an input that cannot be measured and the reason, before its track is yielded.
        timing: put the time spent into the tracks.
        cut_off: as `open_video` takes it.

    Raises:
        Exception: what a callback raises.
        TypeError: `sources` is one path, not several.
        KeyboardInterrupt: Ctrl-C came before the first segment of an input. Where it came later, that input's track,
            incomplete, is the last one.
    """
    if isinstance(sources, str):
        raise TypeError(f"probe_many() takes several inputs, not one path ({sources!r}); use probe()")
    scorer = scorer or Scorer(load_model())
    settings, options = settings or ProbeSettings(), options or InputOptions()
    callers: list[Exception] = []

    def tell(measurement: Measurement, segment: SegmentScore) -> None:
        try:
            if on_segment is not None:
                on_segment(measurement, segment)
        except Exception as error:
            callers.append(error)
            raise

    for source in sources:
        try:
            track = probe(
                source,
                scorer=scorer,
                settings=settings,
                options=options,
                on_segment=tell,
                timing=timing,
                cut_off=cut_off,
            )
        except QClipError as error:
            if callers:  # no fault of the input
                raise
            if on_error is not None:
                on_error(source, error)
            track = failed_track(source, error, scorer, settings, options)
        yield track
        if INTERRUPTED in track.warnings:
            return


def failed_track(
    source: VideoSource, error: QClipError, scorer: Scorer, settings: ProbeSettings, options: InputOptions
) -> QualityTrack:
    """The incomplete track of an input that could not be measured at all, to keep its place among several."""
    source = os.fspath(source)
    try:
        name = displayed_name(source)
    except UsageError:  # no URL, and nobody can tell what in it is a password
        name = source.partition("://")[0] + "://"
    return Measurement(name, scorer, settings, options, problems=[str(error)]).track()


def dropped_segment(window: Window) -> SegmentScore:
    """What is reported of a window that was not scored: when it was and how it moved, and no score."""
    nothing = segment_score(window, math.nan, None, [])
    return msgspec.structs.replace(nothing, flags=sorted({*nothing.flags, "dropped"} - {"not_finite"}))
