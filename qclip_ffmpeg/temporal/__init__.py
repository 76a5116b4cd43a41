"""What a frame-by-frame score cannot see: freezes, stutter, flicker, black, cuts, as events, in the one pass.

    with open_video(path) as video:
        watch = TemporalWatch(video.info)
        for window in windows(watch.over(video), ...):
            watch.look(window)
        watch.end()
    watch.events()

Every frame leaves a Look: block means of its luma thumbnail. The detectors see one Look at a time, in order, so it does
not matter in what portions frames arrive, and hold a few seconds of them at most. A frame is judged when the two after
it are known. Combing alone is told window by window, of bands of lines of some frames (`combing.Fields`).

Frames are looked at AT_ONCE: between two frames a decoder fills the caches of the processor with its own, and what is
done a frame takes twice as long then. Whoever asks at the end of a segment hears of all its frames.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from math import inf

import msgspec

from qclip_ffmpeg.frame import Frame, VideoInfo
from qclip_ffmpeg.sampling import Window
from qclip_ffmpeg.temporal.combing import Fields
from qclip_ffmpeg.temporal.cuts import Cuts
from qclip_ffmpeg.temporal.drops import Drops
from qclip_ffmpeg.temporal.flicker import Flicker
from qclip_ffmpeg.temporal.light import BLACK_MARGIN, Black, Fades
from qclip_ffmpeg.temporal.looks import Look, Looker, Seen
from qclip_ffmpeg.temporal.repeats import Repeats
from qclip_ffmpeg.temporal.stamps import Stamps
from qclip_ffmpeg.temporal.timeline import Timeline
from qclip_ffmpeg.track import EVENT_FLAGS, TIME_DECIMALS, Event

BLACK_LIMITED = 16.0
"""8-bit code value of black in limited range; 0 in full."""
DEFAULT_FRAME_S = Fraction(1, 25)
AT_ONCE = 24
"""Frames that are looked at together; their thumbnails are held, thinned, and not their pictures."""
UNLIKE_AFTER_FREEZE = 0.8
"""Severity of a cut where a freeze ends, at least."""
TOO_SMALL = "the picture is too small to look for freezes, flicker and the like in it"


class TemporalWatch:
    """Watches every frame of one video, in order, and tells what happened. Other threads may ask it at any time.

    Args:
        info: of the video.
    """

    def __init__(self, info: VideoInfo) -> None:
        black = BLACK_LIMITED if info.color_range == "limited" else 0.0
        frame_s = 1 / info.frame_rate if info.frame_rate else None
        self._waiting: list[Seen] = []
        self._looker = Looker(black + BLACK_MARGIN)
        self._cuts = Cuts()
        shown_s = float(frame_s or DEFAULT_FRAME_S)
        self._repeats = Repeats(shown_s)
        self._drops = Drops()
        self._black = Black()
        self._fades = Fades(black)
        self._flicker = Flicker(black, shown_s)
        self._stamps = Stamps(info.time_base, frame_s)
        self._timeline = Timeline()
        self._fields = Fields()
        self._end_s = 0.0
        self._until_s = inf  # a fade may seem to go on behind the last frame
        self._too_small = False

    def over(self, frames: Iterable[Frame], mark_scenes: bool = False) -> Iterator[Frame]:
        """Hand the frames on, having seen them.

        Args:
            frames: of the video, in order.
            mark_scenes: say which frames start a scene. They are then handed on when they are judged, two frames late.
        """
        held: deque[Frame] = deque()
        for frame in frames:
            if not mark_scenes:
                self.see(frame)
                yield frame
                continue
            self._take_in(frame)
            held.append(frame)
            for is_cut in self._catch_up():
                yield marked(held.popleft(), is_cut)
        if mark_scenes:
            yield from (marked(frame, is_cut) for frame, is_cut in zip(held, self._judge_rest(), strict=True))

    def see(self, frame: Frame) -> None:
        """Take in the next frame."""
        self._take_in(frame)
        if len(self._waiting) == AT_ONCE:
            self._catch_up()

    def _take_in(self, frame: Frame) -> None:
        self._fields.add(frame)
        self._waiting.append(Seen.of(frame))

    def _catch_up(self) -> list[bool]:
        """Look at the frames that wait for it. Of every frame that is judged now: whether it starts a scene."""
        frames, self._waiting = self._waiting, []
        judged = []
        for frame, look in zip(frames, self._looker.looks(frames), strict=True):
            self._end_s = float(frame.time_s) + float(frame.duration_s)
            self._note(self._stamps.add(frame))
            if look is None:
                self._too_small = True
                judged += [*self._judge_rest(), False]
                self._all_over(float(frame.time_s))  # nobody knows whether it stays black, or still
                continue
            judged += [self._take(*known) for known in self._cuts.add(look)]
        return judged

    def look(self, window: Window) -> frozenset[str]:
        """Look back at the window that is just over.

        Returns:
            What happened in it, as flags of its segment, as far as is known by now.
        """
        self._catch_up()
        start_s, end_s = float(window.start_s), float(window.end_s)
        event = self._fields.event(start_s, end_s)
        self._note([event] if event is not None else [])
        flags = self._timeline.kinds_between(start_s, end_s)
        under_way = {"black": self._black.since_s, "flicker": self._flicker.since_s, "freeze": self._repeats.since_s}
        flags |= {kind for kind, since_s in under_way.items() if since_s is not None and since_s < end_s}
        return frozenset(flags & set(EVENT_FLAGS))

    def end(self) -> None:
        """No frame follows: what is under way is over."""
        self._catch_up()
        self._judge_rest()
        self._all_over(self._end_s)
        self._until_s = round(self._end_s, TIME_DECIMALS)

    def _all_over(self, now_s: float) -> None:
        self._note(self._repeats.end())
        self._note(self._black.end(now_s))
        self._note(self._fades.end())
        self._note(self._flicker.end())

    def events(self, until_s: float = inf) -> list[Event]:
        """Those that are known to be over and began before `until_s`, by time, cut off there or at the video's end."""
        until_s = min(until_s, self._until_s)
        began = [event for event in self._timeline.events() if event.start_s < until_s]
        return [event if event.end_s <= until_s else msgspec.structs.replace(event, end_s=until_s) for event in began]

    def warnings(self) -> list[str]:
        """What a reader of the events should know."""
        return [*([TOO_SMALL] if self._too_small else []), *self._timeline.warnings()]

    def _judge_rest(self) -> list[bool]:
        return [self._take(judged, cut) for judged, cut in self._cuts.end()]

    def _take(self, look: Look, cut: Event | None) -> bool:
        """Pass a judged look on. Returns whether it starts a scene."""
        if cut is not None and self._repeats.since_s is not None and cut.severity < UNLIKE_AFTER_FREEZE:
            cut = None  # the scene went on behind the freeze
        is_cut = cut is not None
        self._note([cut] if cut is not None else [])
        self._note(self._repeats.add(look, is_cut))
        self._note(self._drops.add(look, is_cut))
        self._note(self._black.add(look))
        self._note(self._fades.add(look, is_cut))
        self._note(self._flicker.add(look, is_cut))
        return is_cut

    def _note(self, events: Iterable[Event]) -> None:
        for event in events:
            self._timeline.add(event)


def marked(frame: Frame, is_cut: bool) -> Frame:
    return replace(frame, starts_scene=True) if is_cut else frame
