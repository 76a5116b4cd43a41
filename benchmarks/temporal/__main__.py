"""What happens in time: our events and FFmpeg's detectors on clean clips that were damaged by recipe, and encoded.

    pip install '.[train]'
    python -m benchmarks.temporal SOURCES... -o RESULTS --half development
    python -m benchmarks.temporal SOURCES... -o RESULTS --half held-out          # once, at the end
    python -m benchmarks.temporal OTHERS... -o RESULTS --half all                # sources that nobody has looked at

SOURCES are folders of videos and photographs, clean ones. Each source belongs to one half by a hash of its name and
--seed: thresholds are set on the development half. Run it again to go on after a stop; --fresh ours measures ours anew.
Writes clips/, their truth, what each detector found, and HALF.md and HALF.json with the tables.
"""

import argparse
from pathlib import Path

import msgspec

from benchmarks.temporal.contents import find_contents
from benchmarks.temporal.detectors import DETECTORS, Found
from benchmarks.temporal.items import Item, ItemTruth, Refused, describe, items_of, make
from benchmarks.temporal.score import Figures, false_on_clean, score
from qclip_ffmpeg.track import EVENTS

WIDTH_PX = 480


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.temporal", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("sources", type=Path, nargs="+", metavar="SOURCES")
    made.add_argument("-o", "--output", type=Path, required=True, metavar="RESULTS")
    made.add_argument("--half", choices=["development", "held-out", "all"], default="development")
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--width", type=int, default=WIDTH_PX, help="of the clips in px, 16:9")
    made.add_argument("--cameras", type=int, default=2, help="over a photograph")
    made.add_argument("--variants", type=int, default=2, help="of each recipe, of a video")
    made.add_argument("--only", nargs="+", choices=DETECTORS, default=list(DETECTORS))
    made.add_argument("--fresh", nargs="+", choices=DETECTORS, default=[], help="measure these anew")
    made.add_argument("--recipes", nargs="+", help="these and no others")
    made.add_argument("--every", type=int, default=1, help="take every n-th content, for a quick look")
    return made


def measured(detector: str, item: Item, folder: Path, fresh: bool) -> list[Found]:
    said = folder / "found" / detector.replace(" ", "_") / f"{item.name}.json"
    if said.exists() and not fresh:
        return msgspec.json.decode(said.read_bytes(), type=list[Found])
    found = DETECTORS[detector][0](folder / "clips" / f"{item.name}.mkv")
    said.parent.mkdir(parents=True, exist_ok=True)
    said.write_bytes(msgspec.json.encode(found))
    return found


def table(rows: list[Figures]) -> str:
    lines = ["| kind | detector | true | recall | found | precision | F1 | onset, frames |", "|" + "---|" * 8]
    for f in rows:
        recall, precision, f1 = (f"{v:.1%}" if v is not None else "" for v in (f.recall, f.precision, f.f1))
        onset = f"{f.onset:.2f}" if f.onset is not None else ""
        lines.append(f"| {f.kind} | {f.detector} | {f.true} | {recall} | {f.found} | {precision} | {f1} | {onset} |")
    return "\n".join(lines)


def main() -> None:
    options = parser().parse_args()
    folder: Path = options.output
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    size_px = (options.width, options.width * 9 // 16 // 2 * 2)
    contents = find_contents(options.sources, options.cameras)[:: options.every]
    everything = items_of(contents, options.seed, options.variants)
    items = [
        i
        for i in everything
        if options.half in (i.half, "all") and (not options.recipes or i.recipe in options.recipes)
    ]
    truths: dict[str, ItemTruth | Refused] = {}
    for n, item in enumerate(items):
        truths[item.name] = make(item, everything, folder / "clips", size_px, options.seed)
        if n % 100 == 99:
            print(f"made {n + 1} of {len(items)}", flush=True)
    usable = [(i, t) for i in items if isinstance(t := truths[i.name], ItemTruth)]
    rows: list[Figures] = []
    text = [f"{len(usable)} clips, {len({i.content.path for i, _ in usable})} sources, half {options.half}"]
    text += [f"left out: {line}" for line in describe(items, truths)]
    for detector in options.only:
        able = DETECTORS[detector][1] or tuple(EVENTS)
        found = [(i.name, t, measured(detector, i, folder, detector in options.fresh)) for i, t in usable]
        rows += [score(detector, kind, found) for kind in able]
        if detector == "ours":
            false, minutes = false_on_clean(found)
            text.append(
                f"clean: {len(false)} false events in {minutes:.1f} minutes" + "".join(f"\n  {f}" for f in false)
            )
    rows.sort(key=lambda f: (list(EVENTS).index(f.kind), list(DETECTORS).index(f.detector)))
    text.append(table(rows))
    for f in rows:
        if f.detector == "ours":
            text.append(f"{f.kind}: " + ", ".join(f"{g or 'all'} {r}/{n}" for g, (n, r) in sorted(f.groups.items())))
    (folder / f"{options.half}.md").write_text("\n".join(text) + "\n")
    (folder / f"{options.half}.json").write_bytes(msgspec.json.format(msgspec.json.encode(rows)))
    print("\n".join(text))


if __name__ == "__main__":
    main()
