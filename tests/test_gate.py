"""What a gate says of ladders made by hand: each rule, what it allows for noise, and what it refuses to judge."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tiny_ladder import BAND, ladder, policy_of, rule, rung

from qclip_ffmpeg.emit.gate_json import from_gate_json, to_gate_json
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.gate import CHECKS, CHECKS_OF_KIND, judge
from qclip_ffmpeg.gate.noise import T_99, uncertain, widened
from qclip_ffmpeg.ladder import Rung
from qclip_ffmpeg.policy import read_preset
from qclip_ffmpeg.policy_figures import FIGURES
from qclip_ffmpeg.track import Event
from qclip_ffmpeg.verdict import GateReport, Result


@pytest.fixture
def judged(tmp_path: Path) -> Any:
    """judged(rungs, policy's text, baseline) -> GateReport, read back from its JSON: the report is what is written."""

    def run(rungs: Sequence[Rung], text: str, baseline: Sequence[Rung] = ()) -> GateReport:
        report = judge(rungs, policy_of(tmp_path, text), baseline, baseline_name="last.json")
        assert from_gate_json(to_gate_json(report), "report") == report
        return report

    return run


def only(report: GateReport) -> Result:
    """The one result of a report."""
    [found] = report.results
    return found


def test_every_figure_is_checked() -> None:
    assert CHECKS.keys() <= FIGURES.keys()
    assert {name for name in FIGURES if name.partition(".")[0] not in CHECKS_OF_KIND} == CHECKS.keys()


# Pooled figures


def test_a_figure_below_its_limit_fails(judged: Any) -> None:
    report = judged([rung("720p", 70, 40, 55)], rule("pooled.mean", min=60))
    found = only(report)
    assert not report.passed
    assert (found.rule, found.status, found.level, found.subject) == ("pooled.mean", "failed", "error", "720p")
    assert (found.value, found.bound, found.limit, found.unit) == (55.0, "min", 60.0, "score")
    assert found.message == "mean is 55.0; 60.0 is the least that is allowed"
    assert [(m.start_s, m.end_s, m.score) for m in found.moments] == [(4, 8, 40), (8, 12, 55), (0, 4, 70)]
    assert found.where is not None
    assert found.where.endswith("policy.toml:1")


@pytest.mark.parametrize(
    ("limits", "status"), [({"min": 55}, "passed"), ({"max": 55}, "passed"), ({"max": 54}, "failed")]
)
def test_a_limit_is_allowed_itself(limits: dict[str, float], status: str, judged: Any) -> None:
    found = only(judged([rung("720p", 55, 55)], rule("pooled.mean", **limits)))
    assert found.status == status
    assert bool(found.moments) == (status == "failed")


def test_a_warning_passes(judged: Any) -> None:
    report = judged([rung("720p", 55)], rule("pooled.p5", min=60, level="warn"))
    assert report.passed
    assert (only(report).status, only(report).level) == ("failed", "warn")


def test_a_rule_that_is_off_says_nothing(judged: Any) -> None:
    report = judged(
        [rung("720p", 55)], rule("pooled.p5", min=60, level="off") + '\n[rules.b]\nfigure="pooled.max"\nmin=1'
    )
    assert [r.rule for r in report.results] == ["pooled.max"]


def test_a_figure_that_is_not_known_is_not_measured(judged: Any) -> None:
    """The harmonic mean of raw scores below 0, say."""
    track = rung("720p", 55)
    pooled = msgspec.structs.replace(track.track.pooled, harmonic_mean=None)
    broken = msgspec.structs.replace(track, track=msgspec.structs.replace(track.track, pooled=pooled))
    report = judged([broken], rule("pooled.harmonic_mean", min=10))
    assert (only(report).status, only(report).value, only(report).limit) == ("not_measured", None, 10.0)
    assert not report.passed


# Which rungs


SELECTED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "all": ({}, ["360p", "720p", "1080p", "720p-hevc"]),
    "a pattern": ({"rungs": "720*"}, ["720p", "720p-hevc"]),
    "patterns": ({"rungs": ["360p", "1080?"]}, ["360p", "1080p"]),
    "codec": ({"codec": "h*4"}, ["360p", "720p", "1080p"]),
    "heights": ({"min_height_px": 720, "max_height_px": 720}, ["720p", "720p-hevc"]),
    "top": ({"place": "top"}, ["1080p"]),
    "bottom of some": ({"place": "bottom", "min_height_px": 720}, ["720p-hevc"]),
}


