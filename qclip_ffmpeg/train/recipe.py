"""A [ladder] table of a training preset: how sources become labelled encodes. Every value is said there."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Share = Annotated[float, Meta(gt=0, le=1)]
Positive = Annotated[int, Meta(gt=0)]


Fault = Literal[
    "none",
    "double",
    "upscaled",
    "sharpened",
    "noise",
    "banded",
    "coarse_chroma",
    "wrong_range",
    "interlaced",
]
"""What a pipeline did wrong before it encoded; `train.damage` does it, `train.teacher` says how it is labelled."""


class Codec(Struct, frozen=True, forbid_unknown_fields=True):
    """An encoder the ladder draws."""

    name: str
    """FFmpeg's name of the encoder."""
    chance: Share
    rate_control: Literal["crf", "q", "bits_per_px"]
    """Constant rate factor, fixed quantiser scale, or a bitrate, in bits a pixel of the rung; the last only where
    there is more than one frame."""
    range: tuple[float, float]
    """Lowest and highest, inclusive."""
    speeds: list[str] = []
    """Values of the encoder's preset option (of libvpx: cpu-used) to draw from."""
    options: dict[str, str] = {}
    """Further options of the encoder, as ffmpeg takes them."""


class RungHeight(Struct, frozen=True, forbid_unknown_fields=True):
    """A height the ladder draws."""

    height_share: Share
    """Lines of the encode over lines of the reference."""
    chance: Share


class SceneRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    """A scene that is made of every source that is large enough."""

    name: str
    """Part of the names of its encodes."""
    kind: Literal["still", "pan", "zoom", "shake", "cuts", "video"]
    """What is done with a photograph; "video" is made of clips and folders of frames."""
    display: tuple[Positive, Positive]
    """(width, height) in px the source is fitted into. It is never enlarged."""
    frames: Positive
    encodes: Annotated[int, Meta(ge=0)]
    """Drawn at random."""
    crf_steps: Annotated[int, Meta(ge=0)] = 0
    """Besides, so many even steps of every codec that has a CRF, at the full height and without faults."""
    oversize: Annotated[float, Meta(ge=1)] = 1.0
    """How many times larger than the display a source must be: scaling down hides that it was compressed before."""


class LadderRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    """How sources become labelled encodes."""

    seed: int
    scenes: list[SceneRecipe]
    codecs: list[Codec]
    rungs: list[RungHeight]
    faults: dict[Fault, Share] = {}
    """Chance of each; the rest has none."""
    half_frame_rate_chance: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Of encodes of every other frame. They are compared with the frames they kept: motion is not judged here."""


class LadderPreset(Struct, frozen=True):
    """The part of any training preset that says how its data are made; the other tables are read by other commands."""

    ladder: LadderRecipe
