"""Our model and every no-reference metric that runs here, on the same labelled pictures or clips: one table.

    pip install '.[bench]'
    python -m benchmarks.accuracy LABELS.csv -o RESULTS [--noise-band 2]

The label file is a CSV with a header, as `python -m qclip_ffmpeg.train.ladders` writes it:

    file               picture or clip, relative to the file (or to --root)
    label | vmaf | mos | score    the label; the first of these there is, or --label
    content            what it shows: pairs are formed within it, intervals drawn over it
    codec, crf, height_px, scene  say which encodes are a CRF ladder (optional)
    display_height_px  lines of the screen it is shown on; else --display (optional)
    reference          what it was encoded from; adds VMAF, PSNR, SSIM and XPSNR as a ceiling (optional)

Writes accuracy.md, .csv and .json (the table), cost.png and scatter.png, scores.csv (every score of every item, with
the sign that makes higher better) and measured.json. Run it again to go on after a stop, or with another --model: only
what is missing or was made in another way is measured. What a peer is shown is said in peers.py, how its time is taken
in worker.py.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NoReturn

from benchmarks.accuracy.items import Labelled, read_items
from benchmarks.accuracy.peers import PEERS, Peer, problem_of
from benchmarks.accuracy.plot import cost_png, scatter_png
from benchmarks.accuracy.scores import Scores, measure
from benchmarks.accuracy.table import markdown, report, write_report
from benchmarks.accuracy.worker import OURS
from qclip_ffmpeg.checkpoint import DEFAULT_MODEL, LoadedModel, load_model
from qclip_ffmpeg.cli.console import EXIT_INTERRUPTED, StageProgress, fail, warn
from qclip_ffmpeg.description import library_versions
from qclip_ffmpeg.errors import QClipError, UsageError
from qclip_ffmpeg.ffmpeg import bundled_executable
from qclip_ffmpeg.files import make_folder
from qclip_ffmpeg.train.clips import SamplingRecipe

NAME = "accuracy"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("labels", type=Path, help="the label file, or a folder with a labels.csv")
    made.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where the results go")
    made.add_argument("--root", type=Path, metavar="FOLDER", help="what files are relative to; default: the CSV's own")
    made.add_argument("--label", metavar="COLUMN", help="column of the labels")
    made.add_argument(
        "--label-range", type=float, nargs=2, default=(0.0, 100.0), metavar=("LOW", "HIGH"), help="becomes 0 to 100"
    )
    made.add_argument("--lower-is-better", action="store_true", help="of the labels, as with DMOS")
    made.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME|FILE", help="our model; default: %(default)s")
    made.add_argument(
        "--folds",
        type=Path,
        metavar="RUN",
        help="the cross-validation that our model ended: each item is scored by the fold's model that has not seen its "
        "content",
    )
    made.add_argument("--frames", type=int, metavar="N", help="most frames of a clip; default: the model's own")
    made.add_argument("--display", type=int, default=1080, metavar="LINES", help="of the screen; default: %(default)s")
    made.add_argument(
        "--noise-band", type=float, metavar="POINTS", help="two of our scores closer than this are not told apart"
    )
    made.add_argument(
        "--only", nargs="+", choices=[peer.key for peer in PEERS], metavar="PEER", help="these peers and no others"
    )
    made.add_argument("--jobs", type=int, default=2, metavar="N", help="processes side by side; default: %(default)s")
    return made


def benchmark(options: argparse.Namespace) -> str:
    """Measure, write everything and return the table.

    Raises:
        QClipError: the labels or the options cannot be used, or a worker died.
    """
    for name in ("frames", "display", "jobs"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise UsageError(f"--{name} {value}: give 1 or more")
    if options.noise_band is not None and options.noise_band < 0:
        raise UsageError(f"--noise-band {options.noise_band:g}: give 0 or more")
    bundled_executable()
    data = read_items(options.labels, options.root, options.label, tuple(options.label_range), options.lower_is_better)
    make_folder(options.output)
    model = load_model(options.model)
    sampling = SamplingRecipe(
        frames=options.frames or model.card.frames_per_window,
        display=(round(options.display * 16 / 9), options.display),
    )
    wanted = wanted_peers(data, options.only)
    absent = {peer.key: why for peer in wanted if (why := problem_of(peer)) is not None}
    made_by = made_by_of(model, [peer for peer in wanted if peer.key not in absent], sampling)
    if options.folds:
        made_by[OURS] += ", by the folds that had not seen the content"
    scores = Scores(options.output, data.items, made_by)
    if scores.remade:
        warn(NAME, f"{', '.join(scores.remade)}: made in another way before; measured anew")
    with StageProgress(quiet=False) as progress:
        measure(scores, options.model, sampling, options.jobs, progress.update, options.folds)
    for item, problems in zip(data.items, scores.problems, strict=True):
        for key, why in problems.items():
            warn(NAME, f"{item.clip.name}: {key}: {why}")
    if not any(OURS in values for values in scores.values):
        raise QClipError(f"{options.labels}: not one item could be scored")
    found = report(data, scores, absent, sampling, options.noise_band)
    write_report(options.output, found)
    cost_png(options.output / "cost.png", found)
    scatter_png(options.output / "scatter.png", found, data, scores)
    return markdown(found)


def wanted_peers(data: Labelled, only: Sequence[str] | None) -> list[Peer]:
    """The peers that were asked for; those that need a reference where there is any."""
    asked = [peer for peer in PEERS if only is None or peer.key in only]
    return [peer for peer in asked if data.has_references or not peer.full_reference]


def made_by_of(model: LoadedModel, peers: Sequence[Peer], sampling: SamplingRecipe) -> dict[str, str]:
    """Metric -> all that decides its scores beside the item."""
    shown = f"display {sampling.display[1]}"
    picked = f"{sampling.frames} frames by {sampling.policy}, seed {sampling.seed}, {shown}"
    versions = " ".join(f"{name} {said}" for name, said in library_versions().items())
    made_by = {
        OURS: f"{model.card.id} {model.weights_sha256[:16]} {model.card.backbone_sha256[:16]}, {picked}, {versions}"
    }
    for peer in peers:
        tools = ", ".join(map(version_of, peer.packages or ("imageio-ffmpeg",)))
        looked = f"packets, {shown}" if peer.free else f"all frames, {shown}" if peer.full_reference else picked
        made_by[peer.key] = f"{tools}, {looked}"
    return made_by


def version_of(package: str) -> str:
    name = {"cv2": "opencv-python"}.get(package, package)
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:  # another build of it
        return f"{name} unknown"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    options = parser().parse_args(arguments)
    try:
        print(benchmark(options), end="")
    except QClipError as error:
        fail(NAME, str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        fail(NAME, "interrupted; run it again to go on")
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(0)


if __name__ == "__main__":
    main()