@pytest.mark.parametrize("case", SELECTED)
def test_a_rule_selects_rungs(case: str, judged: Any) -> None:
    rungs = [
        rung("1080p", 90, kbps=5000, height_px=1080),
        rung("360p", 50, kbps=500, height_px=360),
        rung("720p", 70, kbps=2000, height_px=720),
        rung("720p-hevc", 80, kbps=1500, height_px=720, codec="hevc"),
    ]
    said, expected = SELECTED[case]
    report = judged(rungs, rule("pooled.mean", min=1, **said))
    assert {r.subject for r in report.results} == set(expected)
    assert [r.name for r in report.rungs] == ["360p", "720p-hevc", "720p", "1080p"], "lowest first"


@pytest.mark.parametrize("said", [{"rungs": "*2160*"}, {"codec": "av1"}, {"min_height_px": 2160}])
def test_a_rule_that_matches_no_rung_is_an_error(said: dict[str, Any], judged: Any) -> None:
    with pytest.raises(UsageError, match=r"policy\.toml:1: rules\.it matches no rung of 720p"):
        judged([rung("720p", 55)], rule("pooled.mean", min=1, **said))


def test_a_rung_that_did_not_open_may_be_the_one_a_rule_asks_for(judged: Any) -> None:
    gone = rung("720p", None, codec="av1")
    track = msgspec.structs.replace(gone.track, source=msgspec.structs.replace(gone.track.source, video=None))
    report = judged([msgspec.structs.replace(gone, track=track)], rule("pooled.mean", min=1, codec="av1"))
    assert only(report).rule == "rung.measured"


# Segments


def test_the_worst_segment(judged: Any) -> None:
    report = judged([rung("720p", 70, 40, 35)], rule("segments.worst", min=50))
    assert (only(report).value, [m.score for m in only(report).moments]) == (35.0, [35, 40])


def test_the_share_of_the_time(judged: Any) -> None:
    report = judged([rung("720p", 70, 40, 35, None, 90)], rule("segments.share_below_percent", below=50, max=40))
    found = only(report)
    assert (found.value, found.limit, found.unit, found.status) == (50.0, 40.0, "%", "failed")
    assert [m.score for m in found.moments] == [35, 40]


@pytest.mark.parametrize(
    ("scores", "longest_s"), [((40, 41, 70, 40), 8.0), ((40, 40, None, 40), 8.0), ((70, 70), 0.0), ((50, 49.9), 4.0)]
)
def test_the_longest_run(scores: tuple[float | None, ...], longest_s: float, judged: Any) -> None:
    found = only(judged([rung("720p", *scores)], rule("segments.longest_below_s", below=50, max=6)))
    assert (found.value, found.unit) == (longest_s, "s")
    assert found.status == ("failed" if longest_s > 6 else "passed")


def test_what_the_model_does_not_know_is_left_out_of_segment_rules(judged: Any) -> None:
    report = judged([rung("720p", 2, 70, 80, flags=[["out_of_domain"]])], rule("segments.worst", min=50))
    assert only(report).value == 70
    assert any("4 s are unlike anything" in warning for warning in report.warnings)


def test_nothing_that_can_be_judged_is_not_measured(judged: Any) -> None:
    report = judged([rung("720p", 2, flags=[["out_of_domain"]])], rule("segments.worst", min=50))
    assert (only(report).status, report.passed) == ("not_measured", False)


# Flags and events


def test_flagged_seconds(judged: Any) -> None:
    found = only(
        judged([rung("720p", 70, 60, 50, flags=[[], ["corrupt", "gap"], ["corrupt"]])], rule("flags.corrupt_s", max=0))
    )
    assert (found.value, found.limit, found.unit, found.status) == (8.0, 0.0, "s", "failed")
    assert [m.start_s for m in found.moments] == [4, 8]


