"""Ladders made by hand, with known answers: order, hull, crossings, what to drop or move, change against a baseline."""

import math
from typing import Any

import msgspec
import pytest
from tiny_track import tiny_track

from qclip_ffmpeg.ladder import Rung, analyse, in_order
from qclip_ffmpeg.verdict import Crossing, OffHull


def rung(
    name: str,
    kbps: float | None,
    score: float | None,
    height_px: int = 1080,
    *,
    codec: str = "h264",
    band: float | None = 2.0,
    **declared: Any,
) -> Rung:
    """A rung whose file has this bitrate, score, number of lines and noise band."""
    track = tiny_track(name=name, codec=codec, height_px=height_px, bitrate_kbps=kbps)
    pooled = msgspec.structs.replace(track.pooled, mean=score, noise_band=band)
    return Rung(name=name, track=msgspec.structs.replace(track, pooled=pooled), **declared)


GOOD = [
    rung("360p", 400, 40, 360),
    rung("480p", 900, 58, 480),
    rung("720p", 2000, 74, 720),
    rung("1080p", 4500, 86),
    rung("1080p+", 8000, 93),
]
"""Concave, steps of 18, 16, 12 and 7."""


def names(rungs: list[Rung]) -> list[str]:
    return [rung.name for rung in rungs]


def test_a_rung_knows_its_figures() -> None:
    known = rung("a", 1234.5, 70, 720, declared_kbps=1500.0, declared_height_px=1080)
    assert (known.bitrate_kbps, known.height_px, known.codec, known.score) == (1234.5, 720, "h264", 70)
    assert rung("a", None, 70, declared_kbps=1500.0).bitrate_kbps == 1500, "what is said, where nothing was measured"
    assert rung("a", None, None).bitrate_kbps is None
    assert rung("a", None, None).score is None


def test_rungs_stand_in_order_of_their_bitrates() -> None:
    assert names(in_order(GOOD[::-1])) == names(GOOD)


def test_what_they_are_meant_to_be_goes_before_what_they_are() -> None:
    """Else two files that were swapped would change places without a word."""
    low = rung("480p.mp4", 2000, 74, 720, declared_height_px=480)
    high = rung("720p.mp4", 900, 58, 480, declared_height_px=720)
    assert names(in_order([high, low])) == ["480p.mp4", "720p.mp4"]
    cheap = rung("low", 2000, 74, declared_kbps=900.0, declared_height_px=1080)
    dear = rung("high", 900, 58, declared_kbps=2000.0, declared_height_px=720)
    assert names(in_order([dear, cheap])) == ["low", "high"]


def test_equal_intentions_are_told_apart_by_the_bitrate() -> None:
    rungs = [rung("b", 3000, 80, declared_height_px=1080), rung("a", 5000, 88, declared_height_px=1080)]
    assert names(in_order(rungs[::-1])) == ["b", "a"]


def test_without_any_bitrate_the_lines_order_them() -> None:
    assert names(in_order([rung("b", None, 80, 720), rung("a", None, 60, 360)])) == ["a", "b"]


def test_intentions_count_only_where_all_have_one() -> None:
    rungs = [rung("a", 3000, 80, declared_kbps=100.0), rung("b", 500, 50)]
    assert names(in_order(rungs)) == ["b", "a"]


def test_a_concave_ladder_lies_on_its_hull() -> None:
    found = analyse(GOOD)
    assert found.hull == names(GOOD)
    assert found.off_hull == []
    assert found.suggestions == []
    assert found.crossings == []
    assert (found.bd_rate_percent, found.bd_score, found.no_bd) == (None, None, None)


def test_the_order_given_does_not_matter() -> None:
    assert analyse(GOOD[::-1]) == analyse(GOOD)


def test_a_rung_below_the_line_between_its_neighbours_is_off_the_hull() -> None:
    """Halfway between 900 kbps at 58 and 2000 kbps at 74 the hull has 66."""
    found = analyse([*GOOD, rung("720p-", 1450, 61, 720)])
    assert found.hull == names(GOOD)
    assert found.off_hull == [OffHull("720p-", 5.0)]
    [move] = found.suggestions
    assert (move.rung, move.action) == ("720p-", "move")
    assert move.bitrate_kbps == 900 + 3 / 16 * 1100, "where the hull has 61"
    assert "5.0 below the line between better rungs" in move.reason


