"""A copy of a video that carries its track: pooled figures as tags, a chapter a segment; Matroska and WebM: WebVTT too.

The copy is made by ffmpeg without decoding (`-c copy`), on the source's own clock, and looked at before it gets its
name: every stream, disposition, language, chapter, attachment, tag and the rotation of the source must be in it.

A container has one list of chapters, and FFmpeg reads only those that start later than the one before. So chapters of
the source are kept and ours left out: the segments are then in the WebVTT track, or the copy is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from qclip_ffmpeg import ffmpeg
from qclip_ffmpeg.contents import Contents, Cover, StreamEntry, contents, covers
from qclip_ffmpeg.emit.ffmetadata import CHAPTER_PREFIX, TAG_PREFIX, chapter_title, global_tags, to_ffmetadata
from qclip_ffmpeg.emit.webvtt import to_webvtt
from qclip_ffmpeg.errors import FFmpegError, OutputError, UsageError
from qclip_ffmpeg.files import not_written, replacing
from qclip_ffmpeg.reader import open_video
from qclip_ffmpeg.track import QualityTrack

TRACK_TITLE = "qclip"
OPTION = "--write-metadata"
BRANDS = ("major_brand", "minor_version", "compatible_brands")  # of the mp4 that was; the copy gets its own
MUXERS_TAGS = {*BRANDS, "encoder"}


@dataclass(frozen=True, slots=True)
class Container:
    """A container that can carry a track."""

    muxer: str
    options: tuple[str, ...] = ()
    webvtt: bool = False
    """Whether the segments go into a WebVTT track as well."""
    attachments: bool = False
    """Whether it can hold files. Covers are such; in mp4 they lie among the tags that ours replace."""
    timecodes: bool = False
    """Whether a track of time codes can be copied; other muxers make one, or a tag, of the video's time code."""


# All but a dozen tags are lost without the first; with the second a player on the net need not wait for the index.
ISO_TAGS = ("-movflags", "use_metadata_tags+faststart")
AS_THEY_ARE = ("-default_mode", "passthrough")  # old ffmpegs mark a first stream as default that is not
CONTAINERS = {
    ".mkv": Container("matroska", AS_THEY_ARE, webvtt=True, attachments=True),
    ".webm": Container("webm", AS_THEY_ARE, webvtt=True),
    ".mp4": Container("mp4", ISO_TAGS),
    ".m4v": Container("mp4", ISO_TAGS),
    ".mov": Container("mov", ISO_TAGS, timecodes=True),
    ".nut": Container("nut"),
}


def check_metadata_target(source: Path, out: Path) -> None:
    """Refuse what is known to lose something, before any time is spent.

    Raises:
        UsageError: `out` names no container that can carry the track and all of the source, or there is no ffmpeg.
        InputError: the source is no media file.
    """
    ffmpeg.executable()
    container, held = container_of(out), contents(source)
    if own_chapters(held) and not container.webvtt:
        raise UsageError(
            f"{OPTION} {out}: {source} has chapters of its own, beside which {out.suffix} has no place for a chapter a "
            "segment; write an .mkv"
        )
    if not container.attachments and any(map(is_cover, held.streams)):
        raise UsageError(
            f"{OPTION} {out}: {out.suffix} cannot hold the cover of {source} beside our tags; write an .mkv"
        )


def container_of(out: Path) -> Container:
    """The container that a file name asks for."""
    if out.suffix.lower() not in CONTAINERS:
        raise UsageError(
            f"{OPTION} {out}: {out.suffix or 'a name without a suffix'} is no container that keeps tags and chapters; "
            f"write one of {', '.join(CONTAINERS)}"
        )
    return CONTAINERS[out.suffix.lower()]


def own_chapters(held: Contents) -> bool:
    """Whether there are chapters that do not come from an earlier --write-metadata."""
    return any(not chapter.title.startswith(CHAPTER_PREFIX) for chapter in held.chapters)


def write_metadata(source: Path, track: QualityTrack, out: Path) -> None:
    """Copy `source` to `out` with its track in it. What an earlier call put into the source is replaced.

    Args:
        source: the file that was measured; it is only read.
        track: what was measured of it.
        out: appears under its name when it is complete, or not at all.

    Raises:
        UsageError: see `check_metadata_target`; or the folder cannot be written to.
        OutputError: ffmpeg could not write it, or the copy lacks something of the source.
    """
    check_metadata_target(source, out)
    container, held = container_of(out), contents(source)
    try:
        with replacing(out.resolve()) as temporary:
            with command_of(source, track, container, held, temporary) as command:
                ffmpeg.run_command(command)
            if lost := missing(held, contents(temporary), track) or turned(temporary, track):
                raise OutputError(f"{OPTION} {out}: the copy of {source} would lack {lost}; write another container")
    except FFmpegError as error:
        raise OutputError(f"{OPTION} {out}: ffmpeg could not write it ({error.reason})") from None
    except OSError as error:
        raise not_written(out, error) from None


