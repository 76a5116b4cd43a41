"""Scores of every item by our model and its peers, and what they cost; kept in the output folder as they are made.

scores.csv has a line an item and a column a metric, higher always better (BRISQUE and the like with their sign turned
round). measured.json says how each column was made. A killed run goes on where it was; only what is missing, or was
made in another way, is measured.
"""

import csv
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

import msgspec
from msgspec import Struct

from benchmarks.accuracy.items import Item
from benchmarks.accuracy.worker import BY_KEY, OURS, Result, measure_item, start_worker, time_metrics
from qclip_ffmpeg.checkpoint import sha256_of_file
from qclip_ffmpeg.errors import InputError, QClipError
from qclip_ffmpeg.train.clips import SamplingRecipe
from qclip_ffmpeg.train.evaluate import write_csv, write_json
from qclip_ffmpeg.train.labels import number

SAVE_INTERVAL_S = 5.0
TIMED_ITEMS = 4
Progress = Callable[[str, int, int], None]


class Measured(Struct):
    """measured.json: how the columns of scores.csv were made, and what a metric costs."""

    made_by: dict[str, str] = {}
    cpu_s_a_frame: dict[str, float] = {}


class Scores:
    """scores.csv and measured.json of an output folder, as far as they are of these items and made like this.

    Args:
        folder: where they are kept.
        items: the data set.
        made_by: metric -> what makes its scores: name, version, frames. A column made by anything else is dropped,
            columns of other metrics stay.

    Attributes:
        values: one an item, metric -> score.
        problems: one an item, metric -> why it has no score.
        cpu_s_a_frame: metric -> CPU seconds, user and system.
        remade: metrics whose column is dropped.
    """

    def __init__(self, folder: Path, items: Sequence[Item], made_by: Mapping[str, str]) -> None:
        self.folder, self.items, self.made_by = folder, items, made_by
        self.inputs = inputs_of(items)
        self.values: list[dict[str, float]] = [{} for _ in items]
        self.problems: list[dict[str, str]] = [{} for _ in items]
        self.cpu_s_a_frame: dict[str, float] = {}
        self.remade: list[str] = []
        self._others: dict[str, str] = {}
        self._saved_s = time.monotonic()
        self._read()

    def _read(self) -> None:
        try:
            before = msgspec.json.decode((self.folder / "measured.json").read_bytes(), type=Measured)
            with (self.folder / "scores.csv").open(newline="", encoding="utf-8") as file:
                rows = {(row["file"], row["inputs_sha256"]): row for row in csv.DictReader(file)}
        except (OSError, KeyError, ValueError, csv.Error, msgspec.DecodeError):
            return  # there are none, or the files are no longer ours to read
        self.remade = [key for key, made_by in self.made_by.items() if before.made_by.get(key, made_by) != made_by]
        self._others = {key: made_by for key, made_by in before.made_by.items() if key not in self.made_by}
        same = [key for key in before.made_by if key not in self.remade]
        self.cpu_s_a_frame = {key: s for key, s in before.cpu_s_a_frame.items() if key in same}
        for item, inputs, values in zip(self.items, self.inputs, self.values, strict=True):
            cells = rows.get((item.clip.name, inputs), {})
            values.update({key: value for key in same if (value := number(cells.get(key, ""))) is not None})

    def missing(self) -> dict[int, list[str]]:
        """Place of an item -> metrics that it lacks; of the items that lack any."""
        wanted = (
            [
                key
                for key in self.made_by
                if key not in values and (key == OURS or item.reference or not BY_KEY[key].full_reference)
            ]
            for item, values in zip(self.items, self.values, strict=True)
        )
        return {place: keys for place, keys in enumerate(wanted) if keys}

    def add(self, place: int, result: Result) -> None:
        """Take in what one item got."""
        self.values[place].update(result.values)
        self.problems[place] = result.problems
        if time.monotonic() - self._saved_s > SAVE_INTERVAL_S:
            self.save()

    def save(self) -> None:
        """Write both files."""
        made_by = {**self.made_by, **self._others}
        columns = ["file", "content", "label", *made_by, "problems", "inputs_sha256"]
        rows = [
            {
                "file": item.clip.name,
                "content": item.clip.content,
                "label": item.clip.score,
                **values,
                "problems": "; ".join(f"{key}: {why}" for key, why in problems.items()),
                "inputs_sha256": inputs,
            }
            for item, values, problems, inputs in zip(self.items, self.values, self.problems, self.inputs, strict=True)
        ]
        write_csv(self.folder / "scores.csv", columns, rows)
        write_json(self.folder / "measured.json", Measured(made_by, self.cpu_s_a_frame))
        self._saved_s = time.monotonic()


def inputs_of(items: Sequence[Item]) -> list[str]:
    """A hash of what decides an item's scores beside the metrics: its bytes, its reference's, and the display."""
    hashes: dict[Path, str] = {}

    def of(path: Path | None) -> str:
        if path is None:
            return ""
        if path not in hashes:
            try:
                hashes[path] = sha256_of_file(path)
            except OSError as error:
                raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        return hashes[path]

    return [
        sha256(f"{of(i.clip.path)} {of(i.reference)} {i.clip.display_height_px}".encode()).hexdigest()[:16]
        for i in items
    ]


def measure(
    scores: Scores, model: str, sampling: SamplingRecipe, jobs: int, progress: Progress, folds: Path | None = None
) -> None:
    """Fill what scores lack, `jobs` items side by side in processes of their own, each on one thread.

    What the metrics cost is measured afterwards, alone. Everything is kept as it comes.

    Raises:
        QClipError: a worker died.
    """
    missing = scores.missing()
    untimed = [key for key in scores.made_by if key not in scores.cpu_s_a_frame and (key == OURS or not free(key))]
    if not missing and not untimed:
        return
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # the workers inherit it
    workers = ProcessPoolExecutor(jobs, get_context("spawn"), start_worker, (model, sampling, folds))
    try:
        waiting: dict[Future[Result], int] = {
            workers.submit(measure_item, scores.items[place], keys): place for place, keys in missing.items()
        }
        for done, future in enumerate(as_completed(waiting), start=1):
            scores.add(waiting[future], future.result())
            progress("scoring", done, len(waiting))
        if untimed:
            progress("timing", 0, 1)
            scores.cpu_s_a_frame |= workers.submit(time_metrics, timed_items(scores.items), untimed).result()
    except BrokenProcessPool:
        raise QClipError("a worker process died (out of memory?); run it again: it goes on where it was") from None
    finally:
        workers.shutdown(cancel_futures=True)
        scores.save()


def free(key: str) -> bool:
    return key != OURS and BY_KEY[key].free


def timed_items(items: Sequence[Item]) -> list[Item]:
    """Items to time, spread over the data set; with references where any has one."""
    usable = [item for item in items if item.reference is not None] or items
    step = max(1, len(usable) // TIMED_ITEMS)
    return list(usable[step // 2 :: step][:TIMED_ITEMS])
