"""The activation cache: nothing is computed twice, nothing is taken for something else, little is lost."""

import csv
import os
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file
from tiny_model import TINY_PE
from tiny_training import PE, cache_in, clips_of, quiet, recipe_for, replace

from qclip_ffmpeg import backbone_open_clip
from qclip_ffmpeg.adapters import ProjectionAdapter, SharedAdapter, VisualPrompts
from qclip_ffmpeg.errors import InputError, ModelError, UsageError
from qclip_ffmpeg.model import Frozen, Joint, Statistics
from qclip_ffmpeg.scorer import Scorer
from qclip_ffmpeg.train import activations
from qclip_ffmpeg.train.activations import Activations, joined
from qclip_ffmpeg.train.config import TrainRecipe, untrained
from qclip_ffmpeg.train.labels import Clip

pytest_plugins = ["train_fixtures"]

pytestmark = pytest.mark.usefixtures("tiny")

AFTER_2 = SharedAdapter(share="core", dim=8, first_block=2)


def part(made: Activations, place: int) -> Frozen:
    """The activations of one clip."""
    [found] = made.of([place])
    return found


def filled(recipe: TrainRecipe, clips: list[Clip] | None = None, backbone: Path | None = None) -> Activations:
    """The activations of a recipe, with their cache filled."""
    scorer = Scorer(untrained(recipe, backbone), "cpu", threads=1)
    made = Activations(scorer, clips or clips_of(recipe), recipe.sampling, recipe.cache)
    made.fill(quiet)
    return made


@pytest.fixture
def recipe(rated: Path, tmp_path: Path) -> TrainRecipe:
    return recipe_for(rated, adapters=AFTER_2, cache=cache_in(tmp_path / "cache"))


@pytest.fixture
def copies(rated: Path, tmp_path: Path) -> Path:
    """labels.csv of four of the rated videos, copied to a folder of their own."""
    folder = tmp_path / "copies"
    folder.mkdir()
    rows = list(csv.reader(rated.open(newline="")))[:5]
    for name, *_ in rows[1:]:
        shutil.copy(rated.with_name(name), folder)
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "labels.csv"


# What is computed