@contextmanager
def command_of(
    source: Path, track: QualityTrack, container: Container, held: Contents, out: Path
) -> Iterator[list[str]]:
    """The ffmpeg command line that makes the copy; the files it reads are there as long as the context is."""
    offset_s = track.source.start_s or 0.0
    with TemporaryDirectory(prefix="qclip-") as folder:
        metadata, cues = Path(folder, "track.ffmeta"), Path(folder, "track.vtt")
        metadata.write_bytes(to_ffmetadata(track, offset_s))
        cues.write_bytes(to_webvtt(track, offset_s))
        attached = attach_options(held, covers(source), Path(folder))
        inputs = ["-i", f"file:{source}", "-i", str(metadata), *(["-i", str(cues)] if container.webvtt else [])]
        yield [
            *(ffmpeg.executable(), "-hide_banner", "-nostdin", "-v", "error", "-y"),
            *("-copyts", *inputs, *map_options(held, container), *(webvtt_options(held) if container.webvtt else ())),
            *attached,
            *tag_options(track, held),
            *("-map_chapters", "0" if own_chapters(held) else "1"),
            *("-c", "copy", "-copy_unknown", "-avoid_negative_ts", "disabled"),  # frames keep their time stamps
            *("-strict", "unofficial"),  # else mp4 and Matroska drop what tells Dolby Vision and spherical video
            *(*container.options, "-f", container.muxer, f"file:{out}"),
        ]


def is_kept(stream: StreamEntry) -> bool:
    """Whether the copy must have a stream: not what muxers make of other things, nor our track of an earlier copy."""
    made = stream.chapter_titles or (stream.kind == "data" and stream.timecode is not None)
    return not made and not (stream.codec == "webvtt" and stream.title == TRACK_TITLE)


def map_options(held: Contents, container: Container) -> list[str]:
    """Options that map all streams of the source but those that need not be kept, and covers: they are attached."""
    places = [
        place
        for place, stream in enumerate(held.streams)
        if (not is_kept(stream) and not (container.timecodes and stream.timecode)) or is_cover(stream)
    ]
    return ["-map", "0", *(part for place in places for part in ("-map", f"-0:{place}"))]


def is_cover(stream: StreamEntry) -> bool:
    return "attached_pic" in stream.dispositions


def attach_options(held: Contents, pictures: list[Cover], folder: Path) -> list[str]:
    """Options that attach covers, which ffmpeg would copy as videos; they are written to `folder` for it."""
    first = sum(stream.kind == "attachment" for stream in held.streams)
    options: list[str] = []
    for number, cover in enumerate(pictures):
        path = folder / f"cover-{number}"
        path.write_bytes(cover.data)
        place = f"-metadata:s:t:{first + number}"
        options += ["-attach", str(path), place, f"mimetype={cover.mimetype}", place, f"filename={cover.name}"]
    return options


def webvtt_options(held: Contents) -> list[str]:
    """Options for the WebVTT track, which comes after all others: never shown unless asked for."""
    place = f"s:{sum(stream.kind == 'subtitle' and is_kept(stream) for stream in held.streams)}"
    return ["-map", "2", f"-metadata:s:{place}", f"title={TRACK_TITLE}", f"-disposition:{place}", "metadata"]


def tag_options(track: QualityTrack, held: Contents) -> list[str]:
    """Options for the global tags: ours and, where they are not ours, those of the source."""
    stale = [key for key in held.tags if key.startswith(TAG_PREFIX) and key not in global_tags(track)]
    erased = [part for key in (*BRANDS, *stale) for part in ("-metadata", f"{key}=")]
    return ["-map_metadata", "1", "-map_metadata", "0", *erased]  # the first to have a key wins


def missing(held: Contents, found: Contents, track: QualityTrack) -> str | None:
    """What of the source or of the track is not in the copy, in words."""
    if lost := lost_stream(held, found):
        return described(lost)
    there = {key.casefold() for key in found.tags} | MUXERS_TAGS
    if gone := [key for key in held.tags if key.casefold() not in there and not key.startswith(TAG_PREFIX)]:
        return f'its tag "{gone[0]}"'
    if any(found.tags.get(key) != said for key, said in global_tags(track).items()):
        return "the tags with its scores"
    ours = [chapter_title(segment) for segment in track.segments]
    titles = [chapter.title for chapter in held.chapters] if own_chapters(held) else ours
    return None if [chapter.title for chapter in found.chapters] == titles else "the chapters"


def lost_stream(held: Contents, found: Contents) -> StreamEntry | None:
    """The first stream of the source that the n-th of its kind in the copy is not like."""
    for place, stream in enumerate(held.streams):
        number = sum(before.kind == stream.kind and is_kept(before) for before in held.streams[:place])
        others = [other for other in found.streams if other.kind == stream.kind and is_kept(other)]
        if is_kept(stream) and not (number < len(others) and others[number].covers(stream)):
            return stream
    return None


def described(stream: StreamEntry) -> str:
    """ "its eng subrip subtitle stream (forced)"."""
    named = " ".join(part for part in ("its", stream.language, stream.codec, stream.kind, "stream") if part)
    return named + (f" ({', '.join(stream.dispositions)})" if stream.dispositions else "")


def turned(copy: Path, track: QualityTrack) -> str | None:
    """What to say where the picture of the copy does not stand as that of the source."""
    with open_video(str(copy)) as video:
        upright = (video.info.rotation_deg, video.info.mirrored)
    stood = track.source.video
    return None if stood is None or upright == (stood.rotation_deg, stood.mirrored) else "its rotation"
