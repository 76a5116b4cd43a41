"""A chain of FFmpeg's `metadata` filter that puts the scores on the frames, for the filters that read frame metadata.

ffmpeg -i clip.mp4 -vf "$(cat clip.filtergraph),metadata=mode=print" -f null -
ffmpeg -i clip.mp4 -vf "$(cat clip.filtergraph),drawtext=text='%{metadata\\:lavfi.qclip.score}'" out.mp4

`t` in it is the time of a frame as the filters see it, which is that of the track where the video starts at 0.
"""

from qclip_ffmpeg.emit.figures import decimal, segment_figures
from qclip_ffmpeg.emit.lavfi import PREFIX
from qclip_ffmpeg.track import QualityTrack

KEYS = ("score", "score_stderr", "flags")  # a filter each: every frame passes all of them


def to_filtergraph(track: QualityTrack) -> bytes:
    """The filters of a track, a line each; the filter "null" where it has no segments."""
    filters = [
        f"metadata=mode=add:key={PREFIX}{key}:value='{figures[key]}'"
        f":enable='gte(t,{decimal(segment.start_s)})*lt(t,{decimal(segment.end_s)})'"
        for segment in track.segments
        for figures in [segment_figures(segment)]
        for key in KEYS
        if key in figures
    ]
    return (",\n".join(filters or ["null"]) + "\n").encode()
