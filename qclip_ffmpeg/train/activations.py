"""What the frozen blocks make of each sampled frame, computed once and kept on disk.

An epoch then runs the adapted blocks only. Shards are safetensors files; the name of a tensor says all that decided
it: a hash of the clip's bytes, how it was sampled and shown, the backbone, the block it comes after, and the versions
of the libraries. A cache can be shared by runs that differ in what is trained, and a killed run keeps the shards it
had finished.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from qclip_ffmpeg.ahead import run_ahead
from qclip_ffmpeg.checkpoint import LoadedModel, sha256_of_file, write_tensors
from qclip_ffmpeg.description import library_versions
from qclip_ffmpeg.errors import InputError, ModelError, UsageError
from qclip_ffmpeg.files import make_folder, write_atomically
from qclip_ffmpeg.model import Frozen, Joint
from qclip_ffmpeg.scorer import Scorer
from qclip_ffmpeg.train.clips import SamplingRecipe, views_of
from qclip_ffmpeg.train.config import CacheRecipe
from qclip_ffmpeg.train.labels import Clip, pictures_in

FORMAT = 1
HASHES_FILE = "hashes.json"
SHARD_BYTES = 256 * 1024**2
SHARD_CLIPS = 256  # so that little is lost where a clip is a few numbers
CLIPS_AHEAD = 2
FROZEN_NAMES = ("early", "tokens", "pooled", "measures")
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


class Activations:
    """The frozen part of each clip, by its place in the list: from the cache, or computed at every call without one.

    Args:
        scorer: holds the model; its towers decide the activations, what is trained does not.
        clips: the clips of a data set.
        sampling: how they are sampled and shown.
        cache: where to keep them and how exactly; None: nowhere.
    """

    def __init__(
        self, scorer: Scorer, clips: Sequence[Clip], sampling: SamplingRecipe, cache: CacheRecipe | None
    ) -> None:
        self._scorer = scorer
        self._clips = clips
        self._sampling = sampling
        self._cache = cache
        self._folder = Path(cache.folder) if cache else None
        self._keys: list[str] = []
        self._shards: dict[str, Path] = {}

    def fill(self, progress: Progress) -> None:
        """Compute what the cache lacks. Without a cache there is nothing to do.

        Raises:
            UsageError: the cache cannot be written.
            ModelError: a shard is damaged.
            InputError: a clip cannot be read.
        """
        if self._folder is None or self._cache is None:
            return
        make_folder(self._folder, "[cache] folder")
        self._shards = shards_of(self._folder)
        hashes = clip_hashes(self._clips, self._cache, progress)
        self._keys = [self._key(clip, sha256) for clip, sha256 in zip(self._clips, hashes, strict=True)]
        self._compute({key: i for i, key in enumerate(self._keys) if key not in self._shards}, progress)

    def _compute(self, missing: dict[str, int], progress: Progress) -> None:
        """Compute the activations of clips, by their keys, and write them, also what is done when one cannot be."""
        pending: dict[str, Frozen] = {}
        size = 0
        try:
            computed = self._computed(list(missing.values()))
            for done, (key, frozen) in enumerate(zip(missing, computed, strict=True)):
                progress("frozen blocks", done, len(missing))
                pending[key] = self._kept(key, frozen)
                if not done:
                    self._check_space(pending[key], len(missing))
                size += sum(tensor.numel() * tensor.element_size() for tensor in pending[key].values())
                if size >= SHARD_BYTES or len(pending) == SHARD_CLIPS:
                    self._write(pending)
                    pending, size = {}, 0
        finally:
            if pending:
                self._write(pending)

    def _check_space(self, kept: Frozen, clips: int) -> None:
        """Raises UsageError where so many clips, each as large as this one, do not fit the disk."""
        assert self._folder is not None
        needed = clips * sum(tensor.numel() * tensor.element_size() for tensor in kept.values())
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise UsageError(
                f"{self._folder}: the activations of {clips} clips take {needed / 1e9:.0f} GB, {free / 1e9:.0f} GB are "
                "free; choose another [cache] folder, or leave [cache] out"
            )

    def _kept(self, key: str, frozen: Frozen) -> Frozen:
        """Activations as precisely as the cache has them. Raises UsageError where they are too large for that."""
        assert self._cache is not None
        dtype = getattr(torch, self._cache.precision)
        kept = {name: tensor.to(dtype) for name, tensor in frozen.items()}
        if not all(bool(tensor.isfinite().all()) for tensor in kept.values()):
            clip = self._clips[self._keys.index(key)]
            raise UsageError(f'{clip.name}: its activations do not fit {dtype}; say [cache] precision = "float32"')
        return kept

    def of(self, places: Sequence[int]) -> Iterator[Frozen]:
        """The frozen parts of clips, in order, float32 on the CPU."""
        if self._cache is None:
            yield from self._computed(places)
            return
        for place in places:
            key = self._keys[place]
            with safe_open(self._shards[key], framework="pt") as shard:
                names = [name for name in FROZEN_NAMES if f"{key}/{name}" in shard.keys()]
                yield {name: shard.get_tensor(f"{key}/{name}").float() for name in names}

    def _computed(self, places: Sequence[int]) -> Iterator[Frozen]:
        """Computed anew, decoding a little ahead."""
        clips = [self._clips[place] for place in places]
        ahead = run_ahead(views_of(clips, self._sampling, self._scorer.model.card.config), CLIPS_AHEAD)
        try:
            yield from self._scorer.frozen(ahead)
        finally:
            ahead.close()

    def _write(self, pending: dict[str, Frozen]) -> None:
        assert self._folder is not None
        tensors = {f"{key}/{name}": t for key, frozen in pending.items() for name, t in frozen.items()}
        digest = hashlib.sha256("".join(sorted(pending)).encode()).hexdigest()[:16]
        path = self._folder / f"{digest}.safetensors"
        write_tensors(path, tensors)
        self._shards |= dict.fromkeys(pending, path)

    def _key(self, clip: Clip, clip_sha256: str) -> str:
        """Hash of everything that decides the activations of a clip."""
        model: LoadedModel = self._scorer.model
        config, qclip = model.card.config, model.qclip
        assert self._cache is not None
        decided_by = [
            FORMAT,
            clip_sha256,
            str(clip.frame_rate) if clip.path.is_dir() else None,
            clip.display_height_px,
            self._sampling,
            [config.views, config.view_frames, config.measures],
            config.backbone,
            model.card.backbone_sha256,
            qclip.frozen_blocks,
            isinstance(config.readout, Joint) or [config.readout, qclip.first_adapted()],
            qclip.has_tower_adapters(),
            self._cache.precision,
            library_versions(),
        ]
        return hashlib.sha256(msgspec.json.encode(decided_by)).hexdigest()


def clip_hashes(clips: Sequence[Clip], cache: CacheRecipe | None, progress: Progress) -> list[str]:
    """sha256 of the bytes of each clip, remembered in the cache's folder where there is one.

    Raises:
        UsageError: the cache cannot be written.
        InputError: a clip cannot be read.
    """
    memo = HashMemo(Path(cache.folder) if cache else None)
    hashes = []
    try:
        for done, clip in enumerate(clips):
            progress("hashing clips", done, len(clips))
            try:
                hashes.append(memo.of(clip.path))
            except OSError as error:
                raise InputError(f"{clip.name}, line {clip.line} of the labels: {error.strerror}") from None
    finally:
        memo.save()
    return hashes


class HashMemo:
    """sha256 of clips, remembered by path, size and time of change, so that a large data set is read once."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._changed = False
        self._known: dict[str, str] = {}
        if folder is not None:
            with suppress(OSError, msgspec.DecodeError, msgspec.ValidationError):
                self._known = msgspec.json.decode((folder / HASHES_FILE).read_bytes(), type=dict[str, str])

    def of(self, path: Path) -> str:
        """Hash of a video's bytes, or of all pictures of a folder and their order."""
        if path.is_dir():
            return hashlib.sha256("".join(self.of(picture) for picture in pictures_in(path)).encode()).hexdigest()
        stat = path.stat()
        name = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
        if name not in self._known:
            self._known[name] = sha256_of_file(path)
            self._changed = True
        return self._known[name]

    def save(self) -> None:
        """Write down what is new. Raises UsageError where that cannot be."""
        if self._changed and self._folder is not None:
            make_folder(self._folder, "[cache] folder")
            write_atomically(self._folder / HASHES_FILE, msgspec.json.encode(self._known, order="sorted"))


def shards_of(folder: Path) -> dict[str, Path]:
    """The shard that holds each key.

    Raises:
        ModelError: a shard is damaged.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as shard:
                found |= dict.fromkeys({name.partition("/")[0] for name in shard.keys()}, path)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path}: is damaged ({error}); delete it, it will be computed again") from None
    return found


def joined(parts: Iterable[Frozen]) -> tuple[Frozen, list[int]]:
    """Frozen parts of several clips as one, and how many frames each has."""
    kept = list(parts)
    counts = [next(iter(frozen.values())).shape[0] for frozen in kept]
    names = kept[0].keys()
    together: dict[str, Tensor] = {name: torch.cat([frozen[name] for frozen in kept]) for name in names}
    return together, counts
