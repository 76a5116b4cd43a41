"""Renditions that an HLS master playlist (RFC 8216) or a DASH MPD (ISO/IEC 23009-1) names. No media is opened.

A manifest may come from a stranger: it is read up to a limit, XML with a DOCTYPE is refused, and what it may name is
narrow: one that lies in a file names files by relative paths, one that came from http or https names such addresses.
"""

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from msgspec import Struct

from qclip_ffmpeg.errors import InputError, UsageError
from qclip_ffmpeg.files import read_up_to
from qclip_ffmpeg.inputs import displayed_name, exists, is_url

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MANIFEST_ENDINGS = (".m3u8", ".mpd")
MAX_MANIFEST_BYTES = 4 << 20
TIMEOUT_S = 30.0
WEB = ("http", "https")
AUDIO_CODECS = ("mp4a", "ac-3", "ec-3", "ac-4", "opus", "flac", "fLaC", "alac", "dts", "mp3", "vorbis")
"""How RFC 6381 names of audio codecs begin."""
TRICK_MODE = "http://dashif.org/guidelines/trickmode"


class Rendition(Struct, frozen=True, kw_only=True):
    """One video rendition."""

    source: str
    """A file or an address that FFmpeg opens."""
    name: str | None = None
    """What the manifest calls it; None where it does not."""
    declared_kbps: float | None = None
    """With the sound that comes with it, where the manifest counts that in."""
    declared_height_px: int | None = None


def is_manifest(source: str) -> bool:
    """Whether a file or an address goes by a manifest's name."""
    path = urlsplit(source).path if is_url(source) else source
    return path.lower().endswith(MANIFEST_ENDINGS)


def renditions(source: str) -> list[Rendition]:
    """The video renditions of a manifest, in its order. The network is used where it is an address.

    Raises:
        UsageError: it is missing, names what it may not, or renditions that cannot be opened.
        InputError: it could not be fetched, or is none.
    """
    text, base = fetched(source)
    name = displayed_name(source)
    resolve = resolver(base, name)
    in_xml = text.lstrip("\ufeff \t\r\n").startswith("<")
    found = dash_renditions(text, name, resolve) if in_xml else hls_renditions(text, name, resolve)
    if not found:
        raise UsageError(f"{name}: names no video rendition; check that it is a master playlist or an MPD")
    return found


def fetched(source: str) -> tuple[str, str]:
    """(text, where it came from in the end) of a manifest."""
    name = displayed_name(source)
    if is_url(source):
        if urlsplit(source).scheme not in WEB:
            raise UsageError(f"{name}: a manifest is read from a file, http or https; fetch it first")
        data, base = downloaded(source, name)
    else:
        data, base = read_file(Path(source), MAX_MANIFEST_BYTES), source
    if len(data) > MAX_MANIFEST_BYTES:
        raise UsageError(f"{name}: has more than {MAX_MANIFEST_BYTES >> 20} MiB; that is no manifest")
    try:
        return data.decode("utf-8"), base
    except UnicodeDecodeError:
        raise InputError(f"{name}: is not text in UTF-8, so no manifest; check the address") from None


def read_file(path: Path, most_bytes: int) -> bytes:
    """What a file holds, one byte more than `most_bytes` at most.

    Raises:
        UsageError: it is missing, no regular file, or cannot be read.
    """
    if exists(path) and not path.is_file():
        raise UsageError(f"{path}: is no regular file; check the path")
    return read_up_to(path, most_bytes)


def downloaded(url: str, name: str) -> tuple[bytes, str]:
    """(bytes, address after redirections)."""
    from http.client import HTTPException
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=TIMEOUT_S) as answer:
            return answer.read(MAX_MANIFEST_BYTES + 1), answer.url
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(f"{name}: cannot be fetched ({reason}); check the address and the network") from None


def resolver(base: str, name: str) -> Callable[[str], str]:
    """How a reference in the manifest is read: relative to it, and never out of its kind of place.

    A file goes without the query that it was fetched with, unless it is named so.
    """

    def resolve(reference: str) -> str:
        try:
            parts = urlsplit(reference)
            joined = urljoin(base, reference) if is_url(base) else ""
            scheme = urlsplit(joined).scheme
        except ValueError as error:
            raise UsageError(f"{name}: names {reference[:100]!r}, which is no address ({error})") from None
        if is_url(base):
            if scheme not in WEB:
                raise UsageError(f"{name}: names {reference[:100]!r}; a manifest from the web may only name http(s)")
            return joined
        if parts.scheme or parts.netloc or PurePosixPath(reference).is_absolute() or Path(reference).is_absolute():
            raise UsageError(
                f"{name}: names {reference[:100]!r}; a manifest in a file may only name files, by relative paths. "
                "Give it by its address instead"
            )
        path = Path(base).parent / reference
        return str(path if exists(path) or not parts.path else Path(base).parent / parts.path)

    return resolve


