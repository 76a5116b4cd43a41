"""ASS subtitles to watch the score with: the number, its flags, and a bar that is as long and as green as the score.

mpv clip.mp4 --sub-file=clip.ass, or burnt in: ffmpeg -i clip.mp4 -vf ass=clip.ass out.mp4
"""

from fractions import Fraction

from qclip_ffmpeg.emit.figures import clock_time, segment_figures
from qclip_ffmpeg.track import QualityTrack, SegmentScore, VideoStream

CANVAS_HEIGHT = 1080
BAR_WIDTH, BAR_HEIGHT = 400, 16
# One a level, bad to excellent, as ASS writes colours: blue, green, red.
LEVEL_COLOURS = ("0000E0", "0080FF", "00E0FF", "40E080", "00C000")
UNSCORED_COLOUR = "A0A0A0"
HEADER = """\
[Script Info]
ScriptType: v4.00+
PlayResX: {width}
PlayResY: {height}
WrapStyle: 2
ScaledBorderAndShadow: yes

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: score,Arial,64,&H00FFFFFF,&H00FFFFFF,&H00000000,&H80000000,-1,0,0,0,100,100,0,0,1,3,0,7,40,40,40,1
Style: flags,Arial,32,&H00FFFFFF,&H00FFFFFF,&H00000000,&H80000000,0,0,0,0,100,100,0,0,1,2,0,7,40,40,140,1
Style: bar,Arial,20,&H00FFFFFF,&H00FFFFFF,&H00000000,&H80000000,0,0,0,0,100,100,0,0,1,2,0,7,40,40,115,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def to_ass(track: QualityTrack) -> bytes:
    """The overlay of a track."""
    width = round(CANVAS_HEIGHT * shown_aspect(track.source.video)) if track.source.video else 1920
    events = [line for s in track.segments for line in dialogues(s, track.model.score_range)]
    return (HEADER.format(width=width, height=CANVAS_HEIGHT) + "".join(events)).encode()


def shown_aspect(video: VideoStream) -> Fraction:
    """Width over height of the upright picture."""
    aspect = Fraction(video.width_px, video.height_px) * Fraction(video.sample_aspect_ratio)
    return 1 / aspect if video.rotation_deg % 180 else aspect


def dialogues(segment: SegmentScore, score_range: tuple[float, float]) -> list[str]:
    """The lines of one segment: number, bar, and flags where there are any."""
    figures = segment_figures(segment)
    if segment.score is None:
        colour, number, share = UNSCORED_COLOUR, "no score", 0.0
    else:
        low, high = score_range
        share = min(1.0, max(0.0, (segment.score - low) / (high - low)))
        colour = LEVEL_COLOURS[round(share * (len(LEVEL_COLOURS) - 1))]
        number = " ± ".join(f"{float(figures[key]):.1f}" for key in ("score", "score_stderr") if key in figures)
    said = [("score", number), ("bar", bar(colour, round(share * BAR_WIDTH)))]
    if segment.flags:
        said.append(("flags", ", ".join(segment.flags)))
    span = f"{ass_time(segment.start_s)},{ass_time(segment.end_s)}"
    # A layer each: within one, libass would move what it thinks to overlap.
    return [f"Dialogue: {layer},{span},{style},,0,0,0,,{text}\n" for layer, (style, text) in enumerate(said)]


def bar(colour: str, length: int) -> str:
    """A drawing: `length` of the bar in its colour, the rest dark."""
    return f"{{\\p1\\1c&H{colour}&}}{box(0, length)}{{\\1c&H404040&}}{box(0, BAR_WIDTH - length)}{{\\p0}}"


def box(left: int, right: int) -> str:
    return f"m {left} 0 l {right} 0 {right} {BAR_HEIGHT} {left} {BAR_HEIGHT} " if right > left else ""


def ass_time(seconds: float) -> str:
    """H:MM:SS.cc"""
    return clock_time(seconds, 2).removeprefix("0")
