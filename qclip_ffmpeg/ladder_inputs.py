"""Which rungs a ladder has: from the command's arguments, a folder, a pattern, a TOML file or a manifest."""

import glob
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta, Struct
from msgspec.structs import replace

from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.inputs import STDIN, displayed_name, is_url
from qclip_ffmpeg.manifests import MANIFEST_ENDINGS, WEB, is_manifest, read_file, renditions
from qclip_ffmpeg.presets import read_toml

SIDECAR_ENDINGS = (".qclip.json", ".json")
VIDEO_ENDINGS = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".avi", ".flv", ".f4v"),
    *(".nut", ".mxf", ".ivf", ".y4m", ".h264", ".264", ".h265", ".265", ".hevc", ".obu", ".wmv", ".asf", ".3gp"),
)
"""How the names of video files end; in a folder the others are left alone."""
MAX_RUNGS = 1000
MAX_TOML_BYTES = 1 << 20
MAX_LINES = 16384
LINES_IN_NAME = re.compile(r"(?<![a-z0-9])(?:(\d{3,4})p\d{0,3}|\d{3,5}x(\d{3,4}))(?![a-z0-9])")
KBPS_IN_NAME = re.compile(r"(?<![a-z0-9.])(?:(\d{2,6})k(?:bps|bits?|b)?|(\d{1,3}(?:\.\d{1,3})?)mbps)(?![a-z0-9])")


class Entry(Struct, frozen=True, kw_only=True):
    """One rung to measure, or to read the sidecar of."""

    name: str
    """Unique in its ladder."""
    source: str
    """A media file, a URL, or a sidecar (it ends in .json)."""
    declared_kbps: float | None = None
    """What its ladder, or its name, says it is meant to have."""
    declared_height_px: int | None = None
    """Likewise."""

    @property
    def is_sidecar(self) -> bool:
        """Whether `source` is a sidecar, and not to be measured."""
        return not is_url(self.source) and self.source.lower().endswith(".json")


