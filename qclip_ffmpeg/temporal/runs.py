"""Runs of frames that are shown again, single ones and long ones.

After encoding a repeated frame is not the same to the bit. It is a step that is small, light and all, beside the steps
around it:

    activity   10 11  9  .1 10 11 10  .1  9 11        24 frames a second in 30: every fifth step is still
    activity   10 11  9  .1 .1 .1 .1  .1 24  9        a freeze, and a jump where it ends
    activity   10  8  5   3  2  1 .5  .2 .1 .1        a camera that comes to rest: no step falls off from the one before

So a run of still steps counts only with a sharp edge on both sides, in a scene that moves.

Encoders blur the edges: what is still may take a frame or two to settle, and key frames within it differ.
"""

from collections import deque
from dataclasses import dataclass

from qclip_ffmpeg.temporal.cadence import MOVING
from qclip_ffmpeg.temporal.looks import Look

STILL = 0.35
"""Activity of a repeated frame over that of the steps beside it, at most."""
STEADY = 0.5
"""Of the steps before, what the last one before a run must have: motion that dies down has less."""
DYING = 0.25
"""Of the last step where it has less, what counts beside a run: only complete stillness stands out there."""
REMEMBERED = 6
"""Steps that say how lively the scene is: the second highest of them, so that one jump is not taken for motion."""
SETTLING = 0.6
SETTLING_STEPS = 2
SETTLED = 0.1
SETTLED_STEPS = 3
"""A run may begin with SETTLING_STEPS steps of SETTLING over that beside it, if half of the rest, SETTLED_STEPS at
least, has SETTLED at most."""
KEY_FRAME_AFTER = 3
"""Still steps after which a key frame may differ: it is coded anew."""
JUMP = 1.8
"""Change to the picture that a run holds, over the highest before it, from which on it is another shot, a still one."""
END_FREEZE_S = 0.5
END_STILL = 0.1
"""A freeze that lasts to the end has one sharp edge only: it must be longer, and stiller."""


@dataclass(frozen=True, slots=True)
class Run:
    """Frames that are the one before again."""

    first: int
    last: int
    start_s: float
    end_s: float
    """When the next new frame is shown."""
    stillness: float
    """Activity within over activity beside it."""
    jumped: bool
    """The picture that is held came with a jump: a shot that stands still by itself, whose cut was not clear."""

    @property
    def count(self) -> int:
        return self.last - self.first + 1


class Runs:
    """Looks -> Runs, each when it is over."""

    def __init__(self) -> None:
        self._moving: deque[float] = deque(maxlen=REMEMBERED)  # activity of the last steps, runs left out
        self._changes: deque[float] = deque(maxlen=REMEMBERED)  # of the same steps
        self._settling: list[Look] = []  # may be the beginning of a run
        self._run: list[Look] = []
        self._edge = 0.0  # activity beside the run under way
        self._jumped = False  # to the picture it holds

    @property
    def since_s(self) -> float | None:
        """When the run under way began; None where there is none, and in a shot that stands still by itself."""
        return self._run[0].time_s if self._run and not self._jumped else None

    def add(self, look: Look, is_cut: bool) -> Run | None:
        """The run that ends with the frame before this one, if one does."""
        if look.first or look.plain:
            self._forget()
            self._run, self._settling = [], []
            return None
        if self._run:
            pops = look.keyframe and len(self._run) >= KEY_FRAME_AFTER and not is_cut
            if look.change < STILL * self._edge or pops:
                self._run.append(look)
                return None
            ended = self._ended(look)
            self._remember(look, is_cut)
            return ended
        if not self._settling:
            self._edge = self._edge_now()
            changes = list(self._changes)
            self._jumped = len(changes) > 1 and changes[-1] > JUMP * max(changes[:-1])
        if not is_cut and look.change < STILL * self._edge:
            self._run = [look]
        elif not is_cut and look.change < SETTLING * self._edge and len(self._settling) < SETTLING_STEPS:
            self._settling.append(look)
        else:
            self._give_up()
            self._remember(look, is_cut)
        return None

    def _edge_now(self) -> float:
        """Activity that the next step is to be held against; 0 where the scene does not move, or motion dies down."""
        if len(self._moving) < 3:
            return 0.0
        lively = sorted(self._moving)[-2]
        last = self._moving[-1]
        if lively < MOVING:
            return 0.0
        return min(lively, last) if last >= STEADY * lively else DYING * last

    def _remember(self, look: Look, is_cut: bool) -> None:
        if is_cut:
            self._forget()
        else:
            self._moving.append(look.activity)
            self._changes.append(look.change)

    def _forget(self) -> None:
        self._moving.clear()
        self._changes.clear()

    def _give_up(self) -> None:
        """It was motion after all."""
        self._moving.extend(look.activity for look in (*self._settling, *self._run))
        self._changes.extend(look.change for look in (*self._settling, *self._run))
        self._settling, self._run = [], []

    def _ended(self, after: Look | None) -> Run | None:
        """The run before a look, unless it begins or ends softly: then it was motion that died down."""
        still = [look.change for n, look in enumerate(self._run) if not (look.keyframe and n >= KEY_FRAME_AFTER)]
        edge = self._edge if after is None else min(self._edge, after.activity)
        most, usual = max(still), sorted(still)[len(still) // 2]
        if after is None:
            is_run = most <= END_STILL * edge and self._run[-1].end_s - self._run[0].time_s >= END_FREEZE_S
        else:
            is_run = most < STILL * after.activity
        if self._settling:
            is_run = is_run and len(still) >= SETTLED_STEPS and usual <= SETTLED * edge
        if not is_run:
            self._give_up()
            return None
        frames = [*self._settling, *self._run]
        self._settling, self._run = [], []
        end_s = frames[-1].end_s if after is None else after.time_s
        return Run(frames[0].index, frames[-1].index, frames[0].time_s, end_s, most / edge, self._jumped)

    def end(self) -> Run | None:
        """A run that lasts to the end of the video."""
        return self._ended(None) if self._run else None
