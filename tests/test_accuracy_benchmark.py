"""The accuracy benchmark: labels, what peers are shown and say, the ladder figures, what is kept, and one whole run."""

import csv
import importlib
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY
from matplotlib.image import imread

from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.reader import open_video
from qclip_ffmpeg.train.clips import SamplingRecipe
from qclip_ffmpeg.views import Display

sys.path.insert(0, str(REPOSITORY))  # the benchmarks are no part of the package

from benchmarks.accuracy import __main__ as program
from benchmarks.accuracy import scores as scores_module
from benchmarks.accuracy.items import Labelled, ladders, read_items
from benchmarks.accuracy.peers import INSTALL, PEERS, Peer, Shown, problem_of, show
from benchmarks.accuracy.scores import Scores, timed_items
from benchmarks.accuracy.table import markdown, report, rises, row_of
from benchmarks.accuracy.worker import OURS, Result, cpu_clock_s

pytest_plugins = ["model_fixtures"]
SIZE = (256, 224)  # px; the model's views need 224
CRFS = (18, 32, 46)
SAMPLING = SamplingRecipe(frames=3)
peers = {peer.key: peer for peer in PEERS}


@pytest.fixture(scope="module")
def labels(media: Callable[..., Path], encode: Callable[..., Path]) -> Path:
    """labels.csv of two x264 ladders of three rungs, with references, as the ladder maker and a user would write it."""
    rows = []
    for source in ("testsrc2", "mandelbrot"):
        reference = media(f"accuracy-{source}.mkv", 0.4, SIZE, 10, source=source, c="ffv1", pix_fmt="yuv420p")
        for number, crf in enumerate(CRFS):
            path = encode(reference, f"accuracy-{source}{crf}.mkv", vcodec="libx264", crf=crf, preset="ultrafast")
            rows.append((path.name, source, "video", "libx264", crf, SIZE[1], SIZE[1], 95 - 30 * number, reference))
    labels = path.with_name("labels.csv")
    header = ("file", "content", "kind", "codec", "crf", "height_px", "display_height_px", "vmaf", "reference")
    with labels.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return labels


@pytest.fixture(scope="module")
def data(labels: Path) -> Labelled:
    return read_items(labels)


@pytest.fixture(scope="module")
def shown(data: Labelled, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Shown]:
    """CRF -> the first and the third frame of an encode of testsrc2, shown at 336 lines."""
    made = {}
    for item, crf in zip(data.items, CRFS, strict=False):
        with open_video(str(item.clip.path)) as video:
            info = video.info
        folder = tmp_path_factory.mktemp("shown")
        made[crf] = show(item.clip.path, info, Display(1920, 336), [0, 2], item.reference, folder)
    return made


def write_labels(folder: Path, text: str, *files: str) -> Path:
    for name in files:
        (folder / name).write_bytes(b"x")
    (folder / "ratings.csv").write_text(text)
    return folder / "ratings.csv"


def test_labels_and_what_stands_beside_them(data: Labelled, labels: Path) -> None:
    assert (data.label, data.has_contents, data.has_references) == ("vmaf", True, True)
    assert data.labels == [95, 65, 35, 95, 65, 35]
    assert data.contents == ["testsrc2"] * 3 + ["mandelbrot"] * 3
    assert ladders(data.items) == [[0, 1, 2], [3, 4, 5]]
    assert read_items(labels.parent) == data, "a folder stands for its labels.csv"


def test_other_labels(tmp_path: Path) -> None:
    path = write_labels(tmp_path, "file,mos,note\na.mp4,1,x\nb.mp4,5,y\n", "a.mp4", "b.mp4")
    found = read_items(path, label_range=(1, 5))
    assert (found.name, found.label, found.labels) == ("ratings", "mos", [0, 100])
    assert not found.has_contents
    assert ladders(found.items) == []
    assert read_items(path, label_range=(1, 5), lower_is_better=True).labels == [100, 0]
    (tmp_path / "elsewhere").mkdir()
    path = path.rename(tmp_path / "elsewhere" / "l.csv")
    assert read_items(path, root=tmp_path, label="mos", label_range=(1, 5)).labels == [0, 100]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "file,quality\na.mp4,1\nb.mp4,2\n",
            "none of the columns label, vmaf, mos, score; name its label with --label",
        ),
        ("file,mos,reference\na.mp4,1,gone.mp4\nb.mp4,2,\n", "no reference .*gone.mp4"),
        ("file,mos\na.mp4,1\nfolder,2\n", "folder: is a folder of frames"),
        ("file,mos\na.mp4,one\nb.mp4,2\n", "ratings.csv:2: the score 'one' is not a number"),
    ],
)
def test_labels_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    path = write_labels(tmp_path, text, "a.mp4", "b.mp4")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "1.png").write_bytes(b"x")
    with pytest.raises(UsageError, match=said):
        read_items(path)


