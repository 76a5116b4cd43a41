"""Which rungs a ladder has: from the command's arguments, a folder, a pattern, a TOML file or a manifest."""

from collections.abc import Sequence

from msgspec import Struct

from qclip_ffmpeg.inputs import displayed_name

SIDECAR_ENDINGS = (".qclip.json", ".json")


class Entry(Struct, frozen=True, kw_only=True):
    """One rung to measure, or to read the sidecar of."""

    name: str
    """Unique in its ladder."""
    source: str
    """A media file, a URL, or a sidecar (it ends in .json)."""
    declared_kbps: float | None = None
    declared_height_px: int | None = None

    @property
    def is_sidecar(self) -> bool:
        return self.source.lower().endswith(".json")


def entries_of(inputs: Sequence[str] = (), ladders: Sequence[str] = ()) -> list[Entry]:
    """The rungs of one ladder, in the order they are named.

    Args:
        inputs: media files, URLs and sidecars.
        ladders: of --ladder: DIR, GLOB, FILE.toml, or an HLS (.m3u8) or DASH (.mpd) manifest, a file or a URL.

    Raises:
        UsageError: one of them is missing, cannot be read or names no rung; or two rungs have one name.
    """
    return [Entry(name=name_of(source), source=source) for source in inputs]


def name_of(source: str) -> str:
    """A file's name; a sidecar goes by the name of what it was measured of."""
    name = displayed_name(source)
    return next((name.removesuffix(end) for end in SIDECAR_ENDINGS if name.lower().endswith(end)), name)
