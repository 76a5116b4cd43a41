"""The benchmark of the gate: it finds the CRF of a VMAF, and makes each rung worse before any a second time."""

import math
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY))  # benchmarks are not installed
from benchmarks.gate import CRFS, SAME_VMAF, STEPS, Made, Studio, Way, drawn

WAY = Way("libx264", "fast", 1)
CURVES: dict[str, Callable[[float], float]] = {
    "straight": lambda crf: 130 - 1.9 * crf,
    "saturated": lambda crf: min(100.0, 70 + 3 * math.sqrt(max(0.0, 45 - crf)) * math.log(60 - crf)),
    "steps": lambda crf: 130 - 1.9 * round(crf, 1),
    "falling off": lambda crf: 100 - math.exp((crf - 12) / 7.5),
}


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[float], float]], Studio]:
    """studio(curve): one whose encodes have the VMAF that the curve says; nothing is encoded."""

    def make(curve: Callable[[float], float]) -> Studio:
        monkeypatch.setattr(Studio, "__init__", lambda self: None)
        monkeypatch.setattr(Studio, "encoded", lambda self, encode, step, way, crf: curve(crf))
        return Studio()  # type: ignore[call-arg]

    return make


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("middle", [76, 84, 93])
@pytest.mark.parametrize("start", [20, 28, 36])
def test_the_crf_of_a_vmaf_is_found(
    curve: str, middle: float, start: float, studio: Callable[[Callable[[float], float]], Studio]
) -> None:
    span = (middle - SAME_VMAF, middle + SAME_VMAF)
    made = studio(CURVES[curve]).search(Path("x.mp4"), STEPS[0], WAY, start, span)
    assert span[0] < made.vmaf < span[1]
    assert made.vmaf == CURVES[curve](made.crf)


def test_what_no_crf_reaches_is_as_good_as_it_gets(studio: Callable[[Callable[[float], float]], Studio]) -> None:
    falling = studio(lambda crf: 60 - crf)
    assert falling.search(Path("x.mp4"), STEPS[0], WAY, 28, (94, 96)) == Made(CRFS[0], 60 - CRFS[0])
    assert falling.search(Path("x.mp4"), STEPS[0], WAY, 28, (0, 1)) == Made(CRFS[1], 60 - CRFS[1])


def test_each_rung_gets_worse_once_before_any_does_twice() -> None:
    found = drawn(Path("a.mkv"), encodes=10, count=12, seed=0)
    assert sorted(Counter(step.name for _, step in found[:5]).values()) == [1] * 5
    assert sorted(Counter(step.name for _, step in found).values()) == [2, 2, 2, 3, 3]
    assert all(0 <= number < 10 for number, _ in found)
    assert found == drawn(Path("a.mkv"), encodes=10, count=12, seed=0)
    assert found != drawn(Path("b.mkv"), encodes=10, count=12, seed=0)
