"""Runs of frames that are shown again, single ones and long ones.

After encoding a repeated frame is not the same to the bit. It is a step that is small, light and all, beside the steps
around it:

    change   10 11  9  .1 10 11 10  .1  9 11        24 frames a second in 30: every fifth step is still
    change   10 11  9  .1 .1 .1 .1  .1 24  9        a freeze, and a jump where it ends
    change   10  8  5   3  2  1 .5  .2 .1 .1        a camera that comes to rest: no step falls off sharply

So a run of still steps counts only with a sharp edge on both sides, in a scene that moves. Where a step is small but
not still, how far the scene moves is looked at closely (`closer`).

Encoders blur the edges: what is still may take a frame or two to settle, and key frames within it differ.
"""

from collections import deque
from dataclasses import dataclass
from itertools import pairwise

from qclip_ffmpeg.temporal.cadence import MOVING
from qclip_ffmpeg.temporal.closer import Closer, flow_between
from qclip_ffmpeg.temporal.cuts import UNLIKE, unlikeness
from qclip_ffmpeg.temporal.evidence import blocks_with_a_say, longer
from qclip_ffmpeg.temporal.looks import Look

STILL = 0.3
"""Change of a repeated frame, light and all, over the activity of the steps beside it, at most: light moves nothing."""
LOOSE = 0.6
"""The same of one that is looked at closely, and of steps between motion and stillness."""
SETTLING_STEPS = 2
"""Loose steps in a row, at most: a camera takes longer to come to rest."""
STEADY = 0.5
"""Of the steps before, what the last one before a run has: motion that dies down has less."""
DYING = 0.15
"""Then, change of the first SETTLING_STEPS frames of a longer run over that last step, at most: as motion dies down, a
step has a third or more of the one before."""
REMEMBERED = 6
"""Steps that say how lively the scene is: the second highest of them, so that one jump is not taken for motion."""
SETTLED = 0.1
SETTLED_STEPS = 3
"""A run may have loose steps at its ends if half of the rest, SETTLED_STEPS at least, has SETTLED at most."""
MOST_MOVED, ONWARD = 0.2, 0.4
"""`Closer.moved` a step of the run, at most, and `Closer.onward`, at least, of a run that is looked at closely."""
MOST_SETTLED = 1.0
"""`Closer.moved` of a run with loose steps at its ends, at most: what settles goes nowhere."""
MOST_MOVED_STEPS = 4
"""Steps of a longer run that count."""
TURN = -0.5
TURN_S, TURN_STEPS = 0.5, 3
"""A camera that turns about (`Closer.onward` below TURN) may stand still for so long, and so many steps or more."""
STILL_TURN_S, STILL_TURN = 0.17, 0.15
"""It is as still as STILL_TURN (`Run.stillness`) for so long at most: it slows down before it turns."""
KEY_FRAME_AFTER = 3
"""Still steps after which a key frame may be as lively as a loose step: it is coded anew. Else, how far the scene moves
counts. Where every frame is a key frame, none is anything special."""
CODED_ANEW, NOISE = 0.75, 4.0
"""Change of such a key frame over the activity beside the run, or in 8-bit code values, at most. Coding anew changes
noise; with more of a change it is another picture, whose motion cannot be followed."""
LEAST_BLOCKS = 10.0
"""Blocks that must have a say in that (`blocks_with_a_say`)."""
JUMP = 1.8
"""Unlikeness of the picture that a run holds to the one before, over the highest of the steps before that, from which
on it is another shot, a still one."""
END_FREEZE_S = 0.5
END_SETTLED = 0.9
"""A freeze that lasts to the end has one sharp edge only: it must be longer, and that share of it SETTLED. The first
few pictures of it may still be made better by the encoder."""


@dataclass(frozen=True, slots=True)
class Run:
    """Frames that are the one before again."""

    first: int
    last: int
    start_s: float
    end_s: float
    """When the next new frame is shown."""
    stillness: float
    """Change within over activity beside it."""
    sure: bool
    """False: a single frame that changes little, and may as well be motion."""
    jumped: bool
    """The picture that is held came with a jump: a shot that stands still by itself, whose cut was not clear."""

    @property
    def count(self) -> int:
        return self.last - self.first + 1


