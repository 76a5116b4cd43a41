"""Where results go: what -of, -o, --json and --write-metadata ask for, refused early or written at the end.

`pictures` has what --plot and --html ask for.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qclip_ffmpeg.cli import console
from qclip_ffmpeg.errors import QClipError, UsageError
from qclip_ffmpeg.taps import write_all

if TYPE_CHECKING:
    from qclip_ffmpeg.emit.registry import Format
    from qclip_ffmpeg.track import QualityTrack

STDOUT = Path("-")
STDOUT_FD = 1


@dataclass(frozen=True, slots=True)
class Output:
    """One thing to write."""

    format: "Format"
    path: Path
    """A file, or "-" for standard output."""

    @property
    def to_stdout(self) -> bool:
        return self.path == STDOUT


def check_files(
    paths: tuple[Path, ...], copy: Path | None, pictures: dict[str, Path | None], sources: list[str], overwrite: bool
) -> None:
    """Refuse files that cannot be written, before any time is spent.

    Args:
        paths: of -o.
        copy: of --write-metadata.
        pictures: of the options that draw one, by their names.
        sources: the inputs, none of which may be written to.
        overwrite: whether -y was given.
    """
    asked = [("-o", path) for path in paths if path != STDOUT]
    named = {"--write-metadata": copy, **pictures}
    asked += [(option, path) for option, path in named.items() if path is not None]
    places = [path.resolve() for _, path in asked]
    for option, path in asked:
        check_file(option, path, sources, overwrite)
        if places.count(path.resolve()) > 1:
            raise UsageError(f"{option} {path}: is to be written twice; give each output a name of its own")
    if copy is not None:
        check_copy(copy, sources)


def check_file(option: str, path: Path, sources: list[str], overwrite: bool) -> None:
    """Refuse a file that is an input, that exists, or that cannot be made."""
    from qclip_ffmpeg.files import check_writable
    from qclip_ffmpeg.inputs import STDIN, exists

    if path.exists() and any(s != STDIN and exists(Path(s)) and path.samefile(s) for s in sources):
        raise UsageError(f"{option} {path}: is one of the inputs; choose another name")
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"{option} {path}: is not a file in an existing folder; choose another place")
    if path.is_file() and not overwrite:
        raise UsageError(f"{option} {path}: exists; add -y to overwrite it")
    if path.is_file() or not path.exists():  # /dev/stdout and named pipes need no file beside them
        check_writable(path)


def check_copy(copy: Path, sources: list[str]) -> None:
    """Refuse a copy of what is not one file, or into a container that would lose something."""
    from qclip_ffmpeg.emit.remux import check_metadata_target
    from qclip_ffmpeg.inputs import is_file

    if len(sources) != 1 or not is_file(sources[0]):
        raise UsageError(f"--write-metadata {copy}: copies one input, a file; give one")
    if copy.exists() and not copy.is_file():
        raise UsageError(f"--write-metadata {copy}: is no regular file; choose another place")
    check_metadata_target(Path(sources[0]), copy)


def outputs_of(formats: tuple[str, ...], paths: tuple[Path, ...], json: bool, sources: list[str]) -> list[Output]:
    """Pair each -of with the -o at the same place.

    Without -of the names of the files say their formats; one -of without -o, and --json, go to standard output.

    Raises:
        UsageError: they do not pair, name no format, or one that cannot hold the tracks of all the inputs.
    """
    from qclip_ffmpeg.emit.registry import FORMATS, format_named, format_of_file

    named = [format_named(name) for name in formats]
    if len(named) == 1 and not paths:
        paths = (STDOUT,)
    if named and len(named) != len(paths):
        raise UsageError(
            f"-of ({len(named)}) and -o ({len(paths)}) do not pair; give each -o its -of (- is standard output), "
            "or no -of at all where the names of the files say it"
        )
    outputs = [Output(form, path) for form, path in zip(named or map(format_of_file, paths), paths, strict=True)]
    outputs += [Output(FORMATS["json"], STDOUT)] * json
    if sum(output.to_stdout for output in outputs) > 1:
        raise UsageError("standard output can take one format; give the others a file each with -o")
    for output in outputs:
        check_format(output.format, sources)
    return outputs


def check_format(form: "Format", sources: list[str]) -> None:
    """Refuse a format that cannot hold the tracks of all the inputs."""
    from qclip_ffmpeg.emit.registry import FORMATS
    from qclip_ffmpeg.inputs import displayed_name

    if len(sources) > 1 and form.several is None:
        others = ", ".join(name for name, other in FORMATS.items() if other.several)
        raise UsageError(f"-of {form.name}: describes one video; give one input, or choose one of {others}")
    names = [displayed_name(source) for source in sources]
    if form.by_name and (twice := [name for name in names if names.count(name) > 1]):
        raise UsageError(
            f"-of {form.name}: cannot tell two inputs named {twice[0]} apart; rename one, or write two files"
        )


def write_outputs(outputs: list[Output], tracks: list["QualityTrack"], several: bool) -> int:
    """Write all outputs, files first.

    Returns the exit code; a file that cannot be written is said, and the others are still written.
    """
    from qclip_ffmpeg.files import write_atomically

    code = 0
    for output in sorted(outputs, key=lambda output: output.to_stdout):
        of_several = output.format.several if several else None
        try:
            data = of_several(tracks) if of_several else output.format.one(tracks[0])
            if output.to_stdout:
                write_all(STDOUT_FD, data)  # a write of sys.stdout may end half done when a signal has come
            else:
                write_atomically(output.path, data)
        except QClipError as error:
            failed = report(error)
            code = code or failed
    return code


def write_sidecar(source: str, track: "QualityTrack") -> int:
    """Write <input>.qclip.json beside the input, at once: what is measured must outlive a later failure.

    Returns the exit code; a failure is said and the other inputs are still measured.
    """
    from qclip_ffmpeg.emit.sidecar import sidecar_path, to_json
    from qclip_ffmpeg.files import write_atomically

    try:
        write_atomically(sidecar_path(Path(source)), to_json(track))
    except QClipError as error:
        return report(error)
    return 0


def write_copy(source: str, track: "QualityTrack", copy: Path) -> int:
    """The file of --write-metadata. Returns the exit code; a failure is said, what else was asked for is written."""
    from qclip_ffmpeg.emit.remux import write_metadata

    try:
        write_metadata(Path(source), track, copy)
    except QClipError as error:
        return report(error)
    return 0


def report(error: QClipError) -> int:
    """Say an error and go on; its exit code."""
    console.fail("qclip-probe", str(error))
    return error.exit_code


def read_sidecars(sources: list[str]) -> tuple[list["QualityTrack"], int]:
    """The tracks that an earlier --sidecar wrote beside the inputs, and the exit code.

    Raises:
        UsageError: there is none.
        InputError: it is no quality track, or that of another file.
    """
    from qclip_ffmpeg.emit.sidecar import from_json, sidecar_path
    from qclip_ffmpeg.errors import InputError
    from qclip_ffmpeg.inputs import displayed_name, exists

    tracks = []
    code = 0
    for source in sources:
        path = sidecar_path(Path(source))
        try:
            track = from_json(path.read_bytes(), str(path))
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror}); measure {source} with --sidecar") from None
        if track.source.name != displayed_name(source):
            raise InputError(f"{path}: is the track of {track.source.name}, not of {source}; measure it again")
        if exists(Path(source)) and Path(source).stat().st_mtime > path.stat().st_mtime:
            console.warn("qclip-probe", f"{path}: is older than {source}; measure it again if the video has changed")
        tracks.append(track)
        code = say_incomplete(track) or code
    return tracks, code


def say_incomplete(track: "QualityTrack") -> int:
    """Say why a track is not of the whole input. Returns the exit code."""
    if track.complete:
        return 0
    why = track.warnings[0] if track.warnings else "its sidecar does not say why"
    console.warn("qclip-probe", f"{track.source.name}: incomplete: {why}")
    return console.EXIT_COULD_NOT_MEASURE
