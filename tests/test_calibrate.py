"""Fitting calibration, noise band and domain, against simulations whose truth is known; and the command."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_model import TINY_TOWER_FILE
from tiny_training import clips_of, quiet, recipe_for

from qclip_ffmpeg.calibration import calibration_problem, noise_band_problem
from qclip_ffmpeg.checkpoint import DEFAULT_MODEL, load_model
from qclip_ffmpeg.cli import console
from qclip_ffmpeg.cli.model import command
from qclip_ffmpeg.domain import domain_of
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.scorer import Scorer
from qclip_ffmpeg.train import calibrate
from qclip_ffmpeg.train.bootstrap import weighted_spearman
from qclip_ffmpeg.train.calibrate import cross_fitted, fit_calibration, fit_domain, noise_band
from qclip_ffmpeg.train.calibration_run import look
from qclip_ffmpeg.train.clips import SamplingRecipe

pytest_plugins = ["model_fixtures", "train_fixtures"]

RANGE = (0.0, 100.0)
CONTENTS, ENCODES = 120, 10


class World:
    """Encodes whose label, bias of content, error of encode and noise of frames are known."""

    def __init__(
        self, bias: float = 0.0, own: float = 0.0, frames: float = 0.0, seed: int = 0, contents: int = CONTENTS
    ) -> None:
        rng = np.random.default_rng(seed)
        self.content = [f"c{i // ENCODES:03}" for i in range(contents * ENCODES)]
        self.label = rng.uniform(5, 95, contents * ENCODES)
        seen = self.label + np.repeat(rng.normal(0, bias, contents), ENCODES) + rng.normal(0, own, len(self.label))
        self.sampling = np.full(len(seen), frames)
        self.raw = self.bend(seen + rng.normal(0, frames, len(seen)))

    @staticmethod
    def bend(score: Any) -> Any:
        """The raw score that a perfect model of such a scale gives: rising, compressed at the top."""
        return 10 * np.log1p(np.maximum(score, -20) / 25 + 1)


def test_the_map_is_found() -> None:
    world = World()
    found = fit_calibration(world.raw, world.label, world.content, name="w")
    assert np.abs(found.map(world.raw, RANGE) - world.label).max() < 1.0
    assert (np.diff(found.raw) > 0).all()
    assert (np.diff(found.score) > 0).all()
    assert (found.id, found.clips, found.contents) == ("w", 1200, 120)
    assert calibration_problem(found, RANGE) is None
    assert max(found.error) < 1.0


def test_no_order_changes_and_the_error_of_held_out_contents_falls() -> None:
    world = World(bias=6, own=4)
    found = fit_calibration(world.raw, world.label, world.content, name="w")
    score = found.map(world.raw, (-100, 200))
    once = np.ones((1, len(score)))
    assert weighted_spearman(score, world.raw, once)[0] == pytest.approx(1)
    held_out, _ = cross_fitted(world.raw, world.label, world.content)
    assert rms(held_out - world.label) < 0.5 * rms(world.raw - world.label)


def test_the_error_is_that_of_new_contents() -> None:
    """Bias and own error, in quadrature; checked where the ends of the scale do not cut it."""
    world = World(bias=6, own=4)
    found = fit_calibration(world.raw, world.label, world.content, name="w")
    middle = [e for s, e in zip(found.score, found.error, strict=True) if 30 < s < 70]
    assert np.mean(middle) == pytest.approx(np.hypot(6, 4), rel=0.15)
    new = World(bias=6, own=4, seed=1)
    inside = np.abs(found.map(new.raw, RANGE) - new.label) <= np.array([found.error_at(r) for r in new.raw])
    assert inside.mean() == pytest.approx(0.68, abs=0.07)


def test_an_error_that_differs_along_the_scale_is_found() -> None:
    world = World()
    rng = np.random.default_rng(3)
    label = world.label + rng.normal(0, 1, len(world.label)) * np.where(world.label > 60, 1, 8)
    found = fit_calibration(world.raw, label, world.content, name="w")
    at = dict(zip(found.score, found.error, strict=True))
    assert min(at.items(), key=lambda item: abs(item[0] - 30))[1] > 6
    assert min(at.items(), key=lambda item: abs(item[0] - 90))[1] < 2.5


def test_what_frames_add_is_taken_out_of_the_error() -> None:
    """The probe adds it for its own windows: their sum covers as it should."""
    world = World(bias=3, frames=6)
    slope = np.gradient(World.bend(np.arange(100.0)))[np.clip(world.label.astype(int), 0, 99)]
    with_it = fit_calibration(world.raw, world.label, world.content, name="w")
    without = fit_calibration(world.raw, world.label, world.content, name="w", sampling=slope * world.sampling)

    def middle(found: Any) -> float:
        return float(np.mean([e for s, e in zip(found.score, found.error, strict=True) if 30 < s < 70]))

    assert middle(with_it) == pytest.approx(np.hypot(3, 6), rel=0.15)
    assert middle(without) == pytest.approx(3, rel=0.35)


def test_flat_and_tied_raw_scores() -> None:
    world = World(own=5)
    coarse = np.round(world.raw / 4)
    found = fit_calibration(coarse, world.label, world.content, name="w")
    assert calibration_problem(found, RANGE) is None
    with pytest.raises(UsageError, match="do not rise"):
        fit_calibration(np.ones(len(coarse)), world.label, world.content, name="w")
    with pytest.raises(UsageError, match="do not rise"):
        fit_calibration(-world.raw, world.label, world.content, name="w")


@pytest.mark.parametrize(("clips", "contents"), [(29, 29), (100, 9), (1, 1)])
def test_too_few_are_refused(clips: int, contents: int) -> None:
    raw = np.arange(float(clips))
    content = [str(i % contents) for i in range(clips)]
    with pytest.raises(UsageError, match=rf"^{clips} clips of {contents} contents are too few .* at least 30 of 10$"):
        fit_calibration(raw, raw, content, name="w")
    with pytest.raises(UsageError, match="too few"):
        noise_band(raw, np.zeros(clips), content if contents > 1 else ["a"], source="w")
    with pytest.raises(UsageError, match="too few"):
        fit_domain(np.zeros((clips, 8), dtype=np.float32), content, source="w")


def test_the_smallest_that_is_taken() -> None:
    raw = np.arange(30.0)
    found = fit_calibration(raw, 3 * raw + 5, [str(i % 10) for i in range(30)], name="w")
    assert found.map(raw, RANGE) == pytest.approx(3 * raw + 5, abs=1)


def test_numbers_that_are_none_are_refused() -> None:
    world = World()
    world.raw[3] = np.nan
    with pytest.raises(UsageError, match="finite"):
        fit_calibration(world.raw, world.label, world.content, name="w")
    with pytest.raises(UsageError, match="finite"):
        noise_band(world.raw, world.label, world.content, source="w")


# The noise band


def test_the_noise_band_is_the_repeatability_limit() -> None:
    """1.96 * sqrt(2) * the encodes' own error; the bias of a content cancels."""
    world = World(contents=1000)
    rng = np.random.default_rng(5)
    score = world.label + np.repeat(rng.normal(0, 20, 1000), ENCODES) + rng.normal(0, 3, len(world.label))
    found = noise_band(score, world.label, world.content, source="w")
    assert found.band == pytest.approx(1.96 * 2**0.5 * 3, rel=0.1)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.band < found.high
    assert found.pairs >= 200
    assert noise_band_problem(found, (-1000, 1000)) is None
    again = rng.normal(0, 3, (2, 20_000))
    assert (np.abs(again[0] - again[1]) > found.band).mean() == pytest.approx(0.05, abs=0.02)


