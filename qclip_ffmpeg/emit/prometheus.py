"""Prometheus text exposition (version 0.0.4), for the textfile collector of node_exporter and for a Pushgateway.

A series a file, told apart by the label `source`.
"""

from collections.abc import Iterator, Sequence

from qclip_ffmpeg.emit.chart import happened
from qclip_ffmpeg.emit.figures import decimal, pooled_figures
from qclip_ffmpeg.track import QualityTrack

STATISTICS = ("mean", "harmonic_mean", "min", "p5", "p10", "median", "max")
HELP = {
    "qclip_score": "No-reference quality pooled over the file, higher is better.",
    "qclip_score_stdev": "Spread of the quality over time.",
    "qclip_score_stderr": "Standard error of the mean.",
    "qclip_noise_band": "Difference of the mean up to which two encodes of one content are equal.",
    "qclip_measured_seconds": "Length of the segments that have a score.",
    "qclip_segments": "Segments measured.",
    "qclip_flagged_segments": "Segments with this flag.",
    "qclip_temporal": "Share of the time that events leave whole, in percent, higher is better.",
    "qclip_events": "Events of this kind.",
    "qclip_event_seconds": "How long the events of this kind last together.",
    "qclip_complete": "1 if the file was measured to its end, else 0.",
}


def to_prometheus(tracks: Sequence[QualityTrack]) -> bytes:
    """All figures of all tracks, a metric after the other. A figure that does not exist has no line."""
    samples = [sample for track in tracks for sample in samples_of(track)]
    lines: list[str] = []
    for metric, said in HELP.items():
        if found := [f"{name}{labels} {value}" for name, labels, value in samples if name == metric]:
            lines += [f"# HELP {metric} {said}", f"# TYPE {metric} gauge", *found]
    return "".join(line + "\n" for line in lines).encode()


def samples_of(track: QualityTrack) -> Iterator[tuple[str, str, str]]:
    """(metric, labels, value) of every sample of one track."""
    file = {"source": track.source.name, "model": track.model.id}
    figures = pooled_figures(track)
    for statistic in STATISTICS:
        if statistic in figures:
            yield "qclip_score", label_set(file | {"statistic": statistic}), figures[statistic]
    of_file = {
        "qclip_score_stdev": figures.get("stdev"),
        "qclip_score_stderr": figures.get("stderr"),
        "qclip_noise_band": figures.get("noise_band"),
        "qclip_measured_seconds": decimal(sum(s.end_s - s.start_s for s in track.segments if s.score is not None)),
        "qclip_segments": str(len(track.segments)),
        "qclip_temporal": figures.get("temporal"),
        "qclip_complete": str(int(track.complete)),
    }
    yield from ((metric, label_set(file), value) for metric, value in of_file.items() if value is not None)
    for kind, count, lasted_s in happened(track):
        labels = label_set(file | {"kind": kind})
        yield "qclip_events", labels, str(count)
        yield "qclip_event_seconds", labels, decimal(lasted_s)
    for flag in sorted({flag for segment in track.segments for flag in segment.flags}):
        count = sum(flag in segment.flags for segment in track.segments)
        yield "qclip_flagged_segments", label_set(file | {"flag": flag}), str(count)


def label_set(labels: dict[str, str]) -> str:
    """{name="value",...} with backslash, quote and newline escaped."""
    escaped = {k: v.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for k, v in labels.items()}
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}"
