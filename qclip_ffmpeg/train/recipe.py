"""What a training preset may say (presets/train/*.toml). Every value is said there, none is hidden in the code."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from qclip_ffmpeg.views import View

Share = Annotated[float, Meta(gt=0, le=1)]
Positive = Annotated[int, Meta(gt=0)]


class Codec(Struct, frozen=True, forbid_unknown_fields=True):
    """An encoder the ladder draws."""

    name: str
    """FFmpeg's name of the encoder."""
    chance: Share
    crf: tuple[int, int]
    """Lowest and highest constant rate factor, inclusive."""
    options: dict[str, str]
    """Further options of the encoder, as ffmpeg takes them."""


class RungHeight(Struct, frozen=True, forbid_unknown_fields=True):
    """A height the ladder draws."""

    height_share: Share
    """Lines of the encode over lines of the reference."""
    chance: Share


class LadderRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    """How sources become labelled encodes."""

    seed: int
    encodes_per_source: Positive
    display: tuple[Positive, Positive]
    """(width, height) in px the source is fitted into; it is never enlarged."""
    pan_frames: Positive
    pan_width_share: Share
    video_frames: Positive
    codecs: list[Codec]
    rungs: list[RungHeight]


class LadderPreset(Struct, frozen=True):
    """The part of any training preset that says how its data are made; the other tables are read by other commands."""

    ladder: LadderRecipe


class ModelRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    """What the head sees."""

    views: tuple[View, ...]
    exit_blocks: tuple[Positive, ...]
    statistics: tuple[Literal["class", "mean", "std"], ...]
    frames_per_window: Positive


class FitRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    """How the level vectors are fitted."""

    seed: int
    """Of the folds."""
    folds: Positive
    frames_per_encode: Positive
    ridge: float
    """Penalty per sample and per thousand features."""
    level_spread: float
    """Standard deviation, in score units, of the levels at the start."""
    steps: Positive
    learning_rate: float
    hold: float
    """Weight of the squared distance of the level vectors to their start."""


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole training preset."""

    ladder: LadderRecipe
    model: ModelRecipe
    fit: FitRecipe