def test_a_small_distance_from_the_hull_is_told_and_nothing_is_suggested() -> None:
    found = analyse([*GOOD, rung("720p-", 1450, 64.5, 720)])
    assert found.off_hull == [OffHull("720p-", 1.5)]
    assert found.suggestions == []


def test_beyond_the_highest_score_the_hull_is_level() -> None:
    found = analyse([*GOOD, rung("top", 12_000, 90)])
    assert found.hull == names(GOOD)
    assert found.off_hull == [OffHull("top", 3.0)]
    [drop] = found.suggestions
    assert (drop.rung, drop.action) == ("top", "move"), "there is room between 40 and 58"
    assert drop.reason.startswith("50% more bits than 1080p+ for -3.0, while from 360p to 480p")
    assert drop.bitrate_kbps == 600, "the geometric mean of 400 and 900 kbps"


def test_a_rung_within_the_noise_of_the_one_below_is_dropped() -> None:
    dense = [rung("a", 1000, 60), rung("b", 1500, 61.9), rung("c", 2000, 70)]
    [drop] = analyse(dense).suggestions
    assert (drop.rung, drop.action, drop.bitrate_kbps) == ("b", "drop", None)
    assert drop.reason == "50% more bits than a for +1.9, within the noise of 2.0"


def test_of_the_two_noise_bands_the_larger_one_counts() -> None:
    pair = [rung("a", 1000, 60, band=4), rung("b", 1500, 63, band=1)]
    assert [s.rung for s in analyse(pair).suggestions] == ["b"]
    assert analyse([rung("a", 1000, 60, band=1), rung("b", 1500, 63, band=2)]).suggestions == []


def test_without_a_noise_band_only_what_is_no_better_is_dropped() -> None:
    pair = [rung("a", 1000, 60, band=None), rung("b", 1500, 60.1, band=None)]
    assert analyse(pair).suggestions == []
    pair[1] = rung("b", 1500, 60, band=None)
    assert [s.rung for s in analyse(pair).suggestions] == ["b"]


def test_many_small_steps_are_not_all_dropped() -> None:
    """Each is held against the last one that is worth its bits, not against the one just below."""
    dense = [rung(str(n), 1000 * 1.1**n, 60 + 1.5 * n) for n in range(5)]
    assert [s.rung for s in analyse(dense).suggestions] == ["1", "3"]


def test_a_copy_of_a_rung_is_spare() -> None:
    found = analyse([*GOOD[2:], rung("copy", 4500, 86)])
    assert found.hull == names(GOOD[2:])
    assert [(s.rung, s.action) for s in found.suggestions] == [("copy", "drop")]


def test_codecs_are_looked_at_apart() -> None:
    """Else all of H.264 would lie below HEVC."""
    hevc = [rung(f"hevc {r.name}", (r.bitrate_kbps or 0) / 2, r.score, r.height_px or 0, codec="hevc") for r in GOOD]
    found = analyse([*GOOD, *hevc])
    assert sorted(found.hull) == sorted(names([*GOOD, *hevc]))
    assert found.hull[:2] == ["hevc 360p", "360p"], "by bitrate"
    assert found.off_hull == []
    assert found.suggestions == []


def test_resolutions_cross_where_more_lines_overtake() -> None:
    """Both curves are straight over the logarithm: 60 + 10 log2(r / 1000) and 55 + 15 log2(r / 1000) meet at 2 kbps."""
    small = [rung(f"s{r}", r, 60 + 10 * math.log2(r / 1000), 720) for r in (1000, 4000)]
    large = [rung(f"l{r}", r, 55 + 15 * math.log2(r / 1000), 1080) for r in (1000, 1500, 4000)]
    [met] = analyse([*small, *large]).crossings
    assert met == Crossing("h264", 720, 1080, 2000)


