"""qclip-model: train, evaluate, calibrate, compare, import and look at models.

What trains and measures is in `model_train` and `model_calibrate`; here is the rest, and what brings them together.
"""

from pathlib import Path
from typing import Any

import click

from qclip_ffmpeg import __version__
from qclip_ffmpeg.cli import console
from qclip_ffmpeg.cli.model_calibrate import calibrate_command
from qclip_ffmpeg.cli.model_options import refuse_existing
from qclip_ffmpeg.cli.model_train import compare_command, evaluate_command, train_command

EXAMPLES = """\b
Examples:
  qclip-model list
  qclip-model info qclip-vitb16
  qclip-model train presets/train/konvid-1k.toml --labels KoNViD/labels.txt -o runs/konvid
  qclip-model evaluate runs/konvid/model.safetensors presets/train/live-vqc.toml --labels LIVE-VQC/labels.csv -o figures
  qclip-model calibrate runs/konvid/model.safetensors --labels held-out/labels.csv -o runs/konvid/calibrated.safetensors
  qclip-model compare presets/train/compare.toml --labels encodes/labels.csv -o results
  qclip-model import official.pth -o qclip-official.safetensors

\b
Exit status: 0 done, 1 failed on the way, 2 wrong usage, 130 interrupted (run it again to go on).
"""


@click.group(name="qclip-model", epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="qclip-model")
def command() -> None:
    """Train, evaluate, calibrate, compare, import and look at models."""


for trains in (train_command, evaluate_command, calibrate_command, compare_command):
    command.add_command(trains)


@command.command(name="list", short_help="The models that come with the package.")
def list_command() -> int:
    """The models that come with the package."""
    from qclip_ffmpeg.checkpoint import DEFAULT_MODEL, bundled_models, find_model, read_checkpoint

    for name in bundled_models():
        card, _ = read_checkpoint(find_model(name))
        default = ", the default" if name == DEFAULT_MODEL else ""
        click.echo(f"{name}  {card.status}{default}: {card.description}")
    return 0


@command.command(name="info", short_help="A model block by block: parameters, operations.")
@click.argument("what", metavar="MODEL|PRESET.toml")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def info_command(what: str, as_json: bool) -> int:
    """Both towers block by block: width, parameters, what is trained, and floating point operations a frame; of a
    checkpoint also its calibration, noise band and domain.

    MODEL is a bundled model's name or a checkpoint; a training preset is described as it would be built, without
    weights.
    """
    import msgspec

    from qclip_ffmpeg.checkpoint import build, check_card, find_model, read_checkpoint
    from qclip_ffmpeg.presets import read_toml
    from qclip_ffmpeg.summary import known_lines, summarise
    from qclip_ffmpeg.train.config import ModelPreset, model_config

    card = None
    if Path(what).suffix == ".toml":
        config = model_config(read_toml(Path(what), ModelPreset).model)
    else:
        path = find_model(what)
        card, _ = read_checkpoint(path)
        check_card(path.name, card)
        build(path.name, card.config)  # what cannot be built is the file's fault
        config = card.config
    found = summarise(config, card)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        console.print_summary(config.backbone.architecture, found)
        for line in known_lines(found) if card else ():
            click.echo(line)
    return 0


@command.command(name="import", short_help="Import a checkpoint of the authors' code.")
@click.argument("source", metavar="OFFICIAL.pth", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "out",
    metavar="NAME.safetensors",
    type=click.Path(path_type=Path),
    required=True,
    help="The checkpoint; its backbone becomes NAME.backbone.safetensors.",
)
@click.option(
    "--rope-cls",
    type=click.Choice(["last", "first"]),
    default="last",
    show_default=True,
    help="Row of the class token in the rotation table; the released code trains with last, Meta's backbone has first.",
)
@click.option(
    "--first-block",
    type=click.IntRange(1, 128),
    default=19,
    show_default=True,
    help="First block with an adapter, counted from 1.",
)
@click.option("--heads", type=click.IntRange(1, 128), help="Attention heads, of towers of another size.")
@click.option("-y", "overwrite", is_flag=True, help="Overwrite files that exist.")
def import_command(source: Path, out: Path, rope_cls: Any, first_block: int, heads: int | None, overwrite: bool) -> int:
    """Import a checkpoint of the Q-CLIP authors' code. Nothing in the file is run."""
    from qclip_ffmpeg.official import backbone_path_of, import_official

    for path in (out, backbone_path_of(out)):
        refuse_existing(path, overwrite)
    checkpoint, backbone = import_official(source, out, rope_cls, first_block, heads)
    console.say(f"wrote {checkpoint} and its backbone {backbone}; keep them in one folder")
    return 0


@command.command(name="backbone", short_help="Fetch the weights of an open_clip backbone.")
@click.argument("architecture")
@click.option("--pretrained", metavar="TAG", required=True, help="open_clip's tag of the weights, for example meta.")
@click.option(
    "-o",
    "--output",
    "out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    required=True,
    help="The file, NAME.safetensors.",
)
@click.option("-y", "overwrite", is_flag=True, help="Overwrite FILE if it exists.")
def backbone_command(architecture: str, pretrained: str, out: Path, overwrite: bool) -> int:
    """Write the weights of an open_clip ARCHITECTURE to FILE.safetensors, fetched from where open_clip has them.

    The only command that uses the network. Training and checkpoints name the file by its sha256.
    """
    from qclip_ffmpeg.backbone_open_clip import open_clip_config
    from qclip_ffmpeg.checkpoint import save_backbone

    refuse_existing(out, overwrite)
    sha256 = save_backbone(out, open_clip_config(architecture, pretrained))
    console.say(f"wrote {out}, sha256 {sha256}")
    return 0


def main() -> None:
    """Entry point of the installed command."""
    console.run_command(command)


if __name__ == "__main__":
    main()