class TomlRung(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A [[rungs]] table."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    file: Annotated[str, Meta(min_length=1)] | None = None
    """A media file or a sidecar, relative to the TOML file."""
    url: Annotated[str, Meta(min_length=1)] | None = None
    """http or https."""
    bitrate_kbps: Annotated[float, Meta(gt=0, le=1e9)] | None = None
    height_px: Annotated[int, Meta(ge=1, le=MAX_LINES)] | None = None


class TomlLadder(Struct, frozen=True, forbid_unknown_fields=True):
    """A ladder's TOML file."""

    rungs: Annotated[list[TomlRung], Meta(min_length=1, max_length=MAX_RUNGS)]


def entries_of(inputs: Sequence[str] = (), ladders: Sequence[str] = ()) -> list[Entry]:
    """The rungs of one ladder, in the order they are named.

    A rung that nobody has named goes by its file's name, with as many of its folders as tell it from the others.

    Args:
        inputs: media files, URLs and sidecars.
        ladders: of --ladder: DIR, GLOB, FILE.toml, or an HLS (.m3u8) or DASH (.mpd) manifest, a file or a URL.

    Raises:
        UsageError: one of them is missing, cannot be read or names no rung; or two rungs have one name.
        InputError: a manifest could not be fetched or is none.
    """
    entries = [Entry(name="", source=source) for source in inputs]
    entries += [entry for ladder in ladders for entry in ladder_entries(ladder)]
    if len(entries) > MAX_RUNGS:
        raise UsageError(f"{len(entries)} rungs are too many for one ladder; give {MAX_RUNGS} at most")
    if twice := [source for source, count in Counter(entry.source for entry in entries).items() if count > 1]:
        raise UsageError(f"{displayed_name(twice[0])}: is named twice; a ladder has each rung once")
    names = iter(distinct_names([entry.source for entry in entries if not entry.name]))
    named = [with_hints(entry if entry.name else replace(entry, name=next(names))) for entry in entries]
    if twice := [name for name, count in Counter(entry.name for entry in named).items() if count > 1]:
        raise UsageError(f"two rungs are called {twice[0]}; give each a name of its own (name = in a ladder's TOML)")
    return named


def ladder_entries(ladder: str) -> list[Entry]:
    """What one --ladder names; name "" where nobody has named a rung."""
    if is_manifest(ladder):
        return [
            Entry(
                name=r.name or "",
                source=r.source,
                declared_kbps=r.declared_kbps,
                declared_height_px=r.declared_height_px,
            )
            for r in renditions(ladder)
        ]
    if is_url(ladder):
        raise UsageError(f"--ladder {displayed_name(ladder)}: an address must be that of an .m3u8 or .mpd manifest")
    path = Path(ladder)
    if path.is_dir():
        return files_of(ladder, sorted(p for p in path.iterdir() if not p.name.startswith(".")))
    if path.suffix.lower() == ".toml":
        return toml_entries(path)
    if any(wild in ladder for wild in "*?["):
        return files_of(ladder, sorted(Path(p) for p in glob.glob(ladder)))  # noqa: PTH207 Path has none for all of a path
    if path.exists():
        raise UsageError(f"--ladder {ladder}: is no folder, pattern, .toml or manifest; give a video as an input")
    raise UsageError(f"--ladder {ladder}: no such folder or file; check the path")


def files_of(ladder: str, paths: Sequence[Path]) -> list[Entry]:
    """The videos among files; sidecars, where there is no video: one beside its video is not of today's bytes."""
    files = [path for path in paths if path.is_file()]
    if manifests := [path for path in files if path.name.lower().endswith(MANIFEST_ENDINGS)]:
        raise UsageError(
            f"--ladder {ladder}: holds a manifest, and files that may be its segments; name {manifests[0]}"
        )
    videos = [path for path in files if path.name.lower().endswith(VIDEO_ENDINGS)]
    ending = SIDECAR_ENDINGS[0] if Path(ladder).is_dir() else SIDECAR_ENDINGS  # a folder may hold any JSON
    found = videos or [path for path in files if path.name.lower().endswith(ending)]
    if not found:
        raise UsageError(f"--ladder {ladder}: holds no video file and no sidecar; check the path")
    return [Entry(name="", source=str(path)) for path in found]


def toml_entries(path: Path) -> list[Entry]:
    """The rungs of a ladder's TOML file."""
    if len(read_file(path, MAX_TOML_BYTES)) > MAX_TOML_BYTES:
        raise UsageError(f"{path}: has more than {MAX_TOML_BYTES >> 20} MiB; that is no ladder")
    return [toml_entry(path, rung) for rung in read_toml(path, TomlLadder).rungs]


def toml_entry(path: Path, rung: TomlRung) -> Entry:
    """One [[rungs]] table."""
    if (rung.file is None) == (rung.url is None):
        raise UsageError(f"{path}: rung {rung.name!r}: give either file or url")
    if rung.url is not None and urlsplit(rung.url).scheme not in WEB:
        raise UsageError(f"{path}: rung {rung.name!r}: url: give an http or https address, or file = ...")
    source = rung.url if rung.file is None else str(path.parent / rung.file)
    assert source is not None
    return Entry(name=rung.name, source=source, declared_kbps=rung.bitrate_kbps, declared_height_px=rung.height_px)


def distinct_names(sources: Sequence[str]) -> list[str]:
    """For each source its file name, or as much of the end of its path as no other has.

    A sidecar goes by the name of what it was measured of. Addresses that differ in their query alone are numbered.
    """
    parts = [name_parts(source) for source in sources]
    names = [tail(p, 1) for p in parts]
    for length in range(2, max(map(len, parts), default=0) + 1):
        shared = Counter(names)
        names = [tail(p, length) if shared[name] > 1 else name for p, name in zip(parts, names, strict=True)]
    shared, seen = Counter(names), Counter[str]()
    for place, name in enumerate(names):
        if shared[name] > 1 and is_url(sources[place]):
            seen[name] += 1
            names[place] = f"{name}#{seen[name]}"
    return names


def name_parts(source: str) -> tuple[str, ...]:
    """The path of a source, cut at its folders, without what makes a sidecar of it."""
    shown = displayed_name(source)
    if source == STDIN:
        return (shown,)
    folders = Path(urlsplit(shown).path if is_url(source) else source).parent.parts
    last = shown.rpartition("/")[2] if is_url(source) else shown
    if not is_url(source):
        last = next((last[: -len(end)] for end in SIDECAR_ENDINGS if last.lower().endswith(end)), last)
    return (*(part for part in folders if part != "/"), last or shown)


def tail(parts: Sequence[str], length: int) -> str:
    return "/".join(parts[-length:])


def with_hints(entry: Entry) -> Entry:
    """An entry with what its name says, where nothing else says it: 720p or 1280x720 lines, 1500k or 1.5mbps."""
    said = entry.name.lower()
    lines = {int(lines or height) for lines, height in LINES_IN_NAME.findall(said)}
    rates = {float(k or 0) or 1000 * float(m) for k, m in KBPS_IN_NAME.findall(said)}
    return replace(
        entry,
        declared_kbps=entry.declared_kbps or (rates.pop() if len(rates) == 1 else None),
        declared_height_px=entry.declared_height_px or (lines.pop() if len(lines) == 1 else None),
    )
