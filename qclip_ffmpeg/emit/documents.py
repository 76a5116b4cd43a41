"""JSON documents that have a schema and a version: how one is written, read back and described."""

import re
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from qclip_ffmpeg.errors import InputError

S = TypeVar("S", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Kind(Generic[S]):
    """One kind of document."""

    type: type[S]
    schema: str
    """What its "schema" says."""
    version: str
    """What its "schema_version" says, MAJOR.MINOR: only another major version is another contract."""
    called: str
    """What messages call it, "quality track"."""
    remade: str
    """How to have one that can be read, "measure it again"."""

    def read(self, data: bytes, name: str) -> S:
        """One document. Keys that are not known are ignored; all minor versions are read.

        Args:
            data: the file's bytes.
            name: what to call the file in messages.

        Raises:
            InputError: not JSON, another kind of document, one of another major version, or not valid.
        """
        try:
            head = msgspec.json.decode(data)
        except (msgspec.DecodeError, RecursionError) as error:
            raise InputError(f"{name}{line_of(error, data)}: is not JSON ({error}); {self.remade}") from None
        if not isinstance(head, dict) or head.get("schema") != self.schema:
            raise InputError(f'{name}: is JSON but not a {self.called} (no "schema": "{self.schema}")')
        version = str(head.get("schema_version"))
        if version.partition(".")[0] != self.version.partition(".")[0]:
            raise InputError(f"{name}: has schema version {version}, this program reads {self.version}; {self.remade}")
        try:
            return msgspec.convert(head, self.type)
        except msgspec.ValidationError as error:
            raise self.refusal(name, str(error)) from None

    def refusal(self, name: str, why: str) -> InputError:
        """The error to raise for a document that breaks its contract."""
        return InputError(f"{name}: is not a valid {self.called}: {why}")

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of one document, generated from its type."""
        identity = f"urn:qclip-ffmpeg:{self.schema}:{self.version}"
        schema = msgspec.json.schema(self.type)
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": identity, **schema}


def line_of(error: Exception, data: bytes) -> str:
    """ ":LINE" of the byte that a msgspec error is about; "" where it names none."""
    said = re.search(r"\(byte (\d+)\)", str(error))
    return f":{data[: int(said[1])].count(10) + 1}" if said else ""


def written(value: object) -> bytes:
    """Indented UTF-8 JSON with a final newline. The same value gives the same bytes; not finite numbers become null.

    What a file's name has of bytes that are no UTF-8 becomes question marks.
    """
    try:
        data = msgspec.json.encode(value)
    except UnicodeEncodeError:
        data = msgspec.json.encode(encodable(msgspec.to_builtins(value)))
    return msgspec.json.format(data, indent=2) + b"\n"


def encodable(value: Any) -> Any:
    """Plain values without lone surrogates in their texts."""
    if isinstance(value, dict):
        return {encodable(key): encodable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [encodable(inner) for inner in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