def test_peers_see_the_picked_frames_as_displayed(data: Labelled, shown: dict[int, Shown]) -> None:
    pictures = shown[18].rgb
    assert [picture.shape for picture in pictures] == [(336, 384, 3)] * 2
    with open_video(str(data.items[0].clip.path)) as video:
        frames = [frame.rgb() for frame in video]
    for picture, place in zip(pictures, (0, 2), strict=True):
        means = picture.mean(axis=(0, 1)), frames[place].mean(axis=(1, 2))
        np.testing.assert_allclose(*means, atol=1.0, err_msg="another frame, other colours, or another range")


@pytest.mark.parametrize("key", ["bits_per_pixel", "vmaf", "psnr", "ssim", "xpsnr"])
def test_peers_tell_a_good_encode_from_a_bad_one(key: str, shown: dict[int, Shown]) -> None:
    score = [peers[key].score(shown[crf]) for crf in CRFS]
    assert score[0] > score[1] > score[2]


def test_every_ffmpeg_peer_says_a_number(shown: dict[int, Shown]) -> None:
    for key in ("cambi", "blurdetect", "blockdetect"):
        assert peers[key].measure(shown[46]) >= 0
        assert peers[key].score(shown[46]) == -peers[key].measure(shown[46]), "higher is better here"
    assert peers["psnr"].measure(shown[18]) == pytest.approx(45, abs=12), "dB"
    assert peers["vmaf"].measure(shown[18]) == pytest.approx(90, abs=10)


def test_bits_per_displayed_pixel(shown: dict[int, Shown]) -> None:
    bits = 8 * shown[18].source.stat().st_size / (4 * 336 * 384)
    assert 0.8 * bits < peers["bits_per_pixel"].measure(shown[18]) < bits, "the container has its part of the file"


def test_a_package_that_is_missing_or_broken(monkeypatch: pytest.MonkeyPatch, data: Labelled, tmp_path: Path) -> None:
    nothing = Peer("none", "None", lambda _: 0.0, packages=("no_such_package",))
    assert problem_of(nothing) == INSTALL == "not installed: pip install 'qclip-ffmpeg[bench]'"
    broken = types.ModuleType("broken")

    def fail(name: str) -> Any:
        raise ImportError("libGL.so.1: cannot open shared object file", name=None)

    monkeypatch.setattr(importlib, "import_module", fail)
    assert problem_of(Peer("b", "B", lambda _: 0.0, packages=(broken.__name__,))) == (
        "broken is installed but cannot be imported (libGL.so.1: cannot open shared object file)"
    )
    found = report(data, filled(data, tmp_path), {"brisque": INSTALL}, SAMPLING)
    assert f"| BRISQUE | {INSTALL} |" in markdown(found)
    assert "| NIQE | no maintained package" in markdown(found), "what cannot be run is said too"


