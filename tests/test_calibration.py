"""Calibration, noise band and domain as a checkpoint keeps them: what is saved is what scores; nonsense is refused."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import random_qclip

from qclip_ffmpeg.calibration import Calibration, NoiseBand
from qclip_ffmpeg.checkpoint import (
    CARD_KEY,
    DEFAULT_MODEL,
    SUFFIX,
    LoadedModel,
    load_model,
    read_checkpoint,
    save_checkpoint,
)
from qclip_ffmpeg.description import domain_warnings, model_warnings
from qclip_ffmpeg.domain import Domain, DomainCard, is_odd_size
from qclip_ffmpeg.emit.sidecar import from_json, to_json
from qclip_ffmpeg.errors import ModelError
from qclip_ffmpeg.measurement import ProbeSettings, probe
from qclip_ffmpeg.sampling import Window
from qclip_ffmpeg.scorer import Scorer, WindowViews
from qclip_ffmpeg.track import pool

pytest_plugins = ["model_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")

replace = msgspec.structs.replace
RANGE = (0.0, 100.0)
MAP = Calibration(
    id="tests-40x10", raw=(0.0, 50.0, 100.0), score=(10.0, 20.0, 90.0), error=(8, 4, 2), clips=40, contents=10
)
NOISE = NoiseBand(
    band=5.0,
    low=4.0,
    high=6.0,
    at_score=(20.0, 80.0),
    at_band=(8.0, 2.0),
    label_apart=1.0,
    pairs=90,
    contents=9,
    source="t",
)


def domain_for(size: int, threshold: float = 1e6) -> Domain:
    """A domain around 0 with spread 1 along two features and beside them."""
    card = DomainCard(threshold=threshold, flagged=0.0, clips=300, contents=30, source="tests")
    return Domain(card, torch.zeros(size), torch.ones(size), torch.eye(2, size), torch.ones(3))


@pytest.fixture
def plain(tiny_weights: Path) -> LoadedModel:
    """The tiny model as it is."""
    return load_model()


def calibrated(plain: LoadedModel, folder: Path, domain: Domain | None = None, **changes: Any) -> Path:
    """A checkpoint of the tiny model with all there is."""
    domain = domain or domain_for(plain.qclip.feature_dim)
    card = replace(plain.card, calibration=MAP, noise_band=NOISE, domain=domain.card)
    path = folder / "mine.safetensors"
    save_checkpoint(path, replace(card, **changes), random_qclip().trained_tensors() | domain.tensors())
    return path


def windows_of(*frames: int) -> list[WindowViews]:
    """Windows of random views that nothing was decoded for."""
    generator = torch.Generator().manual_seed(0)
    return [
        WindowViews(
            Window(i, Fraction(i), Fraction(i + 1), i, (), count, 1.0, frozenset()),
            torch.rand(count, 2, 3, 224, 224, generator=generator),
        )
        for i, count in enumerate(frames)
    ]


# The map


def test_the_map_is_straight_between_knots_and_goes_on_beyond_them() -> None:
    raw = [25, 50, 75, 100, 0, -25, -1000, 105, 1000]
    assert MAP.map(raw, RANGE).tolist() == [15, 20, 55, 90, 10, 5, 0, 97, 100]
    assert MAP.map(np.array([[25.0], [75.0]]), RANGE).tolist() == [[15], [55]]
    assert float(MAP.map(50.0, RANGE)) == 20
    inside = np.linspace(0, 100, 1001)
    assert np.allclose(MAP.map(inside, RANGE), np.interp(inside, MAP.raw, MAP.score))


def test_the_map_keeps_the_order() -> None:
    raw = np.sort(np.random.default_rng(0).uniform(-20, 105, 500))
    assert (np.diff(MAP.map(raw, RANGE)) > 0).all()


def test_the_error_between_and_beyond_the_knots() -> None:
    assert [MAP.error_at(raw) for raw in (0, 25, 50, 75, 100, -9, 300)] == [8, 6, 4, 3, 2, 8, 2]
    assert [MAP.reaches(raw) for raw in (-0.1, 0, 50, 100, 100.1)] == [False, True, True, True, False]


def test_the_noise_band_at_a_score() -> None:
    assert [NOISE.near(score) for score in (0, 20, 50, 80, 100)] == [8, 8, 5, 2, 2]


# What is scored with it


def test_what_is_saved_is_what_is_loaded(plain: LoadedModel, tmp_path: Path) -> None:
    domain = domain_for(plain.qclip.feature_dim, threshold=0.25)
    path = calibrated(plain, tmp_path, domain)
    model = load_model(str(path))
    assert (model.card.calibration, model.card.noise_band, model.card.domain) == (MAP, NOISE, domain.card)
    assert model.domain is not None
    for name, tensor in domain.tensors().items():
        assert torch.equal(model.domain.tensors()[name], tensor)
    assert not any(name.startswith("domain.") for name in read_checkpoint(path)[1]), "what fine-tuning starts from"
    assert plain.domain is None


def test_a_card_of_version_2_is_read(plain: LoadedModel, tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    held = load_file(calibrated(plain, tmp_path))
    text = msgspec.to_builtins(plain.card) | {"format_version": 2}
    for key in ("noise_band", "domain"):
        del text[key]
    assert text["calibration"] is None
    save_file(
        {k: v for k, v in held.items() if not k.startswith("domain.")}, path, metadata={CARD_KEY: json.dumps(text)}
    )
    assert replace(load_model(str(path)).card, format_version=3) == plain.card


def test_scores_are_mapped_and_their_parts_add_up(plain: LoadedModel, tmp_path: Path) -> None:
    model = load_model(str(calibrated(plain, tmp_path)))
    raws = [judged.raw for judged in Scorer(plain, "cpu").judged(windows_of(3, 2, 1))]
    alone = [WindowViews(windows_of(1)[0].window, views[None]) for views in windows_of(3)[0].views]
    of_frames = MAP.map([judged.raw for judged in Scorer(plain, "cpu").judged(alone)], RANGE)
    three, two, one = Scorer(model, "cpu").score(windows_of(3, 2, 1))
    before = list(Scorer(plain, "cpu").score(windows_of(3, 2, 1)))
    for raw, segment, was in zip(raws, (three, two, one), before, strict=True):
        assert segment.score == pytest.approx(float(MAP.map(raw, RANGE)), abs=1e-4)
        assert segment.levels == was.levels
        assert segment.score_stderr == pytest.approx(
            np.hypot(segment.sampling_stderr or 0, MAP.error_at(raw)), abs=2e-4
        )
        assert segment.flags == was.flags
    assert three.sampling_stderr == pytest.approx(np.std(of_frames, ddof=1) / 3**0.5, abs=2e-4)
    assert one.sampling_stderr is None
    assert one.score_stderr == pytest.approx(MAP.error_at(raws[2]), abs=1e-4)
    assert all(s.sampling_stderr == s.score_stderr for s in before), "without a calibration there is nothing else"


def test_a_raw_score_that_the_calibration_never_saw_is_flagged(plain: LoadedModel, tmp_path: Path) -> None:
    [(raw, *_)] = Scorer(plain, "cpu").judged(windows_of(2))
    for knots, expected in (((raw - 1, raw + 1), []), ((raw + 1, raw + 2), ["beyond_calibration"])):
        other = replace(MAP, raw=knots, score=(20.0, 60.0), error=(1.0, 2.0))
        [segment] = Scorer(load_model(str(calibrated(plain, tmp_path, calibration=other))), "cpu").score(windows_of(2))
        assert segment.flags == expected


def test_a_window_unlike_the_domain_is_flagged(plain: LoadedModel, tmp_path: Path) -> None:
    [(*_, features)] = Scorer(plain, "cpu").judged(windows_of(2))
    size = plain.qclip.feature_dim
    distance = float(domain_for(size).distance(features))
    assert distance == pytest.approx(float(features.norm()), rel=1e-4)
    for threshold, expected in ((1.01 * distance, []), (0.99 * distance, ["out_of_domain"])):
        path = calibrated(plain, tmp_path, domain_for(size, threshold))
        [segment] = Scorer(load_model(str(path)), "cpu").score(windows_of(2))
        assert segment.flags == expected


def test_features_that_are_not_finite_are_outside() -> None:
    assert domain_for(4).is_outside(torch.tensor([0.0, torch.nan, 0.0, 0.0]))
    assert not domain_for(4).is_outside(torch.ones(4))


def test_the_distance_weighs_each_direction_by_its_spread() -> None:
    domain = domain_for(4)
    domain.spread.copy_(torch.tensor([10.0, 1.0, 5.0]))
    features = torch.tensor([[10.0, 0, 0, 0], [0, 2, 0, 0], [0, 0, 3, 4], [10, 2, 3, 4]])
    assert domain.distance(features).tolist() == pytest.approx([1, 2, 1, 6**0.5])


@pytest.mark.parametrize(
    ("width_px", "height_px", "odd"),
    [(64, 64, True), (1920, 64, True), (65, 65, False), (1920, 1080, False), (8192, 4320, False), (8193, 100, True)],
)
def test_sizes_out_of_the_domain(width_px: int, height_px: int, odd: bool) -> None:
    assert is_odd_size(width_px, height_px) == odd


def test_a_track_says_it_all(plain: LoadedModel, tmp_path: Path, media: Any) -> None:
    model = load_model(str(calibrated(plain, tmp_path, status="trained")))
    track = probe(str(media("domain.mkv", 1, (96, 64), 10)), scorer=Scorer(model, "cpu"))
    assert (track.model.calibration, track.model.noise_band) == ("tests-40x10", 5.0)
    assert track.pooled.mean is not None
    assert track.pooled.noise_band == pytest.approx(NOISE.near(track.pooled.mean), abs=1e-3)
    assert [s.flags for s in track.segments if "out_of_domain" not in s.flags] == [], "64 lines are too few"
    [warning] = domain_warnings(track.segments)
    assert warning in track.warnings
    assert warning.startswith("1 of 1 segments are unlike anything the model was trained on")
    assert not any("calibrated" in w for w in model_warnings(model, ProbeSettings().display))
    assert from_json(to_json(track), "x") == track


def test_a_model_without_a_domain_flags_no_size(tiny_scorer: Scorer, media: Any) -> None:
    track = probe(str(media("domain.mkv", 1, (96, 64), 10)), scorer=tiny_scorer)
    assert (track.model.calibration, track.model.noise_band, track.pooled.noise_band) == (None, None, None)
    assert "out_of_domain" not in {flag for s in track.segments for flag in s.flags}


def test_the_models_error_does_not_shrink_with_segments(plain: LoadedModel, tmp_path: Path) -> None:
    model = load_model(str(calibrated(plain, tmp_path)))
    [segment] = Scorer(model, "cpu").score(windows_of(3))
    assert segment.sampling_stderr is not None
    assert segment.score_stderr is not None
    error = (segment.score_stderr**2 - segment.sampling_stderr**2) ** 0.5
    for count in (1, 4, 100):
        pooled = pool([replace(segment, start_s=float(i), end_s=float(i + 1)) for i in range(count)], NOISE)
        assert pooled.sampling_stderr == pytest.approx(segment.sampling_stderr / count**0.5, abs=1e-4)
        assert pooled.stderr == pytest.approx(np.hypot(segment.sampling_stderr / count**0.5, error), abs=2e-4)


# What strangers write

HOSTILE: dict[str, dict[str, Any]] = {
    "an id alone, as before": {"calibration": "vmaf"},
    "one knot": {"calibration": {"raw": [1], "score": [1], "error": [1]}},
    "no knot": {"calibration": {"raw": [], "score": [], "error": []}},
    "lengths that differ": {"calibration": {"score": [10, 90]}},
    "an error too few": {"calibration": {"error": [1, 1]}},
    "endless knots": {"calibration": {k: list(range(99)) for k in ("raw", "score", "error")}},
    "raw scores that stand": {"calibration": {"raw": [0, 50, 50]}},
    "raw scores that fall": {"calibration": {"raw": [0, 50, 20]}},
    "scores that stand": {"calibration": {"score": [10, 20, 20]}},
    "scores that fall": {"calibration": {"score": [10, 20, 5]}},
    "a step too steep for a number": {"calibration": {"raw": [0, 5e-324, 1]}},
    "NaN": {"calibration": {"raw": [0, "NaN", 1]}},
    "huge": {"calibration": {"raw": [0, 1, 1e300]}},
    "beyond any number": {"calibration": {"raw": [0, 1, "Infinity"]}},
    "scores out of range": {"calibration": {"score": [-10, 20, 90]}},
    "an error below 0": {"calibration": {"error": [1, -1, 1]}},
    "an error larger than the scale": {"calibration": {"error": [1, 101, 1]}},
    "no id": {"calibration": {"id": ""}},
    "an id of several lines": {"calibration": {"id": "a\nb"}},
    "an endless id": {"calibration": {"id": "a" * 1000}},
    "of nothing": {"calibration": {"clips": 0}},
    "more contents than clips": {"calibration": {"contents": 41}},
    "two maps": {"score_map": [2.0, 0.0]},
    "a band of nothing": {"noise_band": {"band": 0}},
    "a band below 0": {"noise_band": {"at_band": [-1, 2]}},
    "a band beyond the scale": {"noise_band": {"band": 1e9}},
    "a band of a huge number": {"noise_band": {"high": 1e300}},
    "a band at no score": {"noise_band": {"at_score": [], "at_band": []}},
    "a band whose scores fall": {"noise_band": {"at_score": [80, 20]}},
    "a band of no pairs": {"noise_band": {"pairs": 0}},
    "a band without a source": {"noise_band": {"source": "\x1b[31m"}},
    "a threshold of 0": {"domain": {"threshold": 0}},
    "a share of 200 %": {"domain": {"flagged": 2}},
    "a domain of nothing": {"domain": {"contents": 0}},
    "tensors that the card does not know": {"domain": None},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_card_that_makes_no_sense_is_refused_in_a_line(what: str, plain: LoadedModel, tmp_path: Path) -> None:
    path = calibrated(plain, tmp_path)
    card = msgspec.to_builtins(read_checkpoint(path)[0])
    for key, value in HOSTILE[what].items():
        card[key] = card[key] | value if isinstance(value, dict) else value
    text = json.dumps(card).replace('"NaN"', "NaN").replace('"Infinity"', "Infinity")
    save_file(load_file(path), path, metadata={CARD_KEY: text})
    with pytest.raises(ModelError) as raised:
        load_model(str(path))
    assert str(raised.value).startswith("mine.safetensors: ")
    assert "\n" not in str(raised.value)
    assert str(raised.value).isprintable()


SIZE = random_qclip().feature_dim
TENSORS: dict[str, dict[str, torch.Tensor | None]] = {
    "one is missing": {"mean": None},
    "one too many": {"median": torch.zeros(SIZE)},
    "another shape": {"mean": torch.zeros(3)},
    "directions of another size": {"directions": torch.eye(2, 3)},
    "a spread too few": {"spread": torch.ones(2)},
    "no spread": {"spread": torch.zeros(3)},
    "a scale of 0": {"scale": torch.zeros(SIZE)},
    "NaN": {"mean": torch.full((SIZE,), torch.nan)},
    "infinite": {"directions": torch.full((2, SIZE), torch.inf)},
    "another type": {"mean": torch.zeros(SIZE, dtype=torch.float64)},
    "too large": {"directions": torch.zeros(6000, SIZE), "spread": torch.ones(6001)},
    "of another model": {
        "mean": torch.zeros(4),
        "scale": torch.ones(4),
        "directions": torch.eye(2, 4),
        "spread": torch.ones(3),
    },
}


@pytest.mark.parametrize("what", TENSORS)
def test_tensors_of_a_domain_that_do_not_fit_are_refused(what: str, plain: LoadedModel, tmp_path: Path) -> None:
    path = calibrated(plain, tmp_path)
    held: dict[str, torch.Tensor | None] = {**load_file(path), **{f"domain.{k}": t for k, t in TENSORS[what].items()}}
    card = msgspec.json.encode(read_checkpoint(path)[0]).decode()
    save_file({k: t for k, t in held.items() if t is not None}, path, metadata={CARD_KEY: card})
    with pytest.raises(ModelError, match=r"^mine\.safetensors: its domain [^\n]*$"):
        load_model(str(path))


def test_the_bundled_default_is_as_it_was(tiny_weights: Path) -> None:
    card, _ = read_checkpoint(tiny_weights / (DEFAULT_MODEL + SUFFIX))
    assert (card.calibration, card.noise_band, card.domain) == (None, None, None)
