"""Reads a TOML preset into typed settings. A key that is not known is an error, with its line: a mistyped setting never
passes."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.files import read_up_to

S = TypeVar("S", bound=msgspec.Struct)
Place = tuple[str | int, ...]
"""Names of tables and keys from the outside in, and the numbers of the entries of an array of tables."""

LARGEST_BYTES = 1024 * 1024
"""More than any preset has; a longer file was not meant."""
MOST_LINES, MOST_CHARACTERS = 100, 20_000
"""Of one value; beyond them the lines of what follows are not looked for."""


def read_toml(path: Path, settings_type: type[S]) -> S:
    """Read a TOML file as `settings_type`, a msgspec.Struct that forbids unknown fields.

    Raises:
        UsageError: the file is missing, is not TOML, or has a key or value that `settings_type` does not allow; the
            message begins with FILE:LINE.
    """
    text = text_of(path)
    return convert(parsed(text, str(path)), settings_type, text, str(path))


def text_of(path: Path) -> str:
    """The text of a TOML file.

    Raises:
        UsageError: it is missing, is too large, or is not text.
    """
    data = read_up_to(path, LARGEST_BYTES)
    if len(data) > LARGEST_BYTES:
        raise UsageError(f"{path}: has more than {LARGEST_BYTES // 1024} KiB; check the path")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}:{line}: is not TOML: no UTF-8 text") from None


def parsed(text: str, name: str) -> dict[str, Any]:
    """The tables of a TOML text. `name`: of its file, for messages.

    Raises:
        UsageError: it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = re.search(r" \(at line (\d+), column \d+\)", str(error))
        line = int(said[1]) if said else text.rstrip().count("\n") + 1  # "at end of document"
        message = str(error).replace(said[0], "") if said else str(error)
        raise UsageError(f"{name}:{line}: is not TOML: {message}") from None
    except RecursionError:
        raise UsageError(f"{name}: is not TOML that anyone wrote: it is nested too deep") from None


def convert(table: Any, settings_type: type[S], text: str, name: str, inside: Place = ()) -> S:
    """A parsed table as `settings_type`.

    Args:
        table: what was parsed.
        settings_type: a msgspec.Struct that forbids unknown fields.
        text: of the whole file, for the line of an error.
        name: of the file, for messages.
        inside: where in the file the table stands.

    Raises:
        UsageError: it has a key or value that `settings_type` does not allow.
    """
    try:
        return msgspec.convert(table, settings_type)
    except msgspec.ValidationError as error:
        line = line_of(text, (*inside, *place_of(str(error))))
        raise UsageError(f"{name}:{line}: {error}") from None


def place_of(message: str) -> Place:
    """The place that a msgspec error is about: "... unknown field `x` - at `$.a.b[0]`" -> ("a", "b", 0, "x")."""
    _, _, path = message.partition(" - at `$")
    place = tuple(int(part) if part.isdigit() else part for part in re.findall(r"\w+", path.partition("...")[0]))
    unknown = re.search(r"unknown field `([^`]*)`", message)
    return (*place, unknown[1]) if unknown else place


def line_of(text: str, place: Place) -> int:
    """The line, from 1, where a TOML text says a key or begins a table; of what it stands in where it is not there."""
    lines: dict[Place, int] = {}
    for line, found in places(text):
        lines.setdefault(found, line)
    return next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), 1)


def places(text: str) -> Iterator[tuple[int, Place]]:
    """(line, place) of every table and key of a TOML text, in its order. tomllib does not tell where they are.

    A statement is one line, or as many as it takes until they are TOML by themselves.
    """
    table: Place = ()
    counts: dict[Place, int] = {}
    """Of arrays of tables: how many entries were begun."""
    begun, statement = 0, ""
    for line, written in enumerate(text.split("\n"), 1):
        begun, statement = (begun, f"{statement}\n{written}") if statement else (line, written)
        try:
            said = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            if line - begun > MOST_LINES or len(statement) > MOST_CHARACTERS:
                return
            continue
        if statement.lstrip().startswith("["):
            table = header(said, counts)
            yield begun, table
        else:
            yield from ((begun, (*table, *inner)) for inner in inner_places(said))
        statement = ""


def header(said: dict[str, Any], counts: dict[Place, int]) -> Place:
    """The place of the table that a header begins, [a.b] or [[a.b]]; counts it in `counts`."""
    place: Place = ()
    value: Any = said
    while value:
        if isinstance(value, list):
            counts[place] = counts.get(place, 0) + 1
            return (*place, counts[place] - 1)
        [(key, value)] = value.items()
        place = (*place, key)
        if place in counts and isinstance(value, dict):  # of the newest entry
            place = (*place, counts[place] - 1)
    return place


def inner_places(value: Any) -> Iterator[Place]:
    """The places of all keys in a parsed value, from the outside in."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield (key,)
        yield from ((key, *rest) for rest in inner_places(inner))