def test_resolutions_that_share_no_bitrate_do_not_cross() -> None:
    assert analyse(GOOD).crossings == []
    apart = [rung("a", 1000, 50, 720), rung("b", 2000, 60, 720), rung("c", 2500, 59), rung("d", 4000, 75)]
    assert analyse(apart).crossings == []


def test_more_lines_that_are_better_throughout_or_fall_behind_again_do_not_cross() -> None:
    small = [rung("a", 1000, 50, 720), rung("b", 2000, 60, 720), rung("c", 4000, 70, 720)]
    better = [rung("d", 1000, 51), rung("e", 4000, 80)]
    behind = [rung("d", 1000, 49), rung("e", 2000, 61), rung("f", 4000, 69)]
    assert analyse([*small, *better]).crossings == []
    assert analyse([*small, *behind]).crossings == []


def test_only_neighbouring_resolutions_of_one_codec_cross() -> None:
    rungs = [
        rung(f"{lines}-{kbps}", kbps, base + gain * math.log2(kbps / 1000), lines)
        for lines, base, gain in ((480, 60, 6), (720, 56, 10), (1080, 50, 14))
        for kbps in (1000, 8000)
    ]
    assert [(c.lower_height_px, c.upper_height_px, c.bitrate_kbps) for c in analyse(rungs).crossings] == [
        (480, 720, 2000),
        (720, 1080, pytest.approx(1000 * 2**1.5, abs=1e-3)),
    ]


@pytest.mark.parametrize("missing", [{"kbps": None}, {"score": None}, {"score": math.nan}, {"kbps": 0}])
def test_a_rung_without_a_point_takes_no_part(missing: dict[str, Any]) -> None:
    silent = rung("x", **{"kbps": 3000, "score": 10} | missing)
    assert analyse([*GOOD, silent]) == analyse(GOOD)


@pytest.mark.parametrize("rungs", [[], GOOD[:1], [rung("x", None, None)]])
def test_too_little_to_analyse_is_no_error(rungs: list[Rung]) -> None:
    found = analyse(rungs, rungs)
    assert found.off_hull == []
    assert found.suggestions == []
    assert found.bd_rate_percent is None


def cheaper(rungs: list[Rung], factor: float, more: float = 0, **changes: Any) -> list[Rung]:
    """The same ladder at another share of the bitrate and with `more` score."""
    return [
        rung(r.name, (r.bitrate_kbps or 0) * factor, (r.score or 0) + more, r.height_px or 0, **changes) for r in rungs
    ]


def test_a_ladder_is_held_against_its_baseline() -> None:
    found = analyse(cheaper(GOOD, 0.8), GOOD)
    assert found.bd_rate_percent == pytest.approx(-20)
    assert found.bd_score is not None
    assert found.bd_score > 0
    assert found.no_bd is None
    assert analyse(cheaper(GOOD, 1, -3), GOOD).bd_score == pytest.approx(-3)
    assert analyse(GOOD, GOOD).bd_rate_percent == 0


def test_of_several_codecs_the_mean_counts() -> None:
    hevc = cheaper(GOOD, 0.5, codec="hevc")
    found = analyse([*cheaper(GOOD, 0.8), *cheaper(hevc, 0.9, codec="hevc")], [*GOOD, *hevc])
    assert found.bd_rate_percent == pytest.approx(-15)


def test_a_change_of_codec_is_a_change_of_the_ladder() -> None:
    assert analyse(cheaper(GOOD, 0.5, codec="hevc"), GOOD).bd_rate_percent == pytest.approx(-50)


def test_why_there_is_no_delta_is_said() -> None:
    found = analyse(GOOD[:3], GOOD)
    assert (found.bd_rate_percent, found.bd_score) == (None, None)
    assert found.no_bd is not None
    assert found.no_bd.endswith("one has 3")
    half = analyse(cheaper(GOOD, 1, -30), GOOD)
    assert half.bd_rate_percent is None
    assert half.bd_score == pytest.approx(-30)
    assert half.no_bd is not None
    assert "of their scores in common" in half.no_bd