@pytest.mark.parametrize(
    ("figure", "value", "unit"),
    [
        ("events.freeze_s", 2.5, "s"),
        ("events.freeze_longest_s", 2.0, "s"),
        ("events.freeze_count", 2.0, ""),
        ("events.pts_gap_count", 1.0, ""),
        ("events.black_s", 0.0, "s"),
    ],
)
def test_events(figure: str, value: float, unit: str, judged: Any) -> None:
    one = rung("720p", 70, 60, 50)
    events = [
        Event("freeze", 1.0, 1.5, 1, 1),
        Event("freeze", 6.0, 8.0, 1, 1),
        Event("pts_gap", 9.0, 9.0, 1, 1),
    ]
    one = msgspec.structs.replace(one, track=msgspec.structs.replace(one.track, events=events))
    found = only(judged([one], rule(figure, max=0)))
    assert (found.value, found.unit) == (value, unit)
    assert found.status == ("failed" if value else "passed")
    if figure == "events.freeze_s":
        assert [m.start_s for m in found.moments] == [4, 0], "the longest first"


def test_events_that_nobody_looked_for(judged: Any) -> None:
    """Among tracks that have some, one without has no answer; where all are so the rule says that it does nothing."""
    without, one = rung("a", 70), rung("b", 70)
    some = msgspec.structs.replace(one, track=msgspec.structs.replace(one.track, events=[Event("cut", 1, 1, 1, 1)]))
    text = rule("events.freeze_s", max=1)
    report = judged([without], text)
    assert (report.results, report.passed) == ([], True)
    assert report.warnings == [
        "rule it (events.freeze_s) was not applied: it needs tracks whose events were looked for"
    ]
    report = judged([without, some], text)
    assert {r.subject: r.status for r in report.results} == {"a": "not_measured", "b": "passed"}
    assert not report.passed


# The ladder


def test_a_ladder_that_rises_passes(judged: Any) -> None:
    report = judged(ladder(30, 50, 70), rule("ladder.inversion"))
    assert report.passed
    assert [(r.subject, r.value, r.limit) for r in report.results] == [
        ("r2 over r1", -20, BAND),
        ("r3 over r2", -20, BAND),
    ]


@pytest.mark.parametrize(("upper", "status"), [(65.0, "passed"), (64.9, "failed")])
def test_an_inversion_is_one_beyond_the_noise(upper: float, status: str, judged: Any) -> None:
    found = only(judged(ladder(70, upper), rule("ladder.inversion")))
    assert found.status == status
    assert found.rungs == ["r2", "r1"]


def test_a_rung_is_held_against_the_best_of_those_below(judged: Any) -> None:
    """70 -> 66 -> 62: each step is noise, the whole is not."""
    report = judged(ladder(70, 66, 62), rule("ladder.inversion"))
    assert [(r.subject, r.status) for r in report.results] == [("r2 over r1", "passed"), ("r3 over r1", "failed")]


def test_a_policy_may_allow_more_than_noise(judged: Any) -> None:
    assert judged(ladder(70, 60), rule("ladder.inversion", max=12)).passed
    assert not judged(ladder(70, 60), rule("ladder.inversion", max=3)).passed, "less than noise is not asked for"
    noisy = rule("ladder.inversion") + "\n[noise]\nany_encode = 11\n"
    assert judged(ladder(70, 60), noisy).passed


def test_inversions_tell_the_seconds_that_fell_most(judged: Any) -> None:
    rungs = [rung("low", 50, 90, 70, kbps=1), rung("high", 52, 45, 40, kbps=2)]
    found = only(judged(rungs, rule("ladder.inversion")))
    assert [(m.start_s, m.score) for m in found.moments] == [(4, 45), (8, 40), (0, 52)]


def test_codecs_are_not_held_against_each_other(judged: Any) -> None:
    rungs = [
        *ladder(60, 80),
        *[msgspec.structs.replace(r, name=f"hevc-{r.name}") for r in ladder(40, 90, codec="hevc")],
    ]
    report = judged(rungs, rule("ladder.inversion"))
    assert [r.subject for r in report.results] == ["r2 over r1", "hevc-r2 over hevc-r1"]
    assert report.passed


def test_the_declared_order_counts(judged: Any) -> None:
    """Two files under each other's names: their bitrates alone would put them where they belong."""
    rungs = [
        rung("360p", 80, kbps=3000, declared_kbps=500),
        rung("720p", 60, kbps=1000, declared_kbps=1000),
        rung("1080p", 40, kbps=500, declared_kbps=3000),
    ]
    report = judged(rungs, rule("ladder.inversion"))
    assert [(r.subject, r.status) for r in report.results] == [
        ("720p over 360p", "failed"),
        ("1080p over 360p", "failed"),
    ]


