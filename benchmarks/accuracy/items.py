"""A label file -> items: a clip with its label, what it is compared within, the ladder it belongs to, its reference."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.train.labels import Clip, LabelSource, number, read_label_file, read_text

LABEL_COLUMNS = ("label", "vmaf", "mos", "score")
"""Looked for in this order where --label names none."""
ALIKE_IN_A_LADDER = ("height_px", "speed", "fault", "frame_rate_share")
LADDER_RUNGS = 3
"""A ladder has at least so many CRFs: with two it is a pair, and pairs have figures of their own."""


class Item(Struct, frozen=True):
    """A labelled picture or clip."""

    clip: Clip
    group: str
    """Pairs are formed within it: content, scene (or kind: still, pan, video) and display."""
    ladder: str | None
    """What its ladder has in common: the group, the codec, ALIKE_IN_A_LADDER; None without a codec or a CRF."""
    crf: float | None
    reference: Path | None
    """What it was encoded from, frame by frame from the first on."""


class Labelled(Struct, frozen=True):
    """A data set."""

    name: str
    label: str
    """Column of the labels."""
    items: list[Item]
    has_contents: bool
    """Whether the file says which items show the same content; each is its own content where it does not."""

    @property
    def has_references(self) -> bool:
        return any(item.reference is not None for item in self.items)

    @property
    def labels(self) -> list[float]:
        """0 to 100, higher is better, one an item."""
        return [item.clip.score for item in self.items]

    @property
    def contents(self) -> list[str]:
        """One an item: what the bootstrap draws."""
        return [item.clip.content for item in self.items]


def read_items(
    path: Path,
    root: Path | None = None,
    label: str | None = None,
    label_range: tuple[float, float] = (0.0, 100.0),
    lower_is_better: bool = False,
) -> Labelled:
    """Read a label file as `qclip-model` does, and the columns beside the label.

    Args:
        path: the CSV, or a folder that has a labels.csv.
        root: folder that `file` and `reference` are relative to; the CSV's own when None.
        label: column of the labels; the first of LABEL_COLUMNS that there is when None.
        label_range: (lowest, highest) label the rating could give; it becomes 0 to 100.
        lower_is_better: as with DMOS.

    Raises:
        UsageError: the file cannot be used; one line for each problem.
    """
    path = path / "labels.csv" if path.is_dir() else path
    rows = rows_by_line(path)
    header = next(iter(rows.values()), {})
    label = label or next((column for column in LABEL_COLUMNS if column in header), None)
    if header and label is None:
        raise UsageError(f"{path}: has none of the columns {', '.join(LABEL_COLUMNS)}; name its label with --label")
    source = LabelSource(
        labels=str(path.absolute()),
        root=str(root.absolute()) if root else None,
        score_column=label or "score",
        score_range=label_range,
        higher_is_better=not lower_is_better,
    )
    clips = read_label_file(source, Path())
    if folders := [clip.name for clip in clips if clip.path.is_dir()]:
        raise UsageError(f"{folders[0]}: is a folder of frames; the peers need a video or a picture")
    items = [item_of(clip, rows.get(clip.line, {}), root or path.parent) for clip in clips]
    missing = [item.reference for item in items if item.reference is not None and not item.reference.is_file()]
    if missing:
        raise UsageError(f"{path}: no reference {missing[0]} (and {len(missing) - 1} more); check the column")
    name = path.absolute().parent.name if path.stem == "labels" else path.stem
    return Labelled(name, label or "score", items, "content" in header)


def rows_by_line(path: Path) -> dict[int, dict[str, str]]:
    """Cells of each row by the line it ends on; none where there is no header. `read_label_file` does the checks."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), skipinitialspace=True)
    rows: dict[int, dict[str, str]] = {}
    header: list[str] | None = None
    for fields in ([field.strip() for field in row] for row in reader):
        if not any(fields):
            continue
        if header is None:
            header = fields
            if "file" not in header:
                return {}
        else:
            rows[reader.line_num] = dict(zip(header, fields, strict=False))
    return rows


def item_of(clip: Clip, cells: Mapping[str, str], root: Path) -> Item:
    scene = cells.get("scene") or cells.get("kind", "")
    group = " ".join([clip.content, scene, str(clip.display_height_px or "")]).rstrip()
    crf, codec = number(cells.get("rate" if cells.get("rate_control") == "crf" else "crf", "")), cells.get("codec", "")
    alike = (cells.get(column, "") for column in ALIKE_IN_A_LADDER)
    ladder = " ".join([group, codec, *alike]).rstrip() if codec and crf is not None else None
    reference = cells.get("reference", "")
    return Item(clip, group, ladder, crf, root / reference if reference else None)


def ladders(items: Sequence[Item]) -> list[list[int]]:
    """Places of the items of each CRF ladder, CRF rising; of items with the same CRF the first counts."""
    found: dict[str, dict[float, int]] = {}
    for place, item in enumerate(items):
        if item.ladder is not None and item.crf is not None:
            found.setdefault(item.ladder, {}).setdefault(item.crf, place)
    return [[place for _, place in sorted(rungs.items())] for rungs in found.values() if len(rungs) >= LADDER_RUNGS]