def test_a_second_run_computes_nothing(recipe: TrainRecipe, asked: list[str]) -> None:
    clips = clips_of(recipe)
    first = filled(recipe)
    assert asked == [clip.name for clip in clips]
    again = filled(recipe)
    for one, other in zip(first.of(range(12)), again.of(range(12)), strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert len(asked) == 12


def test_without_a_cache_each_use_computes(recipe: TrainRecipe, asked: list[str]) -> None:
    plain = filled(replace(recipe, cache=None))
    assert asked == []
    cached = filled(recipe)
    asked.clear()
    for place in (3, 0, 3):
        made, kept = part(plain, place), part(cached, place)
        assert all(torch.equal(made[name], kept[name]) for name in kept)
    assert len(asked) == 3, "once each time, and never by the cached ones"


@pytest.mark.parametrize(
    ("changes", "has"),
    [
        ({"adapters": AFTER_2}, {"tokens": (2, 1, 17, 16)}),
        ({"adapters": AFTER_2, "views": ("whole", "mosaic")}, {"tokens": (2, 2, 17, 16)}),
        ({"adapters": VisualPrompts(tokens=2, first_block=3)}, {"tokens": (2, 1, 17, 16)}),
        (
            {"adapters": AFTER_2, "readout": Statistics((1, 3), ("class", "std"))},
            {"early": (2, 1, 32), "tokens": (2, 1, 17, 16)},
        ),
        ({"adapters": None, "readout": Statistics((1, 3), ("class", "std"))}, {"early": (2, 1, 64)}),
        ({"adapters": ProjectionAdapter(dim=4)}, {"early": (2, 1, 32)}),
        ({"adapters": AFTER_2, "frames": 1}, {"tokens": (1, 1, 17, 16)}),
        ({"adapters": AFTER_2, "frames": 64}, {"tokens": (4, 1, 17, 16)}),  # a clip has four
    ],
)
def test_what_is_kept(changes: Any, has: dict[str, tuple[int, ...]], rated: Path, tmp_path: Path) -> None:
    made = filled(recipe_for(rated, cache=cache_in(tmp_path), **changes))
    assert {name: tuple(tensor.shape) for name, tensor in part(made, 0).items()} == has
    together, counts = joined(made.of([0, 5, 7]))
    assert counts == [next(iter(has.values()))[0]] * 3
    assert {name: tensor.shape[0] for name, tensor in together.items()} == dict.fromkeys(has, sum(counts))
    assert all(tensor.dtype == torch.float32 for tensor in together.values())


def test_half_precision_rounds_and_nothing_else(recipe: TrainRecipe, tmp_path: Path) -> None:
    full, half = filled(recipe), filled(replace(recipe, cache=cache_in(tmp_path / "half", "float16")))
    for place in (0, 11):
        assert torch.equal(part(half, place)["tokens"], part(full, place)["tokens"].half().float())
        assert not torch.equal(part(half, place)["tokens"], part(full, place)["tokens"])
    assert sum(p.stat().st_size for p in (tmp_path / "half").glob("*.safetensors")) < 0.6 * sum(
        p.stat().st_size for p in (tmp_path / "cache").glob("*.safetensors")
    )


def test_activations_that_half_precision_cannot_hold(
    recipe: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = Scorer.frozen

    def huge(*arguments: Any) -> Any:
        return ({name: 1e6 * tensor for name, tensor in part.items()} for part in frozen(*arguments))

    monkeypatch.setattr(Scorer, "frozen", huge)
    with pytest.raises(UsageError, match=r'rated0-good.mkv: .* say \[cache\] precision = "float32"'):
        filled(replace(recipe, cache=cache_in(tmp_path / "half", "float16")))
    filled(recipe)


# What is another thing, and what is the same


def other_backbone(recipe: TrainRecipe, tiny: Path, folder: Path) -> Path:
    """A Perception Encoder with other weights."""
    tensors = load_file(tiny / "PE.safetensors")
    first = next(name for name in tensors if name.startswith("visual."))
    activations.write_tensors(folder / "PE.safetensors", tensors | {first: tensors[first] + 1})
    return folder / "PE.safetensors"


CHANGES: dict[str, dict[str, Any]] = {
    "frames": {"frames": 3},
    "policy": {"policy": "motion"},
    "seed": {"sampling_seed": 1},
    "display": {"display": (256, 192)},
    "views": {"views": ("mosaic",)},
    "views in another order": {"views": ("mosaic", "whole")},
    "cut": {"adapters": SharedAdapter(share="core", dim=8, first_block=3)},
    "prompts in front of the block": {"adapters": VisualPrompts(tokens=2, first_block=2)},
    "exit before the cut": {"readout": Statistics((1, 3), ("class", "mean"))},
    "statistics": {"adapters": None},
    "blocks": {"readout": Statistics((4,), ("class", "mean"))},
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_decides_the_activations_makes_other_ones(what: str, recipe: TrainRecipe, asked: list[str]) -> None:
    filled(recipe)
    asked.clear()
    changes = dict(CHANGES[what])
    if (seed := changes.pop("sampling_seed", None)) is not None:
        changes["sampling"] = replace(recipe.sampling, seed=seed)
    changed = recipe_for(Path(recipe.data.labels), **{"adapters": AFTER_2, "cache": recipe.cache, **changes})
    filled(changed)
    assert len(asked) == 12


@pytest.mark.parametrize(
    "changes",
    [
        {"dim": 16},
        {"share": "all"},
        {"levels": "linear"},
        {"fusion": "attention"},
        {"epochs": 9, "learning_rate": 0.5, "seed": 7, "train_share": 0.5, "ridge": 1.0},
    ],
)
def test_variants_that_differ_in_what_is_trained_share_a_cache(
    changes: dict[str, Any], recipe: TrainRecipe, asked: list[str]
) -> None:
    filled(recipe)
    asked.clear()
    adapter = replace(AFTER_2, **{k: v for k, v in changes.items() if k in ("dim", "share")})
    optimiser = replace(recipe.optimiser, **{k: v for k, v in changes.items() if hasattr(recipe.optimiser, k)})
    network = {k: v for k, v in changes.items() if k in ("levels", "fusion")}
    changed = replace(
        recipe, model=replace(recipe.model, adapters=adapter, **network), optimiser=optimiser, start="elsewhere"
    )
    filled(changed)
    assert asked == []


def test_all_that_reads_the_joint_space_shares_a_cache(
    rated: Path, tiny: Path, tmp_path: Path, asked: list[str]
) -> None:
    for levels in ("prompts", "vectors", "linear"):
        recipe = recipe_for(rated, backbone=PE, levels=levels, readout=Joint(), epochs=0, cache=cache_in(tmp_path))
        made = filled(recipe, backbone=tiny / "PE.safetensors")
        assert list(part(made, 0)) == ["pooled"]
    assert len(asked) == 12


def test_tokens_and_pooled_features_after_one_block(rated: Path, tiny: Path, tmp_path: Path) -> None:
    """The last of the four: adapters behind it need its tokens."""
    for adapters, has in ((None, "pooled"), (SharedAdapter(share="core", dim=8, first_block=4), "tokens")):
        recipe = recipe_for(rated, backbone=PE, readout=Joint(), adapters=adapters, cache=cache_in(tmp_path))
        assert list(part(filled(recipe, backbone=tiny / "PE.safetensors"), 0)) == [has]


def test_both_precisions_in_one_folder(recipe: TrainRecipe, tmp_path: Path, asked: list[str]) -> None:
    for precision in ("float16", "float32", "float16"):
        filled(replace(recipe, cache=cache_in(tmp_path / "cache", precision)))
    assert len(asked) == 24


def test_the_same_weights_in_another_backbone(
    rated: Path, tiny: Path, tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The class token's row of the rotation table first, as in Meta's, or last, as the released code has it."""
    found = []
    for order in ("first", "last"):
        changed = msgspec.structs.replace(TINY_PE, rope_cls=order)
        monkeypatch.setattr(backbone_open_clip, "open_clip_config", lambda *_, changed=changed: changed)
        recipe = recipe_for(rated, backbone=PE, readout=Joint(), cache=cache_in(tmp_path))
        found.append(part(filled(recipe, backbone=tiny / "PE.safetensors"), 0)["pooled"])
    assert len(asked) == 24
    assert not torch.equal(*found)


def test_another_backbone_of_the_same_architecture(rated: Path, tiny: Path, tmp_path: Path, asked: list[str]) -> None:
    recipe = recipe_for(rated, backbone=PE, readout=Joint(), cache=cache_in(tmp_path))
    one = filled(recipe, backbone=tiny / "PE.safetensors")
    other = filled(recipe, backbone=other_backbone(recipe, tiny, tmp_path))
    assert len(asked) == 24
    assert not torch.equal(part(one, 0)["pooled"], part(other, 0)["pooled"])


def test_other_bytes_under_the_same_name(copies: Path, tmp_path: Path, asked: list[str]) -> None:
    recipe = recipe_for(copies, cache=cache_in(tmp_path / "cache"))
    before = part(filled(recipe), 0)
    first, _, third, _ = (clip.path for clip in clips_of(recipe))
    shutil.copy(third, first)
    after = filled(recipe)
    assert not torch.equal(before["early"], part(after, 0)["early"])
    assert torch.equal(part(after, 0)["early"], part(after, 2)["early"])
    assert len(asked) == 4, "the same bytes were there under another name"
    os.utime(first)
    filled(recipe)
    assert len(asked) == 4, "a file that was only touched is the same"


def test_the_same_video_twice_is_computed_once(copies: Path, tmp_path: Path, asked: list[str]) -> None:
    """Under two names, or on two displays."""
    first = clips_of(recipe_for(copies))[0].path
    shutil.copy(first, copies.with_name("again.mkv"))
    shutil.copy(first, copies.with_name("tall.mkv"))
    rows = ["file,score,content,display_height_px", f"{first.name},10,a,", "again.mkv,30,b,", "tall.mkv,50,c,600"]
    copies.write_text("\n".join(rows))
    made = filled(recipe_for(copies, cache=cache_in(tmp_path / "cache"), views=("mosaic",), display=(2000, 300)))
    assert torch.equal(part(made, 0)["early"], part(made, 1)["early"])
    assert not torch.equal(part(made, 0)["early"], part(made, 2)["early"])
    assert len(asked) == 2


def test_a_folder_of_frames_is_known_by_its_frames(
    copies: Path, tmp_path: Path, encode: Callable[..., Path], asked: list[str]
) -> None:
    folder = copies.with_name("frames")
    folder.mkdir()
    encode(clips_of(recipe_for(copies))[0].path, str(folder / "%d.png"))
    copies.write_text("frames, 0.4, 10, 3.5\nrated0-bad.mkv, 0.4, 10, 2\n")
    source = replace(recipe_for(copies).data, content_column=None, display_height_column=None)
    recipe = recipe_for(copies, data=source, cache=cache_in(tmp_path / "cache"))
    filled(recipe)
    filled(recipe)
    assert len(asked) == 2
    shutil.copy(folder / "1.png", folder / "2.png")
    filled(recipe)
    assert asked[2:] == ["frames"]
    clips = [msgspec.structs.replace(clips_of(recipe)[0], frame_rate=Fraction(50)), clips_of(recipe)[1]]
    filled(recipe, clips)
    assert asked[3:] == ["frames"], "its rate decides what random sampling sees"


# What is lost when it is stopped, and what is damaged


@pytest.mark.parametrize("limit", ["SHARD_BYTES", "SHARD_CLIPS"])
def test_shards_are_small_enough_to_lose(
    limit: str, recipe: TrainRecipe, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed fill keeps the shards it had finished: SIGKILL leaves no time for anything."""
    monkeypatch.setattr(activations, limit, 5 if limit == "SHARD_CLIPS" else 5 * 2 * 17 * 16 * 4)
    write = Activations._write
    written: list[int] = []

    def killed_in_the_third(self: Activations, pending: Any) -> None:
        if len(written) == 2:
            raise SystemExit  # before anything of the third is on the disk
        written.append(len(pending))
        write(self, pending)

    monkeypatch.setattr(Activations, "_write", killed_in_the_third)
    with pytest.raises(SystemExit):
        filled(recipe)
    monkeypatch.setattr(Activations, "_write", write)
    assert written == [5, 5]
    asked.clear()
    filled(recipe)
    assert len(asked) == 2


def test_a_clip_that_cannot_be_read_loses_little(copies: Path, tmp_path: Path, asked: list[str]) -> None:
    recipe = recipe_for(copies, cache=cache_in(tmp_path / "cache"))
    last = clips_of(recipe)[-1]
    good = last.path.read_bytes()
    last.path.write_text("not a video")
    with pytest.raises(InputError, match=last.name):
        filled(recipe)
    last.path.write_bytes(good)
    asked.clear()
    filled(recipe)
    assert len(asked) <= 2, "it, and the one that was in work when it failed"


def test_ctrl_c_loses_little(recipe: TrainRecipe, asked: list[str]) -> None:
    def interrupted(stage: str, done: int, of: int) -> None:
        if (stage, done) == ("frozen blocks", 10):
            raise KeyboardInterrupt

    made = Activations(Scorer(untrained(recipe, None), "cpu"), clips_of(recipe), recipe.sampling, recipe.cache)
    with pytest.raises(KeyboardInterrupt):
        made.fill(interrupted)
    asked.clear()
    filled(recipe)
    assert asked == [clip.name for clip in clips_of(recipe)[10:]]


def test_a_damaged_shard_is_named(recipe: TrainRecipe, tmp_path: Path) -> None:
    filled(recipe)
    [shard] = (tmp_path / "cache").glob("*.safetensors")
    whole = shard.read_bytes()
    for damaged in (whole[:-100], b"", b"\xff" * 100):
        shard.write_bytes(damaged)
        with pytest.raises(ModelError, match="delete it") as raised:
            filled(recipe)
        assert str(shard) in str(raised.value)
        assert "\n" not in str(raised.value)
    shard.unlink()
    filled(recipe)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"a": 1}'])
def test_damaged_hashes_are_made_again(content: bytes, recipe: TrainRecipe, tmp_path: Path, asked: list[str]) -> None:
    filled(recipe)
    (tmp_path / "cache" / "hashes.json").write_bytes(content)
    filled(recipe)
    assert len(asked) == 12
    assert len(msgspec.json.decode((tmp_path / "cache" / "hashes.json").read_bytes())) == 12


def test_clips_are_read_once_to_hash_them(recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(recipe)
    monkeypatch.setattr(activations, "sha256_of_file", None)
    filled(recipe)


@pytest.mark.parametrize("folder", ["file/cache", "/proc/cache", "/proc"])
def test_a_cache_that_cannot_be_written(folder: str, recipe: TrainRecipe, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    with pytest.raises(UsageError, match="choose another"):
        filled(replace(recipe, cache=cache_in(tmp_path / folder)))
