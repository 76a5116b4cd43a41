"""FFMETADATA1, FFmpeg's own text format for tags and chapters: pooled figures as tags, a chapter a segment.

ffmpeg -i clip.mkv -i clip.ffmeta -map 0 -c copy -map_metadata 1 -map_chapters 1 tagged.mkv
"""

import re

from qclip_ffmpeg.emit.figures import decimal, pooled_figures, segment_figures
from qclip_ffmpeg.track import QualityTrack, SegmentScore

TAG_PREFIX = "QCLIP_"  # upper case: Matroska knows no other, so that a tag has one name in every container
CHAPTER_PREFIX = "qclip "
UNITS_PER_S = 1_000_000


def to_ffmetadata(track: QualityTrack, offset_s: float = 0.0) -> bytes:
    """Tags and chapters of a track.

    Args:
        offset_s: when the first video frame is shown, on the clock that the chapters are to be on.
    """
    lines = [";FFMETADATA1", *tag_lines(global_tags(track))]
    for segment in track.segments:
        lines += chapter(segment, offset_s)
    return "".join(line + "\n" for line in lines).encode()


def global_tags(track: QualityTrack) -> dict[str, str]:
    """What a file says of its own quality: the pooled figures, and enough to know what they mean."""
    about = {
        "model": track.model.id,
        "calibration": track.model.calibration,
        "display": track.settings.display,
        "complete": "1" if track.complete else "0",
        "tool": f"{track.tool.name} {track.tool.version}",
    }
    figures = pooled_figures(track) | {name: said for name, said in about.items() if said is not None}
    return {TAG_PREFIX + name.upper(): said for name, said in figures.items()}


def chapter(segment: SegmentScore, offset_s: float) -> list[str]:
    """The lines of one segment's chapter. Containers that keep only its title keep the score and the flags in it."""
    start, end = (max(0, round((offset_s + time_s) * UNITS_PER_S)) for time_s in (segment.start_s, segment.end_s))
    span = ["[CHAPTER]", f"TIMEBASE=1/{UNITS_PER_S}", f"START={start}", f"END={end}"]
    tags = {TAG_PREFIX + name.upper(): said for name, said in segment_figures(segment).items()}
    return [*span, *tag_lines({"title": chapter_title(segment)} | tags)]


def chapter_title(segment: SegmentScore) -> str:
    """ "qclip 67.876 few_frames": what starts so is ours."""
    score = "not scored" if segment.score is None else decimal(segment.score)
    return CHAPTER_PREFIX + " ".join([score, *segment.flags])


def tag_lines(tags: dict[str, str]) -> list[str]:
    return [f"{escaped(key)}={escaped(value)}" for key, value in tags.items()]


def escaped(text: str) -> str:
    """Text with a backslash before what would end a value, begin a comment or look like a key."""
    return re.sub(r"([=;#\\\n])", r"\\\1", text)
