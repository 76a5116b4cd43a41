"""The JSON sidecar: QualityTrack <-> JSON, its schema, and writing it without ever leaving half a file.

python -m qclip_ffmpeg.emit.sidecar          prints the JSON Schema
"""

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from qclip_ffmpeg.errors import InputError, UsageError
from qclip_ffmpeg.track import SCHEMA_VERSION, QualityTrack

SIDECAR_SUFFIX = ".qclip.json"
SCHEMA_ID = f"urn:qclip-ffmpeg:qclip-track:{SCHEMA_VERSION}"


def to_json(tracks: QualityTrack | Sequence[QualityTrack]) -> bytes:
    """One track as an object, several as an array; indented UTF-8 with a final newline.

    The same tracks give the same bytes. Numbers that are not finite become null.
    """
    return msgspec.json.format(msgspec.json.encode(tracks), indent=2) + b"\n"


def from_json(data: bytes, name: str) -> QualityTrack:
    """Read one sidecar. Keys that are not known are ignored; older minor versions are read.

    Args:
        data: the file's bytes.
        name: what to call it in messages.

    Raises:
        InputError: not a quality track, or one of a newer major version.
    """
    try:
        head = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"{name}: is not JSON ({error}); write it again with qclip-probe --sidecar") from None
    if not isinstance(head, dict) or head.get("schema") != "qclip-track":
        raise InputError(f'{name}: is JSON but not a quality track (no "schema": "qclip-track")')
    version = str(head.get("schema_version"))
    if version.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
        raise InputError(f"{name}: has schema version {version}, this program reads {SCHEMA_VERSION}; measure it again")
    try:
        return msgspec.convert(head, QualityTrack)
    except msgspec.ValidationError as error:
        raise InputError(f"{name}: is not a valid quality track: {error}") from None


def sidecar_path(source: Path) -> Path:
    """Where the sidecar of a media file goes: <input>.qclip.json beside it."""
    return source.with_name(source.name + SIDECAR_SUFFIX)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that its name holds either what it held before or all of `data`, even after a crash.

    Raises:
        UsageError: the folder is missing or cannot be written to, or the disk is full.
    """
    try:
        if path.exists() and not path.is_file():  # /dev/stdout, a named pipe: a rename would replace it
            path.write_bytes(data)
        else:
            replace_file(path.resolve(), data)  # a link stays a link: what it points to is replaced
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); choose another place") from None


def replace_file(path: Path, data: bytes) -> None:
    """Write a temporary file beside `path` and rename it; it is removed if anything goes wrong."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def json_schema() -> dict[str, object]:
    """JSON Schema (2020-12) of one quality track, generated from the types in `track`."""
    schema = msgspec.json.schema(QualityTrack)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **schema}


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))
