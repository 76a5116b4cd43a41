"""What a frame-by-frame score cannot see: freezes, stutter, flicker, black, cuts, as events, in the one pass.

    with open_video(path) as video:
        watch = TemporalWatch(video.info)
        for frame in watch.over(video): ...
        watch.events()

Every frame leaves a Look: block means of its luma thumbnail. The detectors see one Look at a time, in order, so it does
not matter in what portions frames arrive, and hold a few seconds of them at most.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction

from qclip_ffmpeg.frame import Frame, VideoInfo
from qclip_ffmpeg.temporal.cuts import Cuts
from qclip_ffmpeg.temporal.light import BLACK_MARGIN, Black, Fades, Flicker
from qclip_ffmpeg.temporal.looks import Look, Looker
from qclip_ffmpeg.temporal.repeats import Repeats
from qclip_ffmpeg.temporal.stamps import Stamps
from qclip_ffmpeg.temporal.timeline import Timeline
from qclip_ffmpeg.track import Event

BLACK_LIMITED = 16.0
"""8-bit code value of black in limited range; 0 in full."""
DEFAULT_FRAME_S = Fraction(1, 25)


class TemporalWatch:
    """Watches every frame of one video, in order, and tells what happened.

    Args:
        info: of the video.
    """

    def __init__(self, info: VideoInfo) -> None:
        black = BLACK_LIMITED if info.color_range == "limited" else 0.0
        frame_s = 1 / info.frame_rate if info.frame_rate else None
        self._looker = Looker(black + BLACK_MARGIN)
        self._cuts = Cuts()
        self._repeats = Repeats(float(frame_s or DEFAULT_FRAME_S))
        self._black = Black()
        self._fades = Fades(black)
        self._flicker = Flicker(black)
        self._stamps = Stamps(info.time_base, frame_s)
        self._timeline = Timeline()
        self._end_s = 0.0
        self._ended = False

    def over(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Hand the frames on as they are, having seen them."""
        for frame in frames:
            self.see(frame)
            yield frame

    def see(self, frame: Frame) -> None:
        """Take in the next frame."""
        self._end_s = float(frame.time_s + frame.duration_s)
        for event in self._stamps.add(frame):
            self._timeline.add(event)
        if (look := self._looker.look(frame)) is None:
            return
        for judged, cut in self._cuts.add(look):
            self._take(judged, cut)

    def look(self, frames: Iterable[Frame]) -> None:
        """Look closely at the frames that were picked."""

    def _take(self, look: Look, cut: Event | None) -> None:
        if cut is not None:
            self._timeline.add(cut)
        is_cut = cut is not None
        for found in (
            self._repeats.add(look, is_cut),
            self._black.add(look),
            self._fades.add(look, is_cut),
            self._flicker.add(look, is_cut),
        ):
            for event in found:
                self._timeline.add(event)

    def events(self) -> list[Event]:
        """All events so far, by time. No frame may follow."""
        if not self._ended:
            self._ended = True
            for judged, cut in self._cuts.end():
                self._take(judged, cut)
            for part in (self._repeats, self._black, self._fades, self._flicker):
                for event in part.end(self._end_s):
                    self._timeline.add(event)
        return self._timeline.events()

    def warnings(self) -> list[str]:
        """What a reader of the events should know."""
        return self._timeline.warnings()