def test_the_noise_band_follows_the_score() -> None:
    world = World()
    rng = np.random.default_rng(5)
    score = world.label + rng.normal(0, 1, len(world.label)) * np.where(world.label > 60, 1, 6)
    found = noise_band(score, world.label, world.content, source="w")
    assert found.near(30) > 12
    assert found.near(85) < 4


def test_labels_are_equal_within_the_smallest_difference_that_leaves_enough_pairs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(own=3)
    counts = {apart: len(calibrate.pairs_alike(world.label, world.content, apart)[0]) for apart in (1.0, 2.0, 5.0)}
    for enough, apart in ((1, 1.0), (counts[1.0] + 1, 2.0), (counts[2.0] + 1, 5.0), (10**6, 5.0)):
        monkeypatch.setattr(calibrate, "ENOUGH_PAIRS", enough)
        found = noise_band(world.label, world.label, world.content, source="w")
        assert (found.label_apart, found.pairs) == (apart, counts[apart])


def test_pairs_are_of_one_group_and_a_group_counts_by_its_encodes() -> None:
    label = np.array([10.0, 10.5, 10.9, 50.0, 50.1, 10.0, 90.0])
    first, second, weight = calibrate.pairs_alike(label, ["a", "a", "a", "b", "b", "b", "c"], 1.0)
    assert sorted(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 2), (3, 4)]
    assert weight.sum() == pytest.approx(2 + 1)