def test_steps(judged: Any) -> None:
    report = judged(ladder(30, 50, 53), rule("ladder.step", min=6, level="warn"))
    assert [(r.subject, r.value, r.status) for r in report.results] == [
        ("r2 over r1", 20, "passed"),
        ("r3 over r2", 3, "failed"),
    ]
    assert report.passed


@pytest.mark.parametrize(
    ("upper", "status"), [(70.0, "failed"), (75.0, "failed"), (75.1, "passed"), (65.0, "failed"), (64.0, "passed")]
)
def test_a_step_within_the_noise_is_redundant(upper: float, status: str, judged: Any) -> None:
    """What goes down by more than noise is an inversion, and told as that."""
    assert only(judged(ladder(70, upper), rule("ladder.redundant"))).status == status


@pytest.mark.parametrize(("upper", "status"), [(73, "failed"), (74, "passed"), (66, "failed"), (64, "passed")])
def test_a_step_that_can_be_seen_is_not_redundant_however_wide_the_noise(
    upper: float, status: str, judged: Any
) -> None:
    found = only(judged(ladder(70, upper), rule("ladder.redundant", max=3)))
    assert (found.status, found.limit) == (status, 3)
    assert found.message.endswith("hardly seen" if upper > 70 else "noise")
    assert only(judged(ladder(70, upper), rule("ladder.redundant", max=30))).limit == BAND


DECLARED = [
    (720, 1280, 720, "passed"),
    (720, 960, 540, "failed"),
    (720, 720, 1280, "passed"),
    (720, 1280, 534, "passed"),
    (720, 960, 400, "failed"),
    (480, 1280, 720, "failed"),
]


@pytest.mark.parametrize(("declared", "width_px", "height_px", "status"), DECLARED)
def test_a_stream_has_the_lines_that_were_declared(
    declared: int, width_px: int, height_px: int, status: str, judged: Any
) -> None:
    one = rung("a", 50, declared_height_px=declared, width_px=width_px, height_px=height_px)
    found = only(judged([one], rule("ladder.declared_height_px")))
    assert (found.value, found.limit, found.unit, found.status) == (height_px, declared, "px", status)


@pytest.mark.parametrize(("kbps", "status"), [(900, "passed"), (250, "failed"), (1600, "failed")])
def test_a_stream_has_the_bitrate_that_was_declared(kbps: float, status: str, judged: Any) -> None:
    one = rung("a", 50, declared_kbps=1000, kbps=kbps)
    found = only(judged([one], rule("ladder.declared_bitrate_percent", min=35, max=150)))
    assert (found.value, found.unit, found.status) == (kbps / 10, "%", status)
    assert found.limit == (35 if kbps < 350 else 150)


# Against a baseline


def test_the_same_ladder_passes_its_baseline(judged: Any) -> None:
    rungs = ladder(30, 50, 70)
    text = read_preset("hls-vod")
    report = judge(rungs, msgspec.structs.replace(text, display=None), rungs, baseline_name="last.json")
    changes = [r for r in report.results if r.rule.startswith("baseline.")]
    assert {r.status for r in changes} == {"passed"}
    assert {r.value for r in changes} == {0.0}
    assert [(r.baseline, r.change) for r in report.rungs] == [(30, 0), (50, 0), (70, 0)]
    assert report.baseline is not None
    assert (report.baseline.source, report.baseline.rungs) == ("last.json", 3)


def test_a_drop_is_one_beyond_the_noise(judged: Any) -> None:
    noise = widened(BAND, 2)
    for drop, passed in ((noise - 0.01, True), (noise + 0.01, False)):
        report = judged(ladder(61, 80 - drop), rule("baseline.drop"), ladder(60, 80))
        assert report.passed == passed
        assert report.results[1].limit == pytest.approx(noise, abs=1e-3)
        assert [r.subject for r in report.results if r.status == "failed"] == ([] if passed else ["r2"])


