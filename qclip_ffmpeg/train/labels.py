"""Label files of rated video data sets -> Clips.

Two kinds of label file, told apart by their first line: CSV with a header, and the four columns without one that the
data sets' authors pass around (file, duration in s, frames a second, score). Everything that is wrong with a file is
said at once, with its lines, before anything is decoded.
"""

import csv
import io
import math
import os
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from msgspec import Struct

from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.inputs import exists

PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
FOUR_COLUMNS = ("file", "duration_s", "fps", "score")
PROBLEMS_SHOWN = 10
MAX_RATE_DENOMINATOR = 100_000  # 29.97 stays 2997/100, 29.97002997 becomes 30000/1001


class LabelSource(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A [data] table: where labels are and how they are written. A column that is named here must be in the file."""

    labels: str
    """Path of the label file, relative to the preset."""
    root: str | None = None
    """Folder the file names are relative to, itself relative to the preset; None: the label file's own folder."""
    file_column: str = "file"
    score_column: str = "score"
    content_column: str | None = "content"
    """What splits must keep together. "content" may be missing from the file: each file is then its own content."""
    display_height_column: str | None = "display_height_px"
    """Lines the clip was shown at when it was rated. "display_height_px" may be missing from the file."""
    content_pattern: str | None = None
    """A regular expression searched in the file name: its first group, or else the whole match, is the content."""
    score_range: tuple[float, float]
    """(lowest, highest) label the rating could give, for example [1, 5]. It becomes 0..100."""
    higher_is_better: bool = True
    """False for DMOS, which counts impairment."""


class Clip(Struct, frozen=True):
    """One rated clip."""

    path: Path
    """A video, or a folder of its frames as pictures."""
    name: str
    """As the label file writes it."""
    score: float
    """0 to 100, higher is better."""
    content: str
    """Clips of one content never part in a split."""
    frame_rate: Fraction | None
    """Of a folder of frames, in Hz; None where the label file does not say."""
    display_height_px: int | None
    """Lines it was shown at when it was rated; None: as the sampling recipe says."""
    line: int
    """Line of the label file, from 1."""


class Row(Struct, frozen=True):
    """One line of either kind of label file, its fields still text; None is a column the file lacks."""

    line: int
    file: str
    score: str
    content: str | None
    display_height: str | None
    frame_rate: str | None


class Problems:
    """What is wrong with a label file, collected to be said at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: list[str] = []

    def add(self, line: int, text: str) -> None:
        self.found.append(f"{self.path}:{line}: {text}")

    def raise_if_any(self) -> None:
        """Raises UsageError, a line each for the first ten."""
        if not self.found:
            return
        more = len(self.found) - PROBLEMS_SHOWN
        raise UsageError("\n".join(self.found[:PROBLEMS_SHOWN] + ([f"and {more} more"] if more > 0 else [])))


def read_label_file(source: LabelSource, base: Path) -> list[Clip]:
    """Read the label file of one data set.

    Args:
        source: where it is and how it is written.
        base: folder that the paths in `source` are relative to: the preset's.

    Returns:
        Its clips in file order, at least two, with at least two different scores.

    Raises:
        UsageError: the file cannot be used; one line for each problem, with the line of the file where it is.
    """
    path = base / source.labels
    root = base / source.root if source.root else path.parent
    text = read_text(path)
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder of videos; check `root`")
    lowest, highest = source.score_range
    if not (math.isfinite(lowest) and math.isfinite(highest) and lowest < highest):
        raise UsageError(f"score_range [{lowest:g}, {highest:g}]: give the lowest and the highest possible label")
    pattern = compiled(source.content_pattern)
    problems = Problems(path)
    clips: list[Clip] = []
    line_of: dict[str, int] = {}
    for row in rows_of(text, source, problems):
        if not row.file:
            problems.add(row.line, "names no file")
            continue
        place = os.path.normpath(root / row.file)
        if place in line_of:
            problems.add(row.line, f"{row.file} is already on line {line_of[place]}; one of them has to go")
            continue
        line_of[place] = row.line
        clip = clip_of(row, root / row.file, source, pattern, problems)
        if clip is not None:
            clips.append(clip)
    problems.raise_if_any()
    if not clips:
        raise UsageError(f"{path}: has a header and no label under it; give at least two labelled videos")
    if len({clip.score for clip in clips}) == 1:
        raise UsageError(f"{path}: all {len(clips)} labels are {row.score}: nothing can be learned or ranked")
    return clips


def read_text(path: Path) -> str:
    """The file without its byte order mark. Raises UsageError where it cannot be read, or is empty or not UTF-8."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); check `labels`") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not UTF-8 text; save it as CSV in UTF-8") from None
    if not text.strip():
        raise UsageError(f"{path}: is empty; give a line for each video")
    return text