def test_a_weighted_quantile() -> None:
    values = np.array([5.0, 1.0, 3.0])
    weights = np.array([[1.0, 1, 1], [0, 1, 1], [9, 1, 0], [0, 0, 0]])
    assert calibrate.weighted_quantile(values, weights, 0.95)[:3].tolist() == [5, 3, 5]
    assert calibrate.weighted_quantile(values, weights, 0.05)[:3].tolist() == [1, 1, 1]
    assert np.isnan(calibrate.weighted_quantile(values, weights, 0.5)[3])


# The domain


@pytest.fixture(scope="module")
def clusters() -> tuple[np.ndarray[Any, Any], list[str]]:
    """Features of 40 contents in 60 dimensions: a few broad directions and a little of everything."""
    rng = np.random.default_rng(0)
    broad = rng.normal(size=(4, 60))
    features = np.repeat(rng.normal(size=(40, 4)), 12, axis=0) @ broad * 5 + rng.normal(size=(480, 60)) + 3
    return features.astype(np.float32), [str(i // 12) for i in range(480)]


def test_the_domain_holds_what_it_was_fitted_on_and_new_of_the_same_kind(clusters: Any) -> None:
    features, content = clusters
    domain = fit_domain(features, content, source="w")
    assert domain.card.flagged <= 0.005
    assert (domain.card.clips, domain.card.contents) == (480, 40)
    assert float((domain.distance(torch.from_numpy(features)) > domain.card.threshold).double().mean()) <= 0.005
    assert domain_of("x", domain.card, domain.tensors())[0] is not None, "what is fitted can be loaded"


@pytest.mark.parametrize("along", [True, False], ids=["far along a direction", "beside them all"])
def test_what_lies_elsewhere_is_outside(along: bool, clusters: Any) -> None:
    features, content = clusters
    domain = fit_domain(features, content, source="w")
    step = domain.directions[0] * domain.scale
    if not along:
        away = torch.randn(60, generator=torch.Generator().manual_seed(0))
        step = (away - domain.directions.T @ (domain.directions @ away)) * domain.scale
    far = domain.mean + 40 * step / step.norm() * float(domain.scale.norm())
    assert domain.is_outside(far)
    assert not domain.is_outside(domain.mean)


def test_the_domain_is_the_same_twice_and_leaves_the_generator_alone(clusters: Any) -> None:
    features, content = clusters
    before = torch.random.get_rng_state()
    first, second = (fit_domain(features, content, source="w") for _ in range(2))
    assert first.card == second.card
    assert all(torch.equal(a, b) for a, b in zip(first.tensors().values(), second.tensors().values(), strict=True))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("largest", [100_000, 60_000, 32_000])
def test_a_domain_of_many_features_stays_small(largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has as many directions as there is room for."""
    monkeypatch.setattr(calibrate, "LARGEST_BYTES", largest)
    features = np.random.default_rng(0).normal(size=(240, 2000)).astype(np.float32)
    domain = fit_domain(features, [str(i // 8) for i in range(240)], source="w")
    held = sum(t.numel() * t.element_size() for t in domain.tensors().values())
    assert largest - 2 * 8000 < held <= largest


# The command


@pytest.fixture
def labelled(rated: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the tiny model, 48 clips of 12 contents, and labels that its scores agree with."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in (TINY_TOWER_FILE, f"{DEFAULT_MODEL}.safetensors"):
        shutil.copy(tiny_folder / name, tmp_path)
    (tmp_path / f"{DEFAULT_MODEL}.safetensors").rename(tmp_path / "mine.safetensors")
    clips = clips_of(recipe_for(rated))
    seen = look(Scorer(load_model("mine.safetensors"), "cpu"), clips, SamplingRecipe(1, display=(1920, 1080)), quiet)
    rank = seen.raw.argsort().argsort()
    lines = ["file,mos,content"]
    for number, (clip, place) in enumerate(zip(clips, rank, strict=True)):
        for copy in range(4):
            shutil.copy(clip.path, tmp_path / f"{number}-{copy}.mkv")
            lines.append(f"{number}-{copy}.mkv,{1 + 0.3 * place + 0.005 * copy:.3f},c{number}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    return tmp_path


Run = Callable[[str], tuple[int, str, str]]
LABELS = "--labels labels.csv --score-column mos --score-range 1 5 --frames 1"


@pytest.fixture
def qclip_model(capfd: pytest.CaptureFixture[str]) -> Run:
    def run(typed: str) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            console.run_command(command, shlex.split(typed))
        assert isinstance(ended.value.code, int)
        return (ended.value.code, *capfd.readouterr())

    return run


def test_calibrate(labelled: Path, qclip_model: Run) -> None:
    code, stdout, stderr = qclip_model(f"calibrate mine.safetensors {LABELS} --json -o new.safetensors")
    assert code == 0, stderr
    report = json.loads(stdout)
    assert report == json.loads((labelled / "new.calibration.json").read_text())
    assert report["rmse_after"]["value"] < 0.5 * report["rmse_before"]["value"]
    assert report["srocc_after"]["value"] == pytest.approx(report["srocc_before"]["value"], abs=1e-9)
    assert report["domain"] is None
    assert "no domain: 48 clips of 12 contents are too few" in stderr
    assert "RMSE" in stderr
    assert "noise band: " in stderr
    model, before = load_model("new.safetensors"), load_model("mine.safetensors")
    assert model.card.calibration is not None
    assert model.card.calibration.id == "labels-48x12"
    assert model.card.noise_band is not None
    assert model.card.noise_band.pairs == 72
    assert (model.card.id, model.card.status) == (before.card.id, before.card.status)
    assert all(torch.equal(t, before.qclip.state_dict()[name]) for name, t in model.qclip.state_dict().items())
    code, stdout, stderr = qclip_model("info new.safetensors")
    assert code == 0, stderr
    for words in ("labels-48x12", "noise band", "domain: none"):
        assert words in stdout
    code, _, stderr = qclip_model(f"calibrate new.safetensors {LABELS} --id again -q -y -o new.safetensors")
    assert (code, stderr) == (0, "")
    again = load_model("new.safetensors").card.calibration
    assert again is not None
    assert again.id == "again"
    assert again.score == model.card.calibration.score, "raw scores are calibrated, not scores"


def test_the_noise_band_of_other_clips(labelled: Path, qclip_model: Run) -> None:
    """Of the first four contents nothing can be said, which is not hidden; of all of them, what was said before."""
    rows = (labelled / "labels.csv").read_text().splitlines()
    (labelled / "few.csv").write_text("\n".join(rows[:17]))
    (labelled / "same.csv").write_text("\n".join(rows))
    calibrate = f"calibrate mine.safetensors {LABELS} -q"
    code, _, stderr = qclip_model(f"{calibrate} --noise-labels few.csv -o few.safetensors")
    assert (code, stderr) == (0, "")
    assert load_model("few.safetensors").card.noise_band is None
    assert qclip_model(f"{calibrate} --noise-labels same.csv -o same.safetensors")[0] == 0
    band = load_model("same.safetensors").card.noise_band
    assert band is not None
    assert (band.pairs, band.source) == (72, "48 clips of 12 contents from same.csv")


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        ("calibrate mine.safetensors -o x.safetensors", 2, ["--labels"]),
        (f"calibrate mine.safetensors {LABELS}", 2, ["-o"]),
        (f"calibrate mine.safetensors {LABELS} -o x.pth", 2, ["x.pth", ".safetensors"]),
        (f"calibrate mine.safetensors {LABELS} -o mine.safetensors", 2, ["mine.safetensors", "add -y"]),
        (f"calibrate mine.safetensors {LABELS} -o gone/x.safetensors", 2, ["gone/x.safetensors", "existing folder"]),
        (f"calibrate mine.safetensors {LABELS} -o away/x.safetensors", 1, [TINY_TOWER_FILE, "put it there"]),
        (f"calibrate gone.safetensors {LABELS} -o x.safetensors", 2, ["gone.safetensors", "no such file"]),
        (f"calibrate mine.safetensors {LABELS} --root gone -o x.safetensors", 2, ["gone", "no such folder"]),
        ("calibrate mine.safetensors --labels labels.csv -o x.safetensors", 2, ["'score'", "'mos'"]),
        (
            "calibrate mine.safetensors --labels few.csv -o x.safetensors",
            2,
            ["5 clips of 5 contents", "at least 30 of 10"],
        ),
    ],
)
def test_what_cannot_be_calibrated_is_one_clear_line(
    typed: str, code: int, said: list[str], labelled: Path, qclip_model: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (labelled / "away").mkdir()
    rows = [f"{i}-0.mkv,{10 * i},c{i}" for i in range(5)]
    (labelled / "few.csv").write_text("\n".join(["file,score,content", *rows]))
    before = set(labelled.rglob("*"))
    done = qclip_model(typed)
    assert done[0] == code, done[2]
    assert done[1] == ""
    assert done[2].startswith("qclip-model: ")
    assert done[2].count("\n") == 1, done[2]
    for words in said:
        assert words in done[2]
    assert set(labelled.rglob("*")) == before


def rms(x: Any) -> float:
    return float(np.sqrt(np.mean(np.square(x))))
