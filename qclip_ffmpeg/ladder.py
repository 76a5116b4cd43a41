"""A ladder and what its rate-quality curve tells: hull, crossings, rungs to drop or move. Pure; nothing is read."""

from collections.abc import Sequence

from msgspec import Struct

from qclip_ffmpeg.track import QualityTrack
from qclip_ffmpeg.verdict import Analysis


class Rung(Struct, frozen=True, kw_only=True):
    """One step of a ladder: what was measured of it, and what it is meant to be."""

    name: str
    """Unique in its ladder."""
    track: QualityTrack
    declared_kbps: float | None = None
    """What the ladder's description, its manifest or the file's name says; None where they do not."""
    declared_height_px: int | None = None
    """Likewise."""

    @property
    def bitrate_kbps(self) -> float | None:
        """Of the video that was measured, else as declared: a rate-quality curve is of the bits that were spent."""
        video = self.track.source.video
        measured = video.bitrate_kbps if video else None
        return self.declared_kbps if measured is None else measured

    @property
    def codec(self) -> str | None:
        """FFmpeg's name of the codec; None where it could not be opened."""
        return self.track.source.video.codec if self.track.source.video else None

    @property
    def height_px(self) -> int | None:
        """Lines as stored, else as declared."""
        return self.track.source.video.height_px if self.track.source.video else self.declared_height_px

    @property
    def score(self) -> float | None:
        """pooled.mean; None where nothing was scored."""
        return self.track.pooled.mean


def in_order(rungs: Sequence[Rung]) -> list[Rung]:
    """Lowest rung first, by what they are meant to be: two files that were swapped must stand where they do not belong.

    By the declared bitrates where all rungs have one, else by declared lines where all have them; what is still equal
    or says nothing by the bitrate, the lines and the name.
    """
    by_rate = all(r.declared_kbps is not None for r in rungs)
    by_lines = all(r.declared_height_px is not None for r in rungs) and not by_rate

    def place(rung: Rung) -> tuple[float, float, float, str]:
        meant = rung.declared_kbps if by_rate else rung.declared_height_px if by_lines else 0
        return meant or 0, rung.bitrate_kbps or 0, rung.height_px or 0, rung.name

    return sorted(rungs, key=place)


def analyse(rungs: Sequence[Rung], baseline: Sequence[Rung] = ()) -> Analysis:
    """The ladder as a whole, and against the ladder of a baseline if there is one."""
    return Analysis(hull=[], off_hull=[], crossings=[], suggestions=[])
