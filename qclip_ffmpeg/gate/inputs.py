"""Tracks that were measured before, for a gate: sidecars, and baselines, the sidecars of a whole ladder in one file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Struct

from qclip_ffmpeg import __version__
from qclip_ffmpeg.emit.documents import Kind, written
from qclip_ffmpeg.emit.sidecar import TRACK, check_scores, from_json
from qclip_ffmpeg.errors import InputError, UsageError
from qclip_ffmpeg.files import read_up_to
from qclip_ffmpeg.ladder import Rung
from qclip_ffmpeg.ladder_inputs import Entry, entries_of
from qclip_ffmpeg.track import SCHEMA_VERSION, QualityTrack, Tool, described

BASELINE_VERSION = "1.0"
LARGEST_BYTES = 512 * 1024 * 1024
"""Of one file; a day of one-second segments has a tenth of it."""


class BaselineRung(Struct, frozen=True, kw_only=True):
    """One rung of a baseline."""

    name: str
    declared_kbps: Annotated[float | None, described("as its ladder declares it")] = None
    declared_height_px: Annotated[int | None, described("likewise")] = None
    track: QualityTrack


class Baseline(Struct, frozen=True, kw_only=True):
    """A ladder that was measured, for later ones to be held against."""

    schema: Literal["qclip-baseline"]
    schema_version: str
    tool: Tool
    rungs: Annotated[list[BaselineRung], described("lowest first")]


BASELINE = Kind(
    Baseline, "qclip-baseline", BASELINE_VERSION, "baseline", "save it again with qclip-gate --save-baseline"
)


def rung_of(entry: Entry, track: QualityTrack) -> Rung:
    """A rung of a ladder with what was measured of it."""
    return Rung(
        name=entry.name, track=track, declared_kbps=entry.declared_kbps, declared_height_px=entry.declared_height_px
    )


def read_sidecar(entry: Entry) -> Rung:
    """The rung that a sidecar tells of.

    Raises:
        UsageError: there is no such file.
        InputError: it is no quality track, or one that a newer program wrote.
    """
    data = bytes_of(Path(entry.source))
    track = from_json(data, entry.source)
    check_version(track.schema_version, SCHEMA_VERSION, entry.source, TRACK.remade)
    return rung_of(entry, track)


def read_baseline(path: Path) -> list[Rung]:
    """The rungs of a baseline: of a file that `baseline_json` made, or of the sidecars in a folder.

    Raises:
        UsageError: there is none.
        InputError: it is no baseline, or one that a newer program wrote.
    """
    if path.is_dir():
        entries = entries_of(ladders=[str(path)])
        if media := [entry.name for entry in entries if not entry.is_sidecar]:
            raise UsageError(f"--baseline {path}: holds {media[0]}; a baseline is a folder of sidecars, or one file")
        return [read_sidecar(entry) for entry in entries]
    data = bytes_of(path)
    baseline = BASELINE.read(data, str(path))
    check_version(baseline.schema_version, BASELINE_VERSION, str(path), BASELINE.remade)
    names = [rung.name for rung in baseline.rungs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise BASELINE.refusal(str(path), f"two rungs are named {twice[0]!r}")
    if not names:
        raise BASELINE.refusal(str(path), "it has no rung")
    for rung in baseline.rungs:
        called = f"{path}: {rung.name}"
        check_version(rung.track.schema_version, SCHEMA_VERSION, called, BASELINE.remade)
        check_scores(rung.track, called)
    return [
        Rung(name=r.name, track=r.track, declared_kbps=r.declared_kbps, declared_height_px=r.declared_height_px)
        for r in baseline.rungs
    ]


def baseline_json(rungs: Sequence[Rung]) -> bytes:
    """A ladder as a baseline, in the order of `rungs`. The same rungs give the same bytes."""
    return written(
        Baseline(
            schema="qclip-baseline",
            schema_version=BASELINE_VERSION,
            tool=Tool("qclip-ffmpeg", __version__, {}),
            rungs=[
                BaselineRung(
                    name=rung.name,
                    declared_kbps=rung.declared_kbps,
                    declared_height_px=rung.declared_height_px,
                    track=rung.track,
                )
                for rung in rungs
            ],
        )
    )


def bytes_of(path: Path) -> bytes:
    """A file's bytes. Raises UsageError where it cannot be read, and InputError where nobody can have meant it."""
    data = read_up_to(path, LARGEST_BYTES)
    if len(data) > LARGEST_BYTES:
        raise InputError(f"{path}: has more than {LARGEST_BYTES >> 20} MiB; check the path")
    return data


def check_version(version: str, known: str, name: str, remade: str) -> None:
    """Raises InputError where a newer program wrote a document: what it added may be what should fail a gate."""
    minor = version.partition(".")[2]
    if not (minor.isdecimal() and len(minor) <= 6 and int(minor) <= int(known.partition(".")[2])):
        raise InputError(
            f"{name}: has schema version {version}, which is newer than {known}, all that this program knows; update "
            f"it, or {remade}"
        )


def baseline_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a baseline."""
    return BASELINE.json_schema()