class Steps:
    """Steps that may be a run; of a long one the last looks are kept.

    Args:
        before: the look before the picture that is held.
        held: that picture.
        edge: activity beside it.
        dying: motion has slowed down before it.
        jumped: it came with a jump.
    """

    def __init__(self, before: Look, held: Look, edge: float, dying: bool, jumped: bool) -> None:
        self.before, self.held, self.edge, self.dying, self.jumped = before, held, edge, dying, jumped
        self.looks: deque[Look] = deque(maxlen=REMEMBERED)
        self.into: list[Look] = []  # loose steps, before what is still
        self.still: list[Look] = []  # the first that is still, and the last
        self.out_of: list[Look] = []  # loose steps since then
        self.count = self.settled = 0  # from the first to the last that is still
        self.most = self.most_at_first = 0.0

    def is_still(self, look: Look) -> bool:
        return look.change < STILL * self.edge

    def take(self, look: Look) -> bool:
        """Whether a look goes on with it."""
        if self.is_still(look):
            if self.out_of and len(self.into) + self.count + len(self.out_of) <= SETTLING_STEPS:
                self.into += [*self.still[: self.count], *self.out_of]
                self.still, self.count, self.settled, self.most = [], 0, 0, 0.0
                self._absorb([look])
            else:
                self._absorb([*self.out_of, look])
            self.out_of = []
        elif look.keyframe and not [self.held, *self.looks][-1].keyframe and self._is_coded_anew(look):
            self.out_of = []
            self._absorb([look], 0.0)
        else:
            loose = self.out_of if self.still else self.into
            changed = look.activity if self.has_settled else look.change
            if changed >= LOOSE * self.edge or len(loose) >= SETTLING_STEPS:
                return False
            loose.append(look)
        self.looks.append(look)
        if len(self.looks) <= SETTLING_STEPS:
            self.most_at_first = max(self.most_at_first, look.change)
        return True

    def _is_coded_anew(self, look: Look) -> bool:
        """Whether a key frame, which comes after other frames, is the picture that is held."""
        if self.count >= KEY_FRAME_AFTER and look.change < LOOSE * self.edge:
            return True
        if look.change > max(CODED_ANEW * self.edge, NOISE):
            return False
        came, here = flow_between(self.before, self.held), flow_between(self.held, look)
        many = blocks_with_a_say(here.product(came.shift, came.shift)) >= LEAST_BLOCKS
        return many and 1 + longer(here, came.shift) <= MOST_MOVED

    def _absorb(self, looks: list[Look], share: float = 1.0) -> None:
        """Add looks to what is still, with that share of their change."""
        self.still[1:] = looks[-1:] if self.still else [looks[0], looks[-1]]
        self.count += len(looks)
        self.settled += sum(share * look.change <= SETTLED * self.edge for look in looks)
        self.most = max(self.most, *(share * look.change for look in looks))

    def core(self, after: Look) -> Run | None:
        """What is still, without the loose steps, if it stands out from those."""
        then = self.out_of[0] if self.out_of else after
        near = min(self.edge, after.activity, then.activity, *(look.activity for look in self.into[-1:]))
        if not self.still or self.most >= STILL * near:
            return None
        return self._run(self.still, then, self.most / near)

    @property
    def has_settled(self) -> bool:
        """Whether it is so still for so long that loose steps at its ends are part of it."""
        return self.count >= SETTLED_STEPS and 2 * self.settled >= self.count

    @property
    def dies_down(self) -> bool:
        """Whether it is motion that ends softly, and no short run."""
        count = len(self.into) + self.count + len(self.out_of)
        return self.dying and count > SETTLING_STEPS and self.most_at_first > DYING * self.edge

    def over(self, after: Look) -> Run | None:
        """The run before a look, unless it begins or ends softly: then it was motion that died down."""
        if after.activity < MOVING or self.dies_down:
            return None
        beside = min(self.edge, after.activity)
        whole = [*self.into, *self.still, *self.out_of]
        run = None
        if self.has_settled and self.most <= STILL * beside:
            closer = Closer(self.before, self.held, whole[-1], after)
            run = self._run(whole, after, self.most / beside) if abs(closer.moved) <= MOST_SETTLED else None
        if run := run or self.core(after):
            return None if self._turns(run, whole[-1], after) else run
        most = max(self.most, *(look.change for look in (*self.into, *self.out_of)), 0.0)
        if most > LOOSE * beside:
            return None
        closer = Closer(self.before, self.held, whole[-1], after)
        steps = min(whole[-1].index - self.held.index, MOST_MOVED_STEPS)
        sure = closer.onward >= ONWARD and abs(closer.moved) <= MOST_MOVED * steps
        return self._run(whole, after, most / beside, sure) if sure or whole[0] is whole[-1] else None

    def _turns(self, run: Run, last: Look, after: Look) -> bool:
        """Whether a run is that of a camera that turns about."""
        lasted_s = run.end_s - run.start_s
        if run.count < TURN_STEPS or lasted_s > (STILL_TURN_S if run.stillness <= STILL_TURN else TURN_S):
            return False
        return Closer(self.before, self.held, last, after).onward < TURN

    def over_with_the_video(self) -> Run | None:
        whole = [*self.into, *self.still, *self.out_of]
        if self.out_of or not self.still or self.most > STILL * self.edge or self.dying:
            return None
        if self.settled < END_SETTLED * self.count:
            return None
        long = whole[-1].end_s - whole[0].time_s >= END_FREEZE_S
        return self._run(whole, None, self.most / self.edge) if long else None

    def _run(self, looks: list[Look], after: Look | None, stillness: float, sure: bool = True) -> Run:
        end_s = looks[-1].end_s if after is None else after.time_s
        return Run(looks[0].index, looks[-1].index, looks[0].time_s, end_s, stillness, sure, self.jumped)