def test_what_was_not_encoded_again_is_no_comparison(judged: Any) -> None:
    """One rung of three has changed: the band is that of one comparison."""
    report = judged(ladder(60, 75.1, 90), rule("baseline.drop"), ladder(60, 80, 90))
    assert {r.limit for r in report.results} == {BAND}
    new, old = rung("a", 70, 64.9, 71), rung("a", 70, 70, 71)
    assert only(judged([new], rule("baseline.segment_drop"), [old])).limit == BAND


def test_the_noise_of_the_same_codec_and_size_is_less(judged: Any) -> None:
    text = rule("baseline.drop") + "\n[noise]\nsame_encode = 1\n"
    assert not judged(ladder(77), text, ladder(80)).passed
    assert judged(ladder(77, codec="hevc"), text, ladder(80)).passed, "another codec: the model's own band"
    assert judged(ladder(77, height_px=480), text, ladder(80)).passed, "another size, likewise"


def test_a_rise_is_no_drop(judged: Any) -> None:
    for figure in ("baseline.drop", "baseline.segment_drop"):
        assert judged(ladder(95), rule(figure), ladder(60)).passed
    for figure in ("baseline.steady_drop", "baseline.ladder_drop"):
        assert judged(ladder(60, 95), rule(figure, max=0), ladder(50, 60)).passed


def test_one_segment_that_fell(judged: Any) -> None:
    new, old = rung("a", 70, 50, 71, 30), rung("a", 70, 70, 70, 70)
    report = judged([new], rule("baseline.segment_drop"), [old])
    found = only(report)
    assert (found.value, found.status) == (40, "failed")
    assert found.limit == pytest.approx(widened(BAND, 3), abs=1e-3), "the largest of three that have changed"
    assert [(m.start_s, m.score) for m in found.moments] == [(12, 30), (4, 50)]


def test_segments_that_fall_together(judged: Any) -> None:
    """One point each, which no single segment is sure of."""
    old = rung("a", *[70 + i % 3 for i in range(12)])
    new = rung("a", *[69 + i % 3 + 0.2 * (i % 2) for i in range(12)])
    assert judged([new], rule("baseline.segment_drop"), [old]).passed
    assert not judged([new], rule("baseline.steady_drop", max=0.5), [old]).passed
    scattered = rung("a", *[69 + i % 3 + 6 * (-1) ** i for i in range(12)])
    assert judged([scattered], rule("baseline.steady_drop", max=0.5), [old]).passed, "the same mean, by chance"


def test_rungs_that_fall_together(judged: Any) -> None:
    old, new = ladder(30, 50, 70, 80), ladder(28.9, 49, 68.9, 79)
    assert judged(new, rule("baseline.drop"), old).passed
    found = only(judged(new, rule("baseline.ladder_drop", max=0.5), old))
    assert (found.subject, found.status) == ("ladder", "failed")
    assert found.value == pytest.approx(1.05)


def test_segments_are_compared_at_the_same_times(judged: Any) -> None:
    old = rung("a", 70, 60, 50, 40)
    new = rung("a", 70, 60, 50)
    report = judged([new], rule("baseline.segment_drop"), [old])
    assert report.passed
    assert (
        "a has 3 segments and 4 in the baseline, 3 of them at the same times: is it the same content?"
        in report.warnings
    )


def test_rungs_that_only_one_ladder_has_are_said(judged: Any) -> None:
    report = judged(ladder(60, 80), rule("baseline.drop"), [rung("r1", 60), rung("r9", 90)])
    assert [r.subject for r in report.results] == ["r1"]
    assert "the ladder does not have r9: nothing was compared" in report.warnings
    assert "the baseline does not have r2: nothing was compared" in report.warnings


def test_without_a_baseline_its_rules_do_not_apply(judged: Any) -> None:
    report = judged(ladder(60), rule("baseline.drop") + '\n[rules.b]\nfigure = "pooled.mean"\nmin = 1\n')
    assert [r.rule for r in report.results] == ["pooled.mean"]
    assert report.warnings == ["there is no baseline: it did not apply"]


def test_bjontegaard_deltas(judged: Any) -> None:
    """Four rungs that score 2 less at every bitrate."""
    old, new = ladder(40, 55, 65, 70), ladder(38, 53, 63, 68)
    found = only(judged(new, rule("baseline.bd_score", min=-1), old))
    assert (found.status, found.subject) == ("failed", "ladder")
    assert found.value == pytest.approx(-2, abs=1e-3)
    found = only(judged(new, rule("baseline.bd_rate_percent", max=1), old))
    assert found.status == "failed"
    assert found.value is not None
    assert found.value > 1


