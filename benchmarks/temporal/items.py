"""Contents and recipes -> encoded clips with the truth beside them, each made once."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.temporal.contents import Clip, Content, Half, half_of, load, rng_for
from benchmarks.temporal.kept import keeps_light, keeps_repeats
from benchmarks.temporal.recipes import MOVING_ONLY, RECIPES, Damaged, cuts, is_moving, own_drops
from qclip_ffmpeg.ffmpeg import bundled_executable
from qclip_ffmpeg.files import replacing

CRFS = (18, 23, 26, 29, 32)
PRESETS = ("veryfast", "veryfast", "medium")
REPEATING, SHINING = {"freeze", "cadence", "judder"}, {"flicker", "flash"}
"""Recipes whose damage an encoder may undo."""
OF_A_PHOTOGRAPH = 3
"""Recipes drawn for it beside `clean`; a video gets all of them, in some variants."""
CUT_PIECES = 3
CUT_POOL = 16
"""Contents that others are cut to, so that few are in memory."""


@dataclass(frozen=True)
class Item:
    """One encoded clip."""

    name: str
    content: Content
    recipe: str
    variant: int
    half: Half


class TruthEvent(msgspec.Struct):
    """As put in; times are those of the frames in the encoded file."""

    kind: str
    start_s: float
    end_s: float
    counts: bool
    group: str


class ItemTruth(msgspec.Struct):
    """What is known of one clip."""

    content: str
    recipe: str
    half: str
    rate: float
    frames: int
    duration_s: float
    crf: int
    moving: bool
    events: list[TruthEvent]
    ignored: list[str]
    """Kinds that the damage may be called, too."""
    repeated: list[int]
    """Frames that are the one before, again."""


class Refused(msgspec.Struct):
    """Why a content or a recipe on it is left out."""

    refused: str


def items_of(contents: list[Content], seed: int, variants: int) -> list[Item]:
    """Every clip of the benchmark, by content."""
    found = []
    names = [*list(RECIPES)[1:], "cuts"]
    for content in contents:
        half = half_of(content.path, seed)
        found.append(Item(f"{content.name}-clean", content, "clean", 0, half))
        if content.camera is None:
            wanted = [(recipe, variant) for recipe in names for variant in range(variants)]
        else:
            order = rng_for("recipes", seed, content.name).permutation(len(names))
            wanted = [(names[n], 0) for n in order[:OF_A_PHOTOGRAPH]]
        found += [Item(f"{content.name}-{recipe}-{n}", content, recipe, n, half) for recipe, n in wanted]
    return found


def make(item: Item, all_items: list[Item], folder: Path, size_px: tuple[int, int], seed: int) -> ItemTruth | Refused:
    """Encode a clip, if that has not been done, and return its truth."""
    said = folder / f"{item.name}.truth.json"
    if said.exists():
        return read(said)
    truth = made(item, all_items, folder, size_px, seed)
    said.write_bytes(msgspec.json.format(msgspec.json.encode(truth)))
    return truth


def read(path: Path) -> ItemTruth | Refused:
    """A truth that was written before."""
    data = path.read_bytes()
    return msgspec.json.decode(data, type=Refused if b'"refused"' in data else ItemTruth)


@lru_cache(maxsize=CUT_POOL + 4)
def loaded(content: Content, size_px: tuple[int, int]) -> Clip | str:
    """The frames of a content, or why there are none."""
    try:
        return load(content, size_px)
    except ValueError as error:
        return str(error)


def made(item: Item, all_items: list[Item], folder: Path, size_px: tuple[int, int], seed: int) -> ItemTruth | Refused:
    clip = loaded(item.content, size_px)
    if isinstance(clip, str):
        return Refused(clip)
    rng = rng_for("item", seed, item.name)
    moving = is_moving(clip)
    if item.recipe in MOVING_ONLY and not moving:
        return Refused("nothing moves")
    if item.recipe == "cuts":
        pool = {i.content.path: i.content for i in all_items if i.half == item.half and i.content != item.content}
        order = rng_for("pool", seed, item.half).permutation(len(pool))[:CUT_POOL]
        others = [list(pool.values())[order[n]] for n in rng.permutation(len(order))]
        # Another camera over the same photograph is no other scene: nobody would see the cut.
        picked = [loaded(other, size_px) for other in others if other.path != item.content.path]
        usable = [c for c in picked if isinstance(c, Clip)][:CUT_PIECES]
        damaged = cuts(clip, rng, usable)
        flashes = any(c.flashes for c in [clip, *usable])
    else:
        damaged = RECIPES[item.recipe](clip, rng)
        flashes = bool(clip.flashes) and item.recipe != "clean"
        if clip.fades and item.recipe != "clean":
            damaged.ignored |= {"fade", "black"}
    if flashes:
        damaged.ignored.add("flicker")
    damaged.truths += own_drops(clip, item.recipe, damaged)
    crf = int(rng.choice(CRFS))
    encode(damaged, folder / f"{item.name}.mkv", crf, str(rng.choice(PRESETS)), int(rng.choice([48, 250])))
    if item.recipe in REPEATING and not keeps_repeats(clip, damaged, folder / f"{item.name}.mkv"):
        damaged.truths[0].counts = False
        damaged.ignored |= {"repeat", "judder"}  # what is left of it may look like either
    if item.recipe in SHINING and not keeps_light(clip, damaged, folder / f"{item.name}.mkv"):
        damaged.truths[0].counts = False
    return truth_of(item, damaged, crf, moving)


def truth_of(item: Item, damaged: Damaged, crf: int, moving: bool) -> ItemTruth:
    count = len(damaged.planes)
    shown = damaged.stamps or [float(n) for n in range(count)]
    times_s = [t / float(damaged.rate) for t in [*shown, shown[-1] + 1]]
    late_s = {"pts_gap": 1 / float(damaged.rate)}  # it begins where the next frame should have been
    events = [
        TruthEvent(t.kind, times_s[t.start] + late_s.get(t.kind, 0), times_s[min(t.end, count)], t.counts, t.group)
        for t in damaged.truths
    ]
    return ItemTruth(
        item.content.name,
        item.recipe,
        item.half,
        float(damaged.rate),
        count,
        times_s[-1],
        crf,
        moving,
        events,
        sorted(damaged.ignored),
        [n for n, (a, b) in enumerate(pairwise(damaged.order or []), 1) if a == b],
    )


def encode(damaged: Damaged, path: Path, crf: int, preset: str, key_interval: int) -> None:
    """x264 in Matroska, with the time stamps of the recipe."""
    _, rows, width = damaged.planes.shape
    height = rows * 2 // 3
    command = [bundled_executable(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "yuv420p"]
    command += ["-s", f"{width}x{height}", "-r", str(damaged.rate), "-i", "-"]
    if damaged.stamps is not None:
        command += ["-vf", f"settb=1/90000,setpts='{stamp_expression(damaged.stamps, damaged.rate)}'"]
        command += ["-enc_time_base", "1:90000"]
    command += ["-fps_mode", "passthrough", "-c:v", "libx264", "-preset", preset, "-crf", str(crf), "-threads", "1"]
    with replacing(path) as temporary:
        command += ["-g", str(key_interval), "-f", "matroska", str(temporary)]
        subprocess.run(command, input=np.ascontiguousarray(damaged.planes).tobytes(), check=True)


def stamp_expression(stamps: list[float], rate: object) -> str:
    """Of the frame number N: jumps stay, a late or early frame does not."""
    terms, ahead = ["N"], 0.0
    for n, stamp in enumerate(stamps):
        off = stamp - n - ahead
        if off >= 0.5:
            terms.append(f"{off:g}*gte(N,{n})")
            ahead += off
        elif abs(off) > 1e-6:
            terms.append(f"({off:g})*eq(N,{n})")
    return f"round(({'+'.join(terms)})*90000/({rate}))"


def describe(items: list[Item], truths: dict[str, ItemTruth | Refused]) -> Iterator[str]:
    """What was left out, a line each."""
    for item in items:
        truth = truths[item.name]
        if item.recipe == "clean" and isinstance(truth, Refused):
            yield f"{item.content.name}: {truth.refused}"
