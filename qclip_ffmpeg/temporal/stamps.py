"""Time stamps that leave out frames, or give two frames one time."""

from collections import deque
from collections.abc import Iterator
from fractions import Fraction

from qclip_ffmpeg.temporal.looks import Seen
from qclip_ffmpeg.track import Event

REMEMBERED = 31
"""Steps from stamp to stamp that say what is usual."""
KNOWN_FROM = 5
ORDINARY = 0.25
"""Of the usual step, by which another may differ and be passed over at once."""
GAP = 1.5
"""Of the usual step, from which on a frame is missing."""
DUPLICATE = 0.3
"""Of the usual step, up to which two frames have one time."""
UNEVEN_SHARE = 0.2
"""Of the steps remembered that are not usual, from which on the frame rate is variable, and nothing is reported."""
TICKS = 2
"""Of the time base by which stamps may be rounded."""
LONG_GAP_S = 0.2


class Stamps:
    """Frames -> pts_gap and pts_duplicate events.

    Args:
        time_base: seconds a unit of `Frame.pts`.
        frame_s: how long a frame is shown by the container's word, in seconds; None where it does not say.
    """

    def __init__(self, time_base: Fraction, frame_s: Fraction | None) -> None:
        self._unit_s = float(time_base)
        self._declared_s = float(frame_s) if frame_s else None
        self._steps_s: deque[float] = deque(maxlen=REMEMBERED)
        self._before: Seen | None = None
        self._known_s: float | None = None  # the usual step when it was last looked at
        self._owed_s = 0.0  # what a step was too short by: the next one makes up for it

    def add(self, frame: Seen) -> Iterator[Event]:
        before, self._before = self._before, frame
        if before is None or before.pts is None or frame.pts is None:
            return
        step_s = (frame.pts - before.pts) * self._unit_s
        if self._known_s is not None and abs(step_s - self._known_s) < ORDINARY * self._known_s:
            self._steps_s.append(step_s)
            self._owed_s = 0.0
            return
        usual_s = self._known_s = self._usual_s()
        self._steps_s.append(step_s)
        if usual_s is None or usual_s <= 0:
            return
        slack_s = TICKS * self._unit_s
        odd = sum(not DUPLICATE * usual_s < s < GAP * usual_s + slack_s for s in self._steps_s)
        if odd > max(2, UNEVEN_SHARE * len(self._steps_s)):
            return
        owed_s, self._owed_s = self._owed_s, 0.0
        if step_s - owed_s > GAP * usual_s + slack_s:
            missing_s = step_s - usual_s
            start_s = float(before.time_s) + usual_s
            end_s = max(start_s, float(frame.time_s))
            sure = min(1.0, 0.5 * step_s / (GAP * usual_s))
            yield Event("pts_gap", start_s, end_s, min(1.0, missing_s / LONG_GAP_S), sure)
        elif step_s < DUPLICATE * usual_s - slack_s or step_s <= 0:
            severity = max(0.0, min(1.0, 1 - step_s / usual_s))
            self._owed_s = min(usual_s - step_s, 2 * usual_s)
            yield Event("pts_duplicate", float(frame.time_s), float(frame.time_s + frame.duration_s), severity, 1.0)

    def _usual_s(self) -> float | None:
        """The median step; before there are enough of them what the container says."""
        if len(self._steps_s) < KNOWN_FROM:
            return self._declared_s
        return sorted(self._steps_s)[len(self._steps_s) // 2]