# What cannot be judged


def test_one_rung_is_told_what_does_not_apply(judged: Any) -> None:
    text = rule("ladder.inversion") + '\n[rules.b]\nfigure = "pooled.mean"\nmin = 1\n'
    report = judged(ladder(60), text)
    assert [r.rule for r in report.results] == ["pooled.mean"]
    assert report.warnings == ["rule it (ladder.inversion) was not applied: it needs two rungs of one codec"]
    assert report.passed


def test_an_empty_ladder_is_refused(judged: Any) -> None:
    with pytest.raises(UsageError, match="the ladder is empty"):
        judged([], rule("pooled.mean", min=1))


def test_two_rungs_of_one_name_are_refused(judged: Any) -> None:
    with pytest.raises(UsageError, match="two rungs are named a"):
        judged([rung("a", 1), rung("a", 1)], rule("pooled.mean", min=1))


def test_what_broke_off_fails_as_not_measured(judged: Any) -> None:
    good, bad = ladder(60, 80)
    track = msgspec.structs.replace(bad.track, complete=False, warnings=["it broke off at 4 s"])
    report = judged([good, msgspec.structs.replace(bad, track=track)], rule("pooled.mean", min=1))
    assert not report.passed
    first, second = report.results
    assert (first.rule, first.status, first.level, first.subject) == ("rung.measured", "not_measured", "error", "r2")
    assert "it broke off at 4 s" in first.message
    assert second.subject == "r1", "the others are still judged"


def test_a_track_without_a_score_fails_as_not_measured(judged: Any) -> None:
    report = judged([rung("a", None, None)], rule("pooled.mean", min=1))
    assert (only(report).status, report.passed) == ("not_measured", False)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"status": "untrained"}, "is untrained"),
        ({"status": "provisional"}, "is provisional"),
        ({"calibration": None}, "not calibrated"),
    ],
)
def test_a_model_that_may_not_decide_refuses(changed: dict[str, Any], said: str, judged: Any) -> None:
    one = rung("a", 50)
    track = msgspec.structs.replace(one.track, model=msgspec.structs.replace(one.track.model, **changed))
    with pytest.raises(UsageError, match=f"{said} and may not decide a gate"):
        judged([msgspec.structs.replace(one, track=track)], rule("pooled.mean", min=1))


def with_setting(one: Rung, **settings: Any) -> Rung:
    """A rung that was measured otherwise."""
    settings_of = msgspec.structs.replace(one.track.settings, **settings)
    return msgspec.structs.replace(one, track=msgspec.structs.replace(one.track, settings=settings_of))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"display": "1280x720"}, "settings.display is 1920x1080 and 1280x720"),
        ({"segment": "2s"}, "settings.segment is 0.4s and 2s"),
        ({"frames_per_window": 9}, "settings.frames_per_window is 2 and 9"),
        ({"sampling": "uniform"}, "settings.sampling"),
        ({"seed": 3}, "settings.seed is 0 and 3"),
        ({"views": ["mosaic"]}, "settings.views is whole and mosaic"),
        ({"bars": "cut"}, "settings.bars is keep and cut"),
        ({"start_s": 3.0}, "settings.start_s"),
        ({"precision": "bfloat16"}, "settings.precision is float32 and bfloat16"),
    ],
)
def test_what_was_measured_differently_is_refused(settings: dict[str, Any], said: str, judged: Any) -> None:
    one, other = ladder(60, 80)
    with pytest.raises(UsageError, match=f"r1 and r2 cannot be compared: {said}"):
        judged([one, with_setting(other, **settings)], rule("pooled.mean", min=1))
    with pytest.raises(UsageError, match="the baseline's r1 and r1 cannot be compared: settings"):
        judged([one], rule("pooled.mean", min=1), [with_setting(one, **settings)])


def test_the_device_is_no_difference(judged: Any) -> None:
    one, other = ladder(60, 80)
    assert judged([one, with_setting(other, device="cuda")], rule("pooled.mean", min=1)).passed


