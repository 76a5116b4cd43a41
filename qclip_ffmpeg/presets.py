"""Reads a TOML preset into typed settings. A key that is not known is an error: a mistyped setting never passes."""

import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec

from qclip_ffmpeg.errors import UsageError

S = TypeVar("S", bound=msgspec.Struct)


def read_toml(path: Path, settings_type: type[S]) -> S:
    """Read a TOML file as `settings_type`, a msgspec.Struct that forbids unknown fields.

    Raises:
        UsageError: the file is missing, is not TOML, or has a key or value that `settings_type` does not allow.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), settings_type)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is not TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {error}") from None