def test_brisque_and_piqe_are_given_what_they_take(shown: dict[int, Shown], monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for packages of the `bench` extra: the real ones are not needed to test."""
    first = shown[18].rgb[0]

    class Brisque:
        def score(self, picture: Any) -> float:
            scaled = self.scale_features([np.array([1.5]), 2.0])
            return float(scaled + (0 if picture.dtype == np.uint8 else np.nan))

        def scale_features(self, features: list[Any]) -> float:
            return sum(float(feature) for feature in features)

    given = []
    piqe = types.SimpleNamespace(piqe=lambda picture: (given.append(picture), (30.0, None))[1])
    monkeypatch.setitem(sys.modules, "brisque", types.SimpleNamespace(BRISQUE=Brisque))
    monkeypatch.setitem(sys.modules, "pypiqe", piqe)
    monkeypatch.setitem(sys.modules, "cv2", types.SimpleNamespace(setNumThreads=lambda _: None))
    assert peers["brisque"].score(shown[18]) == -3.5
    assert peers["piqe"].score(shown[18]) == -30
    np.testing.assert_array_equal(given[0][:, :, 0], first[:, :, 2], err_msg="blue comes first")


def filled(data: Labelled, folder: Path, made_by: dict[str, str] | None = None) -> Scores:
    """Scores of our model that follow the labels but for one step of the second ladder; PSNR failed on one item."""
    scores = Scores(folder, data.items, made_by or {OURS: "model 1", "psnr": "ffmpeg 1"})
    for place, ours in enumerate((90.0, 60.0, 30.0, 80.0, 40.0, 40.5)):
        found = Result({OURS: ours, "psnr": 40.0 - place}, {})
        scores.add(place, Result({OURS: ours}, {"psnr": "has no end"}) if place == 5 else found)
    return scores


def test_ladders_and_the_noise_band(data: Labelled, tmp_path: Path) -> None:
    assert [rises([0, 1, 2], score, 0) for score in ([3, 2, 1], [3, 3, 1], [1, 2, 3])] == [0, 1, 2]
    assert [rises([0, 1, 2], [3, 2, 2.5], band) for band in (0, 0.4, 0.5, 1)] == [1, 1, 1, 0]
    row = row_of(OURS, "ours", None, data, filled(data, tmp_path), "", noise_band=1.0)
    assert (row.rises.value, row.falling.value, row.falling_outside_band.value) == (0.5, 0.5, 1.0)
    assert row.pairs_right["5"].value == pytest.approx(5 / 6)
    assert row.agreement is not None
    assert row.agreement.contents == 2


def test_a_metric_that_failed_on_some_items_says_so(data: Labelled, tmp_path: Path) -> None:
    found = report(data, filled(data, tmp_path), {}, SAMPLING)
    psnr = next(row for row in found.rows if row.key == "psnr")
    assert (psnr.items, psnr.note) == (5, "5 of 6 items")
    assert psnr.srocc_less_ours.value is not None
    assert "6 items of 2 contents, labelled by vmaf, shown at 224 lines, at most 3 frames of each" in markdown(found)


def test_without_contents_there_are_no_pairs(tmp_path: Path) -> None:
    path = write_labels(tmp_path, "file,label\na,10\nb,50\nc,90\n", "a", "b", "c")
    found = read_items(path)
    scores = Scores(tmp_path, found.items, {OURS: "model 1"})
    for place in range(3):
        scores.add(place, Result({OURS: 10.0 * place}, {}))
    said = report(found, scores, {}, SAMPLING)
    assert said.rows[0].pairs_right == {}
    assert "The labels name no content: pairs are left out" in markdown(said)


def test_what_was_measured_is_kept(data: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = filled(data, tmp_path)
    before.cpu_s_a_frame = {OURS: 0.1, "psnr": 0.2}
    before.save()
    again = Scores(tmp_path, data.items, before.made_by)
    assert (again.values, again.cpu_s_a_frame) == (before.values, before.cpu_s_a_frame)
    assert again.missing() == {5: ["psnr"]}, "what failed is tried again"
    other_model = Scores(tmp_path, data.items, {**before.made_by, OURS: "model 2"})
    assert other_model.missing() == {place: [OURS] for place in range(5)} | {5: [OURS, "psnr"]}
    assert other_model.cpu_s_a_frame == {"psnr": 0.2}
    assert (other_model.remade, again.remade) == ([OURS], [])
    Scores(tmp_path, data.items, {OURS: "model 1"}).save()
    kept = Scores(tmp_path, data.items, before.made_by)
    assert kept.values == before.values, "a run with fewer metrics loses nothing"
    monkeypatch.setattr(scores_module, "sha256_of_file", lambda path: f"other {path}")
    assert set(Scores(tmp_path, data.items, before.made_by).missing()) == set(range(6)), "the encodes were replaced"


def test_the_clock_counts_children() -> None:
    before_s = cpu_clock_s()
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    assert cpu_clock_s() - before_s > 0.01


def test_timed_items_are_spread(data: Labelled) -> None:
    assert [item.crf for item in timed_items(data.items)] == [18, 32, 46, 18]


def test_a_whole_run_and_another_that_has_nothing_to_do(
    labels: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the tiny model; the worker is a process of its own, as always."""
    monkeypatch.setattr(scores_module, "TIMED_ITEMS", 1)
    model = next(tiny_folder.glob("qclip*.safetensors"))
    asked = [str(labels), "-o", str(tmp_path / "out"), "--model", str(model), "--noise-band", "0.5", "--jobs", "1"]
    asked += ["--frames", "1", "--only", "blockdetect", "bits_per_pixel", "ssim"]
    with pytest.raises(SystemExit, match=r"^0$"):
        program.main(asked)
    table = capsys.readouterr().out
    assert "**qclip-ffmpeg**" in table
    assert "| SSIM | 0.9" in table
    assert "falling outside ±0.5, %" in table
    out = tmp_path / "out"
    assert (out / "accuracy.md").read_text() == table
    with (out / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert all(row[key] for row in rows for key in (OURS, "blockdetect", "bits_per_pixel", "ssim"))
    assert imread(out / "cost.png").shape[:2] == (800, 1000)
    assert imread(out / "scatter.png").std() > 0

    monkeypatch.setattr(scores_module, "ProcessPoolExecutor", None)
    with pytest.raises(SystemExit, match=r"^0$"):
        program.main(asked)
    assert capsys.readouterr().out == table


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--frames", "0"], "--frames 0: give 1 or more"),
        (["--noise-band", "-1"], "--noise-band -1: give 0 or more"),
        (["--label", "dmos"], "has no column 'dmos'"),
        (["--model", "nothing"], "nothing"),
    ],
)
def test_a_user_s_mistake_is_one_line(
    labels: Path, tmp_path: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        program.main([str(labels), "-o", str(tmp_path), *options])
    assert said in capsys.readouterr().err.replace("\n", " ")