def compiled(content_pattern: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(content_pattern) if content_pattern else None
    except re.error as error:
        raise UsageError(f"content_pattern {content_pattern!r}: is not a regular expression: {error}") from None


def rows_of(text: str, source: LabelSource, problems: Problems) -> Iterator[Row]:
    """Rows of a label file in file order; blank ones are passed over, misshapen ones become problems.

    Raises:
        UsageError: a column is missing, or named twice.
    """
    # skipinitialspace: the four-column files are written with a space after each comma
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    header: list[str] | None = None
    has_header = True
    try:
        for fields in ([field.strip() for field in row] for row in reader):
            line = reader.line_num
            if not any(fields):
                continue
            if header is None:
                has_header = source.file_column in fields or all(number(field) is None for field in fields[1:])
                header = fields if has_header else list(FOUR_COLUMNS)
                check_columns(header, has_header, source, problems.path)
                if has_header:
                    continue
            if len(fields) != len(header):
                asked = f"the header has {len(header)}" if has_header else f"give {len(header)}: " + ", ".join(header)
                quoted = "; put a name that has a comma in quotes" if len(fields) > len(header) else ""
                problems.add(line, f"has {len(fields)} column{'s' * (len(fields) != 1)}, {asked}{quoted}")
                continue
            cells = dict(zip(header, fields, strict=True))
            yield Row(
                line=line,
                file=cells[source.file_column],
                score=cells[source.score_column],
                content=cells.get(source.content_column) if source.content_column else None,
                display_height=cells.get(source.display_height_column) if source.display_height_column else None,
                frame_rate=None if has_header else cells["fps"],
            )
    except csv.Error as error:
        problems.add(reader.line_num, f"is not CSV ({error}); check the quotes")


def check_columns(header: Sequence[str], has_header: bool, source: LabelSource, path: Path) -> None:
    """Raises UsageError where a column is missing that is needed, or that was named in the preset, or is there twice.

    The two columns that a file may lack are optional under their default names only: a mistyped one would go unseen.
    """
    wanted = [source.file_column, source.score_column]
    if source.content_column != "content":
        wanted.append(source.content_column or "")
    if source.display_height_column != "display_height_px":
        wanted.append(source.display_height_column or "")
    if missing := [repr(column) for column in wanted if column and column not in header]:
        found = f"its columns are {', '.join(map(repr, header))}"
        if not has_header:
            found = f"it has no header, so its columns are taken to be {', '.join(map(repr, FOUR_COLUMNS))}"
        raise UsageError(f"{path}: has no column {', '.join(missing)}; {found}")
    used = [*wanted, source.content_column, source.display_height_column]
    if twice := [repr(column) for column in dict.fromkeys(used) if column and header.count(column) > 1]:
        raise UsageError(f"{path}: has more than one column {', '.join(twice)}; rename all but one")


def clip_of(
    row: Row, path: Path, source: LabelSource, pattern: re.Pattern[str] | None, problems: Problems
) -> Clip | None:
    """The clip of one row; None with its problems noted where any field of it cannot be used."""
    before = len(problems.found)
    if (why := why_no_video(path)) is not None:
        problems.add(row.line, why)
    lowest, highest = source.score_range
    label = number(row.score)
    if label is None:
        problems.add(row.line, f"the score {row.score!r} is not a number")
    elif not lowest <= label <= highest:
        problems.add(row.line, f"the score {label:g} is outside score_range [{lowest:g}, {highest:g}]")
    content: str | None = row.file if row.content is None else row.content
    if pattern is not None:
        found = pattern.search(row.file)
        content = found and (found[1] if pattern.groups else found[0])
        if not content:
            problems.add(row.line, f"content_pattern {pattern.pattern!r} finds nothing in {row.file!r}")
    elif not content:
        problems.add(row.line, f"the content (column {source.content_column!r}) is empty")
    height = row.display_height
    if height and not (height.isdecimal() and len(height) <= 5 and int(height) > 0):
        problems.add(row.line, f"the display height {height!r} is not a number of lines")
    rate = number(row.frame_rate) if row.frame_rate is not None else 0.0
    if rate is None:
        problems.add(row.line, f"the frame rate {row.frame_rate!r} is not a number; -1 stands for unknown")
    if len(problems.found) > before or label is None or rate is None or not content:
        return None
    share = (label - lowest) / (highest - lowest)
    return Clip(
        path=path,
        name=row.file,
        score=100 * (share if source.higher_is_better else 1 - share),
        content=content,
        frame_rate=Fraction(rate).limit_denominator(MAX_RATE_DENOMINATOR) if rate > 1 / MAX_RATE_DENOMINATOR else None,
        display_height_px=int(height) if height else None,
        line=row.line,
    )


def why_no_video(path: Path) -> str | None:
    """What keeps a path from being a video or a folder of frames, as far as can be told without opening it."""
    if not exists(path):
        return f"no video {path.resolve()}; check the name and `root`"
    if path.is_dir():
        kinds = ", ".join(sorted(PICTURE_SUFFIXES))
        return None if pictures_in(path) else f"no pictures ({kinds}) in the folder {path.resolve()}"
    return None if path.stat().st_size else f"{path.resolve()} is an empty file; get it again"


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in natural order: frame2 before frame10. Hidden files are left out."""
    pictures = (p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES and not p.name.startswith("."))
    return sorted(pictures, key=lambda p: natural_key(p.name))


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Digits count as one number; the name itself decides between 1.png and 01.png."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", name))], name


def number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
