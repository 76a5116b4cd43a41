"""Scores and labels -> a row a metric, as Markdown, CSV and JSON."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from benchmarks.accuracy.items import Item, Labelled, ladders
from benchmarks.accuracy.peers import NOT_RUN, PEERS, Peer
from benchmarks.accuracy.scores import Scores
from benchmarks.accuracy.worker import OURS
from qclip_ffmpeg.files import write_atomically
from qclip_ffmpeg.train.bootstrap import RESAMPLES, Figure, Floats, bootstrapped, draws, ratio, weighted_spearman
from qclip_ffmpeg.train.clips import SamplingRecipe
from qclip_ffmpeg.train.evaluate import PAIRS_APART, write_csv, write_json
from qclip_ffmpeg.train.metrics import Figures, figures, share_of_pairs_right

OUR_TITLE = "**qclip-ffmpeg**"
LEAST_CPU_S = 1e-4
"""A time a frame below this is not told from nothing."""
OF_NOTHING = Figure(None, None, None)


class Row(Struct, frozen=True, kw_only=True):
    """How well one metric agrees with the labels. Figures are None where it was not run."""

    key: str
    title: str
    full_reference: bool = False
    note: str = ""
    """Why it was not run, or how many items it has a score of, where it has not of all."""
    items: int = 0
    """Items that have a score."""
    agreement: Figures | None = None
    srocc_less_ours: Figure = OF_NOTHING
    """SROCC less that of our model, on the items that both have; what the two have in common cancels."""
    pairs_right: dict[str, Figure] = {}
    """Label units -> share of the pairs of one group, at least so far apart, that are ordered right."""
    rises: Figure = OF_NOTHING
    """Steps of a CRF ladder on which the score does not fall, per ladder."""
    falling: Figure = OF_NOTHING
    """Share of the ladders that fall on every step."""
    falling_outside_band: Figure = OF_NOTHING
    """Share of the ladders that fall on every step but those within the noise band."""
    cpu_s_a_frame: float | None = None


class Report(Struct, frozen=True, kw_only=True):
    """Everything the table says."""

    data: str
    label: str
    """Column of the labels."""
    items: int
    contents: int
    ladders: int
    frames: int
    """Most that were looked at of an item."""
    display_heights_px: list[int]
    """Lines of the displays that items are shown on."""
    noise_band: float | None
    """Score units of our model; two scores closer than this are not told apart."""
    made_by: dict[str, str]
    """Metric -> model or version, frames, display."""
    notes: list[str]
    rows: list[Row]


def report(
    data: Labelled,
    scores: Scores,
    absent: Mapping[str, str],
    sampling: SamplingRecipe,
    noise_band: float | None = None,
) -> Report:
    """Compare all metrics with the labels.

    Args:
        data: the items.
        scores: theirs.
        absent: metric -> why it was not run.
        sampling: how items were looked at.
        noise_band: of our model, in score units; None where it is not known.
    """
    rows = [row_of(OURS, OUR_TITLE, None, data, scores, "", noise_band)]
    peers = [peer for peer in PEERS if peer.key in scores.made_by or peer.key in absent]
    rows += [row_of(peer.key, peer.title, peer, data, scores, absent.get(peer.key, ""), None) for peer in peers]
    rows += [Row(key=title.lower(), title=title, note=why) for title, why in NOT_RUN.items()]
    rungs = ladders(data.items)
    notes = []
    if not data.has_contents:
        notes.append("The labels name no content: pairs are left out, and intervals take every item for its own.")
    if not rungs:
        notes.append("No CRF ladders: three encodes alike but for their crf (columns codec, crf, height_px) make one.")
    elif risen := sum(rises(places, data.labels, 0.0) for places in rungs):
        notes.append(f"The labels themselves do not fall on {risen} steps of the ladders.")
    if max(data.labels) - min(data.labels) < 2 * PAIRS_APART[0]:
        notes.append("The labels hardly differ on the scale from 0 to 100; say what they can be with --label-range.")
    return Report(
        data=data.name,
        label=data.label,
        items=len(data.items),
        contents=len(set(data.contents)),
        ladders=len(rungs),
        frames=sampling.frames,
        display_heights_px=sorted({item.clip.display_height_px or sampling.display[1] for item in data.items}),
        noise_band=noise_band,
        made_by=dict(scores.made_by),
        notes=notes,
        rows=sorted(rows, key=lambda row: row.full_reference),
    )


def row_of(
    key: str, title: str, peer: Peer | None, data: Labelled, scores: Scores, why_not: str, noise_band: float | None
) -> Row:
    """The row of one metric, from the items that it has a score of."""
    full_reference = peer is not None and peer.full_reference
    kept = [place for place, values in enumerate(scores.values) if key in values]
    if why_not or not kept:
        note = why_not or next((p[key] for p in scores.problems if key in p), "no item has a reference")
        return Row(key=key, title=title, full_reference=full_reference, note=note)
    items = [data.items[place] for place in kept]
    score = [scores.values[place][key] for place in kept]
    label = [item.clip.score for item in items]
    content = [item.clip.content for item in items]
    group = [item.group for item in items]
    pairs = {
        f"{apart:g}": share_of_pairs_right(score, label, group, apart, cluster=content)
        for apart in PAIRS_APART
        if data.has_contents
    }
    return Row(
        key=key,
        title=title,
        full_reference=full_reference,
        note="" if len(items) == len(data.items) else f"{len(items)} of {len(data.items)} items",
        items=len(items),
        agreement=figures(score, label, content),
        srocc_less_ours=OF_NOTHING if key == OURS else srocc_difference(key, data, scores),
        pairs_right=pairs,
        rises=per_ladder(items, score, lambda r, s: rises(r, s, 0.0)),
        falling=per_ladder(items, score, lambda r, s: not rises(r, s, 0.0)),
        falling_outside_band=OF_NOTHING
        if noise_band is None
        else per_ladder(items, score, lambda r, s: not rises(r, s, noise_band)),
        cpu_s_a_frame=scores.cpu_s_a_frame.get(key),
    )


def srocc_difference(key: str, data: Labelled, scores: Scores) -> Figure:
    """SROCC of a metric less that of our model; its interval from drawing contents for both at once."""
    both = [place for place, values in enumerate(scores.values) if key in values and OURS in values]
    if not both:
        return OF_NOTHING
    theirs, mine = (np.array([scores.values[place][k] for place in both]) for k in (key, OURS))
    label = np.array([data.labels[place] for place in both])
    names, clusters = np.unique([data.contents[place] for place in both], return_inverse=True)

    def difference(drawn: Floats) -> Floats:
        weights = drawn[:, clusters]
        return weighted_spearman(theirs, label, weights) - weighted_spearman(mine, label, weights)

    return bootstrapped(difference, draws(len(names), RESAMPLES, 0))


def rises(rungs: Sequence[int], score: Sequence[float], noise_band: float) -> int:
    """Steps of a ladder to the next higher CRF on which the score does not fall, changes within the band left out."""
    steps = [score[b] - score[a] for a, b in pairwise(rungs)]
    return sum(step >= noise_band for step in steps)


def per_ladder(items: Sequence[Item], score: Sequence[float], count: Any) -> Figure:
    """Mean of a count of each ladder, (rungs, scores) -> number; its interval from drawing contents."""
    found = ladders(items)
    if not found:
        return OF_NOTHING
    names, place = np.unique([items[rungs[0]].clip.content for rungs in found], return_inverse=True)
    total, number = np.zeros(len(names)), np.zeros(len(names))
    np.add.at(total, place, [float(count(rungs, score)) for rungs in found])
    np.add.at(number, place, 1.0)
    return bootstrapped(lambda weights: ratio(weights @ total, weights @ number), draws(len(names), RESAMPLES, 0))


def markdown(found: Report) -> str:
    """The table for people."""
    columns = ["SROCC", "SROCC less ours", "PLCC", "RMSE", *(f"pairs >= {apart:g} apart, %" for apart in PAIRS_APART)]
    columns += ["rises a ladder", "ladders falling, %", "CPU s a frame"]
    if found.noise_band is not None:
        columns.insert(-1, f"falling outside ±{found.noise_band:g}, %")
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    group = None
    for row in found.rows:
        if row.full_reference != group:
            group = row.full_reference
            head = "with the source at hand (full reference)" if group else "no reference"
            lines.append(f"| **{head}** |" + " |" * len(columns))
        if row.agreement is None:
            lines.append(f"| {row.title} | {row.note} |" + " |" * (len(columns) - 1))
            continue
        figure = row.agreement
        cells = [f"{row.title}{f' ({row.note})' if row.note else ''}", f"{figure.srocc}"]
        cells += [said(row.srocc_less_ours, "+.3f"), f"{figure.plcc}", f"{figure.rmse:.1f}"]
        cells += [*(percent(row.pairs_right.get(f"{apart:g}")) for apart in PAIRS_APART)]
        cells += [said(row.rises, ".2f"), percent(row.falling)]
        if found.noise_band is not None:
            cells.append(percent(row.falling_outside_band))
        cells.append("" if row.cpu_s_a_frame is None else cost(row.cpu_s_a_frame))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", caption(found), *found.notes]) + "\n"


def caption(found: Report) -> str:
    """What the table is of."""
    lines = " and ".join(map(str, found.display_heights_px))
    return (
        f"{found.items} items of {found.contents} contents, labelled by {found.label}, shown at {lines} lines, at most "
        f"{found.frames} frames of each; {found.ladders} CRF ladders. In brackets: 95 % intervals over contents. PLCC "
        "and RMSE after the four-parameter logistic. CPU seconds, user and system, on one thread, reading not counted."
    )


def cost(cpu_s: float) -> str:
    return f"{cpu_s:.2g}" if cpu_s > LEAST_CPU_S else f"< {LEAST_CPU_S:.4f}"


def said(figure: Figure, number: str) -> str:
    return "" if figure.value is None else format(figure, number)


def percent(figure: Figure | None) -> str:
    """A share in per cent, with its interval."""
    return "" if figure is None else said(hundredfold(figure), ".1f")


def hundredfold(figure: Figure) -> Figure:
    return Figure(*(None if end is None else 100 * end for end in (figure.value, figure.low, figure.high)))


def flattened(row: Row) -> dict[str, Any]:
    """One row of the CSV: each figure as value, low and high."""
    flat: dict[str, Any] = {"key": row.key, "title": row.title.strip("*"), "full_reference": row.full_reference}
    flat |= {"items": row.items, "cpu_s_a_frame": row.cpu_s_a_frame, "note": row.note}
    shown: dict[str, Figure] = {
        "srocc_less_ours": row.srocc_less_ours,
        "rises_a_ladder": row.rises,
        "ladders_falling": row.falling,
    }
    shown |= {"ladders_falling_outside_band": row.falling_outside_band}
    shown |= {f"pairs_{apart:g}_right": row.pairs_right.get(f"{apart:g}", OF_NOTHING) for apart in PAIRS_APART}
    for name in ("srocc", "krocc", "plcc", "rmse"):
        shown[name] = getattr(row.agreement, name, OF_NOTHING)
    for name, figure in shown.items():
        flat |= {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
    return flat


def write_report(folder: Path, found: Report) -> None:
    """Write accuracy.md, .csv and .json."""
    write_atomically(folder / "accuracy.md", markdown(found).encode())
    rows = [flattened(row) for row in found.rows]
    write_csv(folder / "accuracy.csv", list(rows[0]), rows)
    write_json(folder / "accuracy.json", found)