@pytest.mark.parametrize("name", ["id", "weights_sha256", "backbone_sha256", "calibration"])
def test_another_model_is_refused(name: str, judged: Any) -> None:
    one, other = ladder(60, 80)
    model = msgspec.structs.replace(other.track.model, **{name: "f" * 64})
    other = msgspec.structs.replace(other, track=msgspec.structs.replace(other.track, model=model))
    with pytest.raises(UsageError, match=rf"r1 and r2 cannot be compared: model\.{name} is .* and ffffffffffff;"):
        judged([one, other], rule("pooled.mean", min=1))


def test_limits_are_for_a_display(judged: Any) -> None:
    with pytest.raises(UsageError, match=r"for a display of 1280x720, and clip\.mp4 was measured at 1920x1080"):
        judged(ladder(60), 'display = "1280x720"\n' + rule("pooled.mean", min=1))


def test_without_a_noise_band_nothing_is_called_a_change(judged: Any) -> None:
    rungs = ladder(60, 80, noise=None)
    with pytest.raises(UsageError, match=r"no noise band: ladder.inversion \(.*policy.toml:1\)"):
        judged(rungs, rule("ladder.inversion"))
    assert judged(rungs, rule("ladder.inversion") + "\n[noise]\nany_encode = 5\n").passed
    assert judged(rungs, rule("pooled.mean", min=1)).passed


def test_numbers_that_nobody_measured_are_no_traceback(judged: Any) -> None:
    """Sidecars may come from strangers."""
    one = rung("a", 70, 60)
    segments = [msgspec.structs.replace(s, start_s=1.7e308, end_s=-1.7e308) for s in one.track.segments]
    odd = msgspec.structs.replace(one, track=msgspec.structs.replace(one.track, segments=segments))
    for said in ({"below": 65, "max": 5}, {"below": 0, "max": 5}):
        assert only(judged([odd], rule("segments.share_below_percent", **said))).status == "not_measured"
    assert judge([odd], msgspec.structs.replace(read_preset("hls-vod"), display=None), [odd]).results


def test_a_message_is_one_line_whatever_a_rung_is_called(judged: Any) -> None:
    with pytest.raises(UsageError) as caught:
        judged([rung("a\n::error::b", 1), with_setting(rung("\x1b[31m", 1), seed=3)], rule("pooled.mean", min=1))
    assert str(caught.value).isprintable()


# Noise


def test_the_band_of_the_largest_of_many() -> None:
    assert widened(5.0, 1) == pytest.approx(5.0)
    assert widened(5.0, 0) == pytest.approx(5.0)
    assert 5 < widened(5.0, 5) < widened(5.0, 100) < 10


def test_the_largest_of_many_keeps_to_its_band() -> None:
    """Monte Carlo: of ladders of ten equal rungs about one in twenty goes beyond the band for ten."""
    import numpy as np

    drawn = np.random.default_rng(0).normal(size=(20_000, 10))
    band = 1.959964
    assert 0.04 < (np.abs(drawn).max(axis=1) > widened(band, 10)).mean() < 0.055


@pytest.mark.parametrize("degrees", T_99)
def test_students_t(degrees: int) -> None:
    from scipy.stats import t

    assert T_99[degrees] == pytest.approx(t.ppf(0.99, degrees), abs=1e-3)


def test_what_chance_may_add() -> None:
    assert uncertain([1.0]) == math.inf
    assert uncertain([1.0, 1.0, 1.0]) == 0
    assert uncertain([0.0, 1.0, 2.0]) == pytest.approx(6.965 / math.sqrt(3))
    assert uncertain([float(i % 2) for i in range(100)]) == pytest.approx(2.390 * 0.502519 / 10, rel=1e-4)


def test_a_mean_of_equal_encodes_is_seldom_called_a_drop(judged: Any) -> None:
    """Segments that scatter by 2 around no change at all: of 200 trials at most a few go beyond."""
    import numpy as np

    rng = np.random.default_rng(1)
    old = rung("a", *[70.0] * 15)
    failed = 0
    for _ in range(200):
        new = rung("a", *[float(s) for s in 70 + rng.normal(scale=2, size=15)])
        failed += not judged([new], rule("baseline.steady_drop", max=0), [old]).passed
    assert failed <= 8  # 1 in 100 is expected
