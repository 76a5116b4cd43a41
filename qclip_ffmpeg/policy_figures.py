"""The figures that a gate's rules can be about: name, unit, what it is of, and what a rule must say of it."""

from typing import Literal

from msgspec import Struct

from qclip_ffmpeg.track import EVENTS as KINDS_OF_EVENTS
from qclip_ffmpeg.track import FLAGS, Pooled
from qclip_ffmpeg.verdict import Bound

Of = Literal["rung", "pair", "ladder"]


class Figure(Struct, frozen=True, kw_only=True):
    """One figure that a rule can hold against a limit."""

    says: str
    """What it is, one sentence for people."""
    unit: Literal["score", "%", "s", "px", ""]
    of: Of
    """rung: each rung by itself; pair: two rungs of one codec; ladder: all rungs together."""
    bounds: tuple[Bound, ...]
    """Limits that a rule may set."""
    bound_needed: bool = True
    """Whether it must set one of them; without one the noise band alone is the limit."""
    below_needed: bool = False
    """Whether the rule must say below which score."""
    baseline: bool = False
    """Whether it is held against a baseline."""
    range: tuple[float, float] | None = None
    """Lowest and highest limit that can be meant."""


SCORES = (0.0, 100.0)
SHARES = (0.0, 100.0)
SECONDS = (0.0, 1e6)

POOLED = {
    f"pooled.{name}": Figure(
        says=f"`pooled.{name}` of the rung's track", unit="score", of="rung", bounds=("min", "max"), range=SCORES
    )
    for name in Pooled.__struct_fields__
}
SEGMENTS = {
    "segments.worst": Figure(says="lowest score of a segment", unit="score", of="rung", bounds=("min",), range=SCORES),
    "segments.share_below_percent": Figure(
        says="share of the time that scores less than `below`",
        unit="%",
        of="rung",
        bounds=("max",),
        below_needed=True,
        range=SHARES,
    ),
    "segments.longest_below_s": Figure(
        says="longest stretch of time that scores less than `below` throughout",
        unit="s",
        of="rung",
        bounds=("max",),
        below_needed=True,
        range=SECONDS,
    ),
}
LADDER = {
    "ladder.inversion": Figure(
        says="how much the best of the lower rungs of its codec scores above a rung; the noise band is allowed, or "
        "`max` where that is more",
        unit="score",
        of="pair",
        bounds=("max",),
        bound_needed=False,
        range=SCORES,
    ),
    "ladder.step": Figure(
        says="how much a rung scores above the next lower one of its codec, taken as it is: no noise is allowed for",
        unit="score",
        of="pair",
        bounds=("min",),
        range=SCORES,
    ),
    "ladder.redundant": Figure(
        says="how much a rung scores above the next lower one of its codec, where that is within the noise band and no "
        "more than `max`: it costs more and few would see that it looks better",
        unit="score",
        of="pair",
        bounds=("max",),
        bound_needed=False,
        range=SCORES,
    ),
    "ladder.declared_height_px": Figure(
        says="lines of the stream, which must be those that the ladder or the file's name declares",
        unit="px",
        of="rung",
        bounds=(),
        bound_needed=False,
    ),
    "ladder.declared_bitrate_percent": Figure(
        says="measured bitrate of the video as a share of the declared one",
        unit="%",
        of="rung",
        bounds=("min", "max"),
        range=(0.0, 1000.0),
    ),
}
BASELINE = {
    "baseline.drop": Figure(
        says="how much less than in the baseline a rung's `pooled.mean` is; the noise of encoding again is allowed, or "
        "`max` where that is more",
        unit="score",
        of="rung",
        bounds=("max",),
        bound_needed=False,
        baseline=True,
        range=SCORES,
    ),
    "baseline.segment_drop": Figure(
        says="largest drop of a segment against the one at the same time in the baseline; its noise is allowed, or "
        "`max` where that is more",
        unit="score",
        of="rung",
        bounds=("max",),
        bound_needed=False,
        baseline=True,
        range=SCORES,
    ),
    "baseline.steady_drop": Figure(
        says="mean drop of a rung's segments, each against the one at the same time in the baseline; `max` and what "
        "their own spread leaves uncertain are allowed",
        unit="score",
        of="rung",
        bounds=("max",),
        baseline=True,
        range=SCORES,
    ),
    "baseline.ladder_drop": Figure(
        says="mean drop over all rungs that both ladders have; `max` and what their own spread leaves uncertain are "
        "allowed",
        unit="score",
        of="ladder",
        bounds=("max",),
        baseline=True,
        range=SCORES,
    ),
    "baseline.lone_drop": Figure(
        says="what a rung lost and the rungs of its codec next to it kept: bits, by what they are worth on the "
        "baseline's own rate-quality curve, and a twentieth of what its score fell more than theirs",
        unit="score",
        of="rung",
        bounds=("max",),
        baseline=True,
        range=SCORES,
    ),
    "baseline.bd_score": Figure(
        says="Bjontegaard delta: mean change of the score at equal bitrate",
        unit="score",
        of="ladder",
        bounds=("min",),
        baseline=True,
        range=(-100.0, 100.0),
    ),
    "baseline.bd_rate_percent": Figure(
        says="Bjontegaard delta: mean change of the bitrate at equal score",
        unit="%",
        of="ladder",
        bounds=("max",),
        baseline=True,
        range=(-100.0, 10_000.0),
    ),
}
EVENTS = {
    name: figure
    for kind in KINDS_OF_EVENTS
    for name, figure in (
        (f"events.{kind}_s", Figure(says=f"time of all events `{kind}`", unit="s", of="rung", bounds=("max",))),
        (f"events.{kind}_longest_s", Figure(says=f"longest event `{kind}`", unit="s", of="rung", bounds=("max",))),
        (f"events.{kind}_count", Figure(says=f"number of events `{kind}`", unit="", of="rung", bounds=("max",))),
    )
}
MARKED = {
    f"flags.{flag}_s": Figure(says=f"time of all segments flagged `{flag}`", unit="s", of="rung", bounds=("max",))
    for flag in FLAGS
}
FIGURES = POOLED | SEGMENTS | LADDER | BASELINE | EVENTS | MARKED
"""All of them by name: kind and figure, with the unit in the name where it is not score units or a count."""
