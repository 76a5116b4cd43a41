"""What makes a raw score a figure that can be decided on: its map to 0..100, its error, and the noise between encodes.

Needs numpy only. `train.calibrate` fits these; a checkpoint's card keeps them.
"""

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
LARGEST_KNOTS = 64
LARGEST_RAW = 1e6
LARGEST_TEXT = 200  # characters


class Calibration(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A map from raw score to score that rises everywhere, and the error that is left.

    Between knots it is a straight line; beyond the first and the last knot the end pieces go on, up to the card's
    score_range. What is ranked by raw scores is ranked the same by scores.
    """

    id: str
    """Says what it was fitted on, for example "vmaf-936x104"."""
    raw: tuple[float, ...]
    """(K,), of the knots, rising."""
    score: tuple[float, ...]
    """(K,), of the knots, rising."""
    error: tuple[float, ...]
    """(K,), at the knots, score units: root mean square of score less label, on contents that neither the model nor the
    map was fitted on, without what picking frames adds where that is known. Beyond the knots it is that of the end."""
    clips: int
    contents: int

    def map(self, raw: ArrayLike, score_range: tuple[float, float]) -> Floats:
        """Raw scores -> scores, of any shape."""
        return map_raw(np.asarray(self.raw), np.asarray(self.score), raw, score_range)

    def error_at(self, raw: float) -> float:
        """The error of the score of a raw score, score units."""
        return float(np.interp(raw, self.raw, self.error))

    def reaches(self, raw: float) -> bool:
        """Whether a raw score lies between the first and the last knot: whether there was anything like it."""
        return self.raw[0] <= raw <= self.raw[-1]


class NoiseBand(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Two encodes of one content whose scores differ by this much or less must be called equal.

    The 95th percentile of |difference of the scores - difference of the labels| over pairs of encodes of one content,
    shown at one display, whose labels are nearly equal: the repeatability limit of ISO 5725-1, with another encode as
    the repetition. Two encodes that are as good as each other go beyond it once in twenty.
    """

    band: float
    """Over all pairs, score units, with one segment of each encode."""
    low: float | None
    """End of its 95 % interval over contents; None with one content."""
    high: float | None
    at_score: tuple[float, ...]
    """(K,), rising: scores at which the band is known by itself, since it is wider in the middle than at the top."""
    at_band: tuple[float, ...]
    """(K,), the band there, score units. Between them it is a straight line, beyond them that of the end."""
    label_apart: float
    """Labels of a pair differ by less than this, score units."""
    pairs: int
    contents: int
    source: str
    """What it was measured on."""

    def near(self, score: float) -> float:
        """The band of encodes that score about this, score units."""
        return float(np.interp(score, self.at_score, self.at_band))


def map_raw(knots: Floats, score: Floats, raw: ArrayLike, score_range: tuple[float, float]) -> Floats:
    """Scores of raw scores, of any shape: straight lines between the knots (K,), (K,), and on beyond them."""
    x = np.asarray(raw, dtype=np.float64)
    piece = piece_of(knots, x)
    mapped = score[piece] + (np.diff(score) / np.diff(knots))[piece] * (x - knots[piece])
    return np.asarray(np.clip(mapped, *score_range), dtype=np.float64)


def piece_of(knots: Floats, raw: Floats) -> NDArray[np.intp]:
    """Number of the piece that each raw score is mapped by, the end pieces being endless."""
    return np.clip(np.searchsorted(knots, raw, side="right") - 1, 0, len(knots) - 2)


def calibration_problem(calibration: Calibration, score_range: tuple[float, float]) -> str | None:
    """What keeps a calibration, which may come from a stranger, from being used."""
    knots = calibration.raw, calibration.score, calibration.error
    raw, score, error = (np.asarray(values, dtype=np.float64) for values in knots)
    low, high = score_range
    if not 2 <= len(raw) <= LARGEST_KNOTS or not len(raw) == len(score) == len(error):
        return f"a calibration without 2 to {LARGEST_KNOTS} knots of raw, score and error each"
    if not (np.isfinite(raw).all() and np.isfinite(score).all() and np.isfinite(error).all()):
        return "a calibration with a number that is not finite"
    if np.abs(raw).max() > LARGEST_RAW or score.min() < low or score.max() > high:
        return "a calibration with knots out of any range"
    with np.errstate(all="ignore"):
        slope = np.diff(score) / np.diff(raw)
    if (np.diff(raw) <= 0).any() or (np.diff(score) <= 0).any() or not np.isfinite(slope).all():
        return "a calibration that does not rise"
    if error.min() < 0 or error.max() > high - low:
        return "a calibration with an impossible error"
    if not is_text(calibration.id) or not is_counted(calibration.clips, calibration.contents):
        return "a calibration without an id and counts"
    return None


def noise_band_problem(noise: NoiseBand, score_range: tuple[float, float]) -> str | None:
    """What keeps a noise band, which may come from a stranger, from being used."""
    low, high = score_range
    bands = [noise.band, *noise.at_band, *(v for v in (noise.low, noise.high) if v is not None)]
    if not 1 <= len(noise.at_score) <= LARGEST_KNOTS or len(noise.at_score) != len(noise.at_band):
        return f"a noise_band without 1 to {LARGEST_KNOTS} knots"
    if not all(0 <= v <= high - low for v in bands) or noise.band == 0 or not 0 < noise.label_apart <= high - low:
        return "an impossible noise_band"
    if (np.diff(noise.at_score) <= 0).any() or noise.at_score[0] < low or noise.at_score[-1] > high:
        return "a noise_band whose scores do not rise"
    return None if is_text(noise.source) and noise.pairs > 0 and noise.contents > 0 else "a noise_band of nothing"


def is_text(text: str) -> bool:
    """Whether a name can be shown in a line."""
    return 0 < len(text) <= LARGEST_TEXT and text.isprintable()


def is_counted(clips: int, contents: int) -> bool:
    """Whether anything can have been measured on so many."""
    return 0 < contents <= clips