class Runs:
    """Looks -> Runs, each when it is over."""

    def __init__(self) -> None:
        self._moving: deque[Look] = deque(maxlen=REMEMBERED)  # the last ones, runs left out
        self._last: deque[Look] = deque(maxlen=2)
        self._steps: Steps | None = None

    @property
    def since_s(self) -> float | None:
        """When the run under way began; None where there is none, and in a shot that stands still by itself."""
        steps = self._steps
        return steps.still[0].time_s if steps and steps.still and not steps.jumped and not steps.dies_down else None

    def add(self, look: Look, is_cut: bool) -> Run | None:
        """The run that ends with the frame before this one, if one does."""
        run = self.end() if look.first or look.plain else self._take(look, is_cut)
        if look.first or look.plain or is_cut:
            self._moving.clear()
            self._steps = None
        self._last.append(look)
        return run

    def _take(self, look: Look, is_cut: bool) -> Run | None:
        run = None
        if (steps := self._steps) is not None:
            parted = None if is_cut or not steps.out_of or not steps.is_still(look) else steps.core(steps.out_of[0])
            if parted is None and not is_cut and steps.take(look):
                return None
            run = parted or steps.over(look)
            if parted is not None:  # what follows is held against the motion since then
                self._moving.extend(steps.out_of)
            elif run is None or not run.sure:  # it was motion after all
                self._moving.extend(steps.looks)
            self._steps = None
        if (steps is None or parted) and not is_cut and (edge := self._edge()) and look.change < LOOSE * edge:
            self._steps = Steps(self._last[0], self._last[1], edge, self._is_dying(), self._has_jumped())
            self._steps.take(look)
        else:
            self._moving.append(look)
        return run

    def _edge(self) -> float:
        """Activity that the next step is to be held against; 0 where the scene does not move."""
        lively = sorted(look.activity for look in self._moving)
        return min(lively[-2], self._moving[-1].activity) if len(lively) > 2 and lively[-2] >= MOVING else 0.0

    def _is_dying(self) -> bool:
        lively = sorted(look.activity for look in self._moving)
        return self._moving[-1].activity < STEADY * lively[-2]

    def _has_jumped(self) -> bool:
        """Whether the last step led to another picture."""
        changes = [look.change for look in self._moving]
        if changes[-1] <= max(changes[:-1]):
            return False
        unlike = [unlikeness(a.light, b.light) for a, b in pairwise(self._moving)]
        return unlike[-1] >= UNLIKE and unlike[-1] > JUMP * max(unlike[:-1])

    def end(self) -> Run | None:
        """A run that lasts to the end of the video, or of what can be seen."""
        steps, self._steps = self._steps, None
        return steps.over_with_the_video() if steps is not None else None
