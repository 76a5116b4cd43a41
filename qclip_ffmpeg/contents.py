"""What a media file holds beside its pictures and sounds: streams, tags, chapters, covers. No frame is decoded."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Discard, Disposition, Stream

from qclip_ffmpeg.errors import InputError

IMAGES = {"mjpeg": "jpeg"}  # where FFmpeg's name of a picture's codec is not that of its MIME type


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One stream, as far as a copy of it must be like it."""

    kind: str
    """"video", "audio", "subtitle", "data", "attachment" or "unknown"."""
    codec: str | None
    """FFmpeg's name of the decoder; None for data and attachments."""
    language: str | None
    """ISO 639; None where the stream does not say."""
    dispositions: tuple[str, ...]
    """"default", "forced", "attached_pic", ..."""
    title: str | None
    timecode: str | None
    """HH:MM:SS:FF of its first frame; of a video, and of a track of nothing but time codes."""
    chapter_titles: bool
    """Whether it is a track that players read the titles of the chapters from; muxers make it of the chapters."""

    def covers(self, other: "StreamEntry") -> bool:
        """Whether a copy that is like this has lost nothing of the other; it may be "default" where that is not."""
        alike = replace(self, dispositions=other.dispositions) == other
        return alike and set(self.dispositions) >= set(other.dispositions)


@dataclass(frozen=True, slots=True)
class Chapter:
    """One chapter."""

    start_s: Fraction
    end_s: Fraction
    tags: Mapping[str, str]

    @property
    def title(self) -> str:
        return self.tags.get("title", "")


@dataclass(frozen=True, slots=True)
class Cover:
    """A picture that stands for the file; FFmpeg shows it as a video stream of one packet."""

    place: int
    """Index of that stream."""
    name: str
    """File name it goes by."""
    mimetype: str
    data: bytes
    """The picture file."""


@dataclass(frozen=True, slots=True)
class Contents:
    """All a file's headers tell."""

    streams: tuple[StreamEntry, ...]
    tags: Mapping[str, str]
    chapters: tuple[Chapter, ...]


def contents(path: Path) -> Contents:
    """Read the headers of a file.

    Raises:
        InputError: it is no media file.
    """
    with opened(path) as container:
        return Contents(
            streams=tuple(stream_entry(stream) for stream in container.streams),
            tags=dict(container.metadata),
            chapters=tuple(
                Chapter(c["start"] * base, c["end"] * base, dict(c["metadata"]))
                for c in container.chapters()
                if (base := c["time_base"])
            ),
        )


def covers(path: Path) -> list[Cover]:
    """The covers of a file.

    Raises:
        InputError: it is no media file.
    """
    found = []
    with opened(path) as container:
        for stream in container.streams:
            if stream.disposition & Disposition.attached_pic:
                image = IMAGES.get(stream.codec_context.name, stream.codec_context.name)
                tags = {key.casefold(): value for key, value in stream.metadata.items()}
                name, mimetype = tags.get("filename", f"cover.{image}"), tags.get("mimetype", f"image/{image}")
                found.append(Cover(stream.index, name, mimetype, bytes(next(container.demux(stream)))))
    return found


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """An open file; what FFmpeg says against it is an InputError."""
    try:
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            yield container
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check that it is a media file") from None


def stream_entry(stream: Stream) -> StreamEntry:
    """What there is to say of one stream."""
    tags = {key.casefold(): value for key, value in stream.metadata.items()}  # Matroska's are in upper case
    return StreamEntry(
        kind=stream.type,
        codec=stream.codec_context.name if stream.codec_context else None,
        language=None if tags.get("language") == "und" else tags.get("language"),
        dispositions=tuple(d.name for d in Disposition if d.name and stream.disposition & d),
        title=tags.get("title"),
        timecode=tags.get("timecode"),
        chapter_titles=stream.type == "data" and stream.discard == Discard.all,
    )
