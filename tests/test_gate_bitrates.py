"""What a gate makes of a rung that lost what the rungs around it kept."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tiny_ladder import policy_of, rule, rung

from qclip_ffmpeg.gate import judge
from qclip_ffmpeg.ladder import Rung
from qclip_ffmpeg.policy import read_preset
from qclip_ffmpeg.verdict import Result

KBPS = (400, 800, 1600, 3200)
SCORES = (40, 55, 70, 80)
POINTS_A_DOUBLING = (15, 15, 12.5, 12)
LOST = "baseline.lone_drop"


def rungs(kbps: Sequence[float | None] = KBPS, scores: Sequence[float] = SCORES, **track: Any) -> list[Rung]:
    """One codec, declared as KBPS; only the measured bitrates tell ladders apart."""
    return [
        rung(f"r{i}", score, score, kbps=rate, declared_kbps=meant, **track)
        for i, (rate, score, meant) in enumerate(zip(kbps, scores, KBPS, strict=False), 1)
    ]


def found(new: Sequence[Rung], old: Sequence[Rung], folder: Path, limit: float = 2) -> dict[str, Result]:
    """Results of the rule by rung."""
    report = judge(new, policy_of(folder, rule(LOST, max=limit)), old)
    return {result.subject: result for result in report.results}


def failed(results: dict[str, Result]) -> list[str]:
    return [name for name, result in results.items() if result.status == "failed"]


@pytest.mark.parametrize("at", range(4))
def test_a_rung_that_lost_bits_by_itself_fails(at: int, tmp_path: Path) -> None:
    """Half of a doubling: worth half of what a doubling is worth there."""
    new = rungs([rate * (math.sqrt(0.5) if i == at else 1) for i, rate in enumerate(KBPS)])
    results = found(new, rungs(), tmp_path)
    assert failed(results) == [f"r{at + 1}"]
    assert results[f"r{at + 1}"].value == pytest.approx(POINTS_A_DOUBLING[at] / 2, abs=1e-3)
    assert results[f"r{at + 1}"].rungs == [f"r{at + 1}"]


def test_what_is_said_of_it(tmp_path: Path) -> None:
    said = found(rungs([400, 680, 1600, 3200]), rungs(), tmp_path)["r2"]
    assert said.message == (
        "800 to 680 kbit/s where the rungs next to it lead to expect 800, 3.5 points' worth; its score changed by "
        "+0.0, the others' by +0.0; 3.52 points lost by itself, 2.00 is allowed"
    )
    assert said.moments, "the seconds to look at"


def test_two_rungs_that_lost_bits_are_both_found(tmp_path: Path) -> None:
    top = [rung("r5", 88, 88, kbps=6400, declared_kbps=6400)]
    for new, lost in (([400, 560, 1600, 2200], ["r2", "r4"]), ([400, 800, 1200, 2400], ["r3", "r4"])):
        assert failed(found(rungs(new) + top, rungs() + top, tmp_path)) == lost


def test_a_twentieth_of_what_its_score_fell_more_than_the_others_is_added(tmp_path: Path) -> None:
    results = found(rungs(scores=(39, 45, 69, 79)), rungs(), tmp_path)
    assert [result.value for result in results.values()] == pytest.approx([0, 0.05 * 9, 0, 0])


@pytest.mark.parametrize("share", [0.5, 0.9, 1.4])
def test_bits_that_all_rungs_lost_are_another_preset(share: float, tmp_path: Path) -> None:
    results = found(rungs([rate * share for rate in KBPS]), rungs(), tmp_path)
    assert [result.value for result in results.values()] == pytest.approx([0] * 4)


def test_a_change_that_grows_with_the_bitrate_is_another_preset(tmp_path: Path) -> None:
    new = [rate * share for rate, share in zip(KBPS, (1.16, 1.22, 1.28, 1.345), strict=True)]
    assert failed(found(rungs(new), rungs(), tmp_path)) == []
    new[2] *= 0.88
    assert failed(found(rungs(new), rungs(), tmp_path)) == ["r3"]


def test_beside_one_other_rung_the_change_is_the_other_ones(tmp_path: Path) -> None:
    """Of 15 points a doubling, and twice as much is allowed."""
    for share, expected in ((0.84, []), (0.82, ["r2"])):
        results = found(rungs([400 * 1.2, 800 * 1.2 * share]), rungs()[:2], tmp_path)
        assert failed(results) == expected
        assert results["r2"].limit == 4


def test_rungs_of_other_codecs_and_sizes_say_nothing(tmp_path: Path) -> None:
    """HEVC went down by a third for all its rungs, and one rung was made smaller."""
    old = rungs() + [msgspec.structs.replace(r, name=f"hevc-{r.name}") for r in rungs(codec="hevc")]
    new = rungs() + [
        msgspec.structs.replace(r, name=f"hevc-{r.name}") for r in rungs([r * 0.67 for r in KBPS], codec="hevc")
    ]
    new[0] = rung("r1", 70, 70, kbps=200, declared_kbps=400, height_px=180)
    results = found(new, old, tmp_path)
    assert "r1" not in results
    assert len(results) == 7
    assert failed(results) == []


def test_it_needs_bitrates_that_were_measured(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, rule(LOST, max=2))
    needs = f"rule it ({LOST}) was not applied: it needs two rungs of one codec whose bitrates were measured"
    for old, why in (
        (rungs([None] * 4), "r1, r2, r3, r4 (a bitrate was not measured)"),
        (rungs()[:1], "r1 (no other rung of its codec to hold it against)"),
    ):
        [said] = [w for w in judge(rungs(), policy, old).warnings if w.startswith("rule it")]
        assert said == f"{needs} in both ladders; {why}"


def test_one_note_names_the_rungs_that_it_cannot_judge(tmp_path: Path) -> None:
    """And says why; not of those that the baseline lacks, which another note names."""
    vp9 = rung("vp9", 80, 80, kbps=3000, codec="vp9")
    old = [rung("r1", 40, 40, kbps=400, declared_kbps=400, height_px=180), *rungs()[1:], vp9]
    new = [*rungs([400, 800, None, None]), rung("r5", 88, 88, kbps=6400), rung("r6", 89, 89, kbps=9000), vp9]
    old += [rung("r5", 88, 88, kbps=6400)]
    policy = policy_of(tmp_path, rule(LOST, max=2))
    assert judge(new, policy, old).warnings == [
        "the baseline does not have r6: nothing was compared",
        f"rule it ({LOST}) was not applied to r1 (codec or size are not the baseline's), r3, r4 (a bitrate was not "
        "measured), vp9 (no other rung of its codec to hold it against)",
    ]
    assert not judge(rungs(), policy, rungs()).warnings
    some = policy_of(tmp_path, rule(LOST, max=2, rungs=["r2", "r4"]))
    assert judge(new, some, old).warnings[1:] == [
        f"rule it ({LOST}) was not applied to r4 (a bitrate was not measured)"
    ]


@pytest.mark.parametrize("kbps", [KBPS, [800, 801, 802, 803]])
def test_a_flat_or_a_steep_curve_is_no_licence(kbps: Sequence[float], tmp_path: Path) -> None:
    """Where scores say that bits are worth nothing, or rungs have nearly one bitrate: the least there is."""
    for scores in ([80, 80, 80, 80], [78, 80, 81, 82]):
        old = rungs(kbps, scores)
        results = found(rungs([kbps[0], kbps[1] / 2, *kbps[2:]], scores), old, tmp_path)
        assert failed(results) == ["r2"]
        assert results["r2"].value == pytest.approx(12, abs=0.1)


def test_where_one_lost_or_its_neighbour_gained_it_lost(tmp_path: Path) -> None:
    """The top rung lost 15 % beside three that gained 14 to 36 %: or the one below it gained, and it did not."""
    share = (1.14, 1.24, 1.36, 1.16)
    assert failed(found(rungs([s * r for s, r in zip(share, KBPS, strict=True)]), rungs(), tmp_path, limit=1.5)) == [
        "r4"
    ]


def test_at_an_end_of_the_ladder_more_is_allowed(tmp_path: Path) -> None:
    results = found(rungs([399, 799, 1599, 3199]), rungs(), tmp_path)
    assert [result.limit for result in results.values()] == pytest.approx([3.2, 2, 2, 3.2])


@pytest.mark.parametrize("times", [1.5, 2, 8])
@pytest.mark.parametrize("at", range(4))
def test_a_rung_that_gained_bits_blames_nobody(at: int, times: float, tmp_path: Path) -> None:
    """Whether the others were encoded again or not."""
    for again in (1, 0.98):
        new = [rate * (times if i == at else again) for i, rate in enumerate(KBPS)]
        assert failed(found(rungs(new), rungs(), tmp_path)) == []


def test_two_files_that_were_swapped(tmp_path: Path) -> None:
    assert failed(found(rungs([400, 1600, 800, 3200]), rungs(), tmp_path)) == ["r3"]


def test_what_was_not_encoded_again_lost_nothing(tmp_path: Path) -> None:
    for kbps in ([600, 800], [200, 800]):
        results = found(rungs(kbps), rungs()[:2], tmp_path)
        assert (results["r2"].value, results["r2"].status) == (0, "passed")


def test_the_order_is_that_of_the_bitrates_in_the_baseline(tmp_path: Path) -> None:
    """Whatever is declared, and whatever became of them."""
    shuffled = [msgspec.structs.replace(r, declared_kbps=k) for r, k in zip(rungs(), (3, 1, 4, 2), strict=True)]
    new = [400, 800, 1600, 1500]
    declared = found(rungs(new), rungs(), tmp_path)
    other = [msgspec.structs.replace(r, declared_kbps=k) for r, k in zip(rungs(new), (3, 1, 4, 2), strict=True)]
    assert {n: r.value for n, r in found(other, shuffled, tmp_path).items()} == {
        n: r.value for n, r in declared.items()
    }


def test_the_presets_look_at_it() -> None:
    report = judge(
        rungs([400, 800, 1300, 3200]), msgspec.structs.replace(read_preset("hls-vod"), display=None), rungs()
    )
    assert [r.subject for r in report.results if r.rule == LOST and r.status == "failed"] == ["r3"]
    assert not report.passed