def hls_renditions(text: str, name: str, resolve: Callable[[str], str]) -> list[Rendition]:
    """The variant streams of a master playlist that have video, each playlist once."""
    import m3u8

    if not text.lstrip("\ufeff").startswith("#EXTM3U"):
        raise InputError(f"{name}: is neither an HLS playlist nor an MPD; check what it is")
    try:
        playlist = m3u8.loads(text.lstrip("\ufeff"))
    except Exception as error:  # its parser trips over what is malformed in many ways
        raise InputError(f"{name}: is not a valid HLS playlist ({type(error).__name__}: {error})"[:300]) from None
    if playlist.segments:
        raise UsageError(f"{name}: is the playlist of one rendition; give it as an input, or the master playlist")
    variants: dict[str, Rendition] = {}
    for variant in playlist.playlists:
        said = variant.stream_info
        if variant.uri and not is_audio(said.codecs, said.resolution):
            source = resolve(variant.uri)
            rate = said.average_bandwidth or said.bandwidth or 0
            variants.setdefault(
                source,
                Rendition(
                    source=source,
                    declared_kbps=rate / 1000 if rate > 0 else None,
                    declared_height_px=(said.resolution or (0, 0))[1] or None,
                ),
            )
    return list(variants.values())


def is_audio(codecs: str | None, resolution: tuple[int, int] | None) -> bool:
    """Whether a variant says that it has no picture."""
    named = [codec.strip() for codec in (codecs or "").split(",") if codec.strip()]
    return resolution is None and bool(named) and all(codec.startswith(AUDIO_CODECS) for codec in named)


def dash_renditions(text: str, name: str, resolve: Callable[[str], str]) -> list[Rendition]:
    """The video representations of an MPD whose media is one file each.

    FFmpeg as PyAV carries it has no DASH demuxer: media in segments cannot be opened, and is refused.
    """
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        mpd: Element = fromstring(text.encode(), forbid_dtd=True)
    except (ParseError, DefusedXmlException) as error:
        raise InputError(f"{name}: is not an MPD that may be read ({error})"[:300]) from None
    if local_name(mpd) != "MPD":
        raise InputError(f"{name}: is XML but no MPD (its root is {local_name(mpd)[:40]}); check what it is")
    periods = mpd.findall("{*}Period")
    if len(periods) > 1:
        raise UsageError(f"{name}: has {len(periods)} periods; a ladder is of one content, name its files instead")
    return [
        representation(mpd, period, adaptation, found, name, resolve)
        for period in periods
        for adaptation in period.findall("{*}AdaptationSet")
        if is_video(adaptation)
        for found in adaptation.findall("{*}Representation")
    ]


def representation(
    mpd: "Element", period: "Element", adaptation: "Element", found: "Element", name: str, resolve: Callable[[str], str]
) -> Rendition:
    """One representation; BaseURL elements are joined from the outermost inwards."""
    path = (mpd, period, adaptation, found)
    called = f"{name}: representation {found.get('id', '?')[:100]!r}"
    if any(list(level.iterfind(f"{{*}}{kind}")) for level in path for kind in ("SegmentTemplate", "SegmentList")):
        raise UsageError(
            f"{called} is in segments, which the bundled FFmpeg cannot open from an MPD; give the HLS playlist of the "
            "same media, or copy each rung to a file: ffmpeg -i MPD -map 0:v:N -c copy rung.mkv"
        )
    if any(level.find("{*}ContentProtection") is not None for level in path[2:]):
        raise UsageError(f"{called} is encrypted; give the files as they were before encryption")
    reference = ""
    for level in path:
        if (base := level.findtext("{*}BaseURL")) is not None:
            reference = urljoin(reference, base.strip())
    if not reference or reference.endswith("/"):
        raise UsageError(f"{called} names no file; name the rungs' files instead")
    return Rendition(
        source=resolve(reference),
        name=found.get("id"),
        declared_kbps=number(found, "bandwidth", 1000),
        declared_height_px=as_int(number(found, "height") or number(adaptation, "height")),
    )


def is_video(adaptation: "Element") -> bool:
    """Whether an adaptation set holds video to be watched; pictures for seeking are none."""
    if any(p.get("schemeIdUri") == TRICK_MODE for p in adaptation.iterfind("{*}EssentialProperty")):
        return False
    return any(said.startswith("video") for said in kinds_of(adaptation))


def kinds_of(adaptation: "Element") -> Iterator[str]:
    for element in (adaptation, *adaptation.iterfind("{*}Representation")):
        yield from (element.get("contentType", ""), element.get("mimeType", ""))


def local_name(element: "Element") -> str:
    return element.tag.rpartition("}")[2]


def number(element: "Element", attribute: str, unit: int = 1) -> float | None:
    """A positive number of an attribute in `unit`s; None where it is absent or none."""
    text: Any = element.get(attribute, "")
    return int(text) / unit if text.isascii() and text.isdigit() and len(text) < 16 and int(text) else None


def as_int(value: float | None) -> int | None:
    return None if value is None else int(value)
