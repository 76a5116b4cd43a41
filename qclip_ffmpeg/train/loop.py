"""Train what stands beside the frozen towers, on one split of a data set. What it keeps is in `run_folder`.

Every step draws clips in an order that follows from the seed and the epoch, so a run that was killed goes on from its
last whole epoch as if nothing had been. The epoch is chosen on the validation part; the test part is only ever scored
with that one.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from qclip_ffmpeg.checkpoint import LoadedModel, check_tensors
from qclip_ffmpeg.errors import ModelError, QClipError, UsageError
from qclip_ffmpeg.files import make_folder
from qclip_ffmpeg.heads import StandardisedHead
from qclip_ffmpeg.model import Frozen, QClip, level_prompts
from qclip_ffmpeg.scorer import Precision
from qclip_ffmpeg.train.activations import Activations, Progress, joined
from qclip_ffmpeg.train.config import OptimiserRecipe
from qclip_ffmpeg.train.heads import feature_weights, standardise, start_at_ridge
from qclip_ffmpeg.train.labels import Clip
from qclip_ffmpeg.train.losses import plcc_loss, rank_loss
from qclip_ffmpeg.train.plots import curves_png
from qclip_ffmpeg.train.run_folder import (
    CURVES_FILE,
    STATE_FILE,
    EpochRow,
    State,
    damaged,
    read_state,
    write_log,
    write_state,
)
from qclip_ffmpeg.train.splits import Split, share_of_contents

SCORED_AT_ONCE = 8  # clips
DRAWN_EVERY_S = 10.0  # a picture takes longer than an epoch of few clips


class DivergedError(QClipError):
    """Training left the finite numbers."""


class Trainer:
    """One run: a model at its start, a split, and a folder for what comes of it.

    Args:
        model: from `config.untrained`; its towers stay as they are.
        activations: of all clips, filled.
        clips: of the data set.
        split: which of them train, choose and test.
        recipe: how.
        folder: for the log, the curves, the state to go on from, and the model. Made if missing.
        run_id: says what decides the run; a folder that holds another run is refused.
        device: where the model runs.
        keep_head: the head has learned before (fine-tuning), so that it starts as it is.
        weight: (clips,), of each clip's squared error where the head starts at a ridge regression; 1 when None.

    Raises:
        UsageError: there is nothing to train, or to train on.
    """

    def __init__(
        self,
        model: LoadedModel,
        activations: Activations,
        clips: Sequence[Clip],
        split: Split,
        recipe: OptimiserRecipe,
        folder: Path,
        run_id: str,
        device: torch.device | None = None,
        keep_head: bool = False,
        weight: Sequence[float] | None = None,
    ) -> None:
        self.model, self.qclip = model, model.qclip
        self.activations, self.recipe, self.folder = activations, recipe, folder
        self.label = torch.tensor([clip.score for clip in clips])
        self.weight = torch.ones(len(clips)) if weight is None else torch.tensor(weight)
        self.train_places = training_places(clips, split, recipe)
        self.split, self.run_id, self.keep_head = split, run_id, keep_head
        self.device = device or torch.device("cpu")
        self.qclip.to(self.device)
        self.parameters = learned(self.qclip)
        if recipe.epochs and not self.parameters:
            raise UsageError("[optimiser] epochs: this model learns nothing; say epochs = 0")
        self.optimiser = torch.optim.AdamW(
            [{"params": list(self.parameters.values())}], lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=recipe.precision == "float16")
        self.ids = self._prompt_ids()
        self.rows: list[EpochRow] = []
        self.best: dict[str, Tensor] = {}
        self.spent_s = 0.0
        self.drawn_s = -math.inf

    def _prompt_ids(self) -> Tensor | None:
        if self.qclip.text is None or self.qclip.context is None:
            return None
        return self.qclip.text.token_ids(level_prompts(len(self.qclip.context))).to(self.device)

    def run(self, progress: Progress) -> QClip:
        """Train to the end, or from where a killed run stopped; returns the model of the chosen epoch.

        Raises:
            UsageError: the folder cannot be written, or holds another run.
            InputError: a clip cannot be read.
            DivergedError: a loss or a tensor is no longer finite.
        """
        make_folder(self.folder)
        try:
            if not self._resume():
                with self._timed():
                    self._start(progress)
                self._save_state()
            for epoch in range(len(self.rows) + 1, self.recipe.epochs + 1):
                with self._timed():
                    row = self._epoch(epoch, progress)
                    self._judge_epoch(row, progress)
                self._save_state()
                self._write_log()
        except torch.OutOfMemoryError:
            raise QClipError(
                f"{self.folder}: out of memory on {self.device.type}; say a larger [optimiser] accumulate, which "
                "changes nothing else, a smaller batch, or another precision"
            ) from None
        self._load(self.best)
        return self.qclip

    def _load(self, trained: dict[str, Tensor]) -> None:
        """Put in all that is beside the towers."""
        check_tensors(STATE_FILE, self._trained(), trained)
        self.qclip.load_state_dict(trained, strict=False)  # the towers stay

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began_s = time.monotonic()
        yield
        self.spent_s += time.monotonic() - began_s

    def _start(self, progress: Progress) -> None:
        """Features of the training part say where a standardised head starts."""
        head = self.qclip.head
        if isinstance(head, StandardisedHead) and (not self.keep_head or self.recipe.ridge is not None):
            clips: list[tuple[Tensor, Tensor | None]] = []
            for places in batched(self.train_places, SCORED_AT_ONCE):
                progress("features at the start", len(clips), len(self.train_places))
                clips += self._clip_features(places)
            features = torch.cat([fused for fused, _ in clips])
            told = [measures for _, measures in clips if measures is not None]
            measures = torch.cat(told) if told else None
            weights = None
            if self.recipe.emphasis:
                width = self.qclip.tower.widths[self.qclip.last_block - 1]
                weights = feature_weights(self.qclip.config, width, self.recipe.emphasis)
            standardise(head, features, measures, weights)
            if self.recipe.ridge is not None:
                label, weight = (t[list(self.train_places)].to(self.device) for t in (self.label, self.weight))
                try:
                    start_at_ridge(head, features, label, self.recipe.ridge, measures, weight)
                except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
                    raise UsageError("[optimiser] ridge: too small for these data; say a larger one") from None
        self._refresh_text()
        self.best = self._trained()

    @torch.no_grad()
    def _clip_features(self, places: Sequence[int]) -> list[tuple[Tensor, Tensor | None]]:
        """Fused features (1, D) and measures (1, M), if any, of each clip."""
        frozen, counts = self._frozen(places)
        features = self.qclip.features_of(frozen).float()
        return [(self.qclip.fusion(f), m) for f, m in self._of_clips(features, frozen, counts)]

    def _epoch(self, epoch: int, progress: Progress) -> EpochRow:
        order = np.random.default_rng([self.recipe.seed, epoch]).permutation(len(self.train_places))
        places = [self.train_places[i] for i in order]
        batches = [b for b in batched(places, self.recipe.batch) if len(b) > 1]
        sums = np.zeros(3)
        for step, batch in enumerate(batches):
            progress(f"epoch {epoch} of {self.recipe.epochs}", step, len(batches))
            rate = self.learning_rate(((epoch - 1) * len(batches) + step + 1) / len(batches))
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            sums += self._step(batch)
            if not np.isfinite(sums).all():
                raise self._diverged(epoch)
        if not all(bool(p.isfinite().all()) for p in self.parameters.values()):
            raise self._diverged(epoch)
        loss, plcc, rank = (sums / len(batches)).tolist()
        return EpochRow(epoch, loss, plcc, rank, rate)

    def _diverged(self, epoch: int) -> DivergedError:
        return DivergedError(
            f"{self.folder}: training left the finite numbers (epoch {epoch}); say a lower learning_rate"
            + ("" if self.recipe.precision == "float32" else ', or precision = "float32"')
        )

    def learning_rate(self, epoch: float) -> float:
        """After `epoch` epochs: linear warm-up, then a cosine to zero."""
        warmup, epochs = self.recipe.warmup_epochs, self.recipe.epochs
        if epoch <= warmup:
            return self.recipe.learning_rate * epoch / warmup
        return self.recipe.learning_rate * (1 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup))) / 2

    def _step(self, places: Sequence[int]) -> tuple[float, float, float]:
        """One step of the optimiser; returns (loss, PLCC loss, rank loss) of the batch before it."""
        label = self.label[list(places)].to(self.device)
        self.optimiser.zero_grad()
        parts = list(batched(places, math.ceil(len(places) / self.recipe.accumulate)))
        if len(parts) == 1:
            self._refresh_text(self.recipe.precision)
            loss, plcc, rank = self._losses(self._scores(places, self.recipe.precision), label)
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        else:
            # The losses join all clips of a batch. First their gradient by each score, then each part's own gradients.
            with torch.no_grad():
                self._refresh_text(self.recipe.precision)
                scores = torch.cat([self._scores(part, self.recipe.precision) for part in parts])
            scores.requires_grad_(True)
            loss, plcc, rank = self._losses(scores, label)
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            assert scores.grad is not None
            gradients = scores.grad.split([len(p) for p in parts])  # type: ignore[no-untyped-call]
            for part, gradient in zip(parts, gradients, strict=True):
                self._refresh_text(self.recipe.precision)
                self._scores(part, self.recipe.precision).backward(gradient)  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimiser)
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.recipe.gradient_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return float(loss.detach()), float(plcc.detach()), float(rank.detach())

    def _losses(self, scores: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        plcc, rank = plcc_loss(scores, label), rank_loss(scores, label)
        return plcc + self.recipe.rank_weight * rank, plcc, rank

    def _scores(self, places: Sequence[int], precision: Precision = "float32") -> Tensor:
        """Raw scores of clips, (B,), float32, with gradients where they are on."""
        frozen, counts = self._frozen(places)
        with self._autocast(precision):
            features = self.qclip.features_of(frozen)
        clips = self._of_clips(features.float(), frozen, counts)
        return torch.cat([self.qclip.judge(f, m)[1] for f, m in clips])

    def _of_clips(self, features: Tensor, frozen: Frozen, counts: list[int]) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Features (1, T, D) and measures (1, M), if any, of each clip of a part that was joined."""
        first = 0
        for count in counts:
            measures = frozen["measures"][first : first + 1] if "measures" in frozen else None
            yield features[first : first + count].unsqueeze(0), measures
            first += count

    def _autocast(self, precision: Precision) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=getattr(torch, precision), enabled=precision != "float32")

    def _frozen(self, places: Sequence[int]) -> tuple[Frozen, list[int]]:
        frozen, counts = joined(self.activations.of(places))
        return {name: tensor.to(self.device) for name, tensor in frozen.items()}, counts

    def _refresh_text(self, precision: Precision = "float32") -> None:
        """Put the prompts' text features, of the tensors as they are now, where the head reads them."""
        if self.ids is not None:
            with self._autocast(precision):
                self.qclip.head.text_features = self.qclip.text_features(self.ids).float()

    @torch.no_grad()
    def scores_of(self, places: Sequence[int], progress: Progress, what: str = "scoring") -> np.ndarray[Any, Any]:
        """Raw scores of clips, (B,) float64, of the tensors as they are now, in float32 as a checkpoint scores."""
        self._refresh_text()
        scores = []
        for done, part in enumerate(batched(places, SCORED_AT_ONCE)):
            progress(what, done * SCORED_AT_ONCE, len(places))
            scores.append(self._scores(part).cpu())
        found = torch.cat(scores).double().numpy() if scores else np.zeros(0)
        if not np.isfinite(found).all():
            raise self._diverged(len(self.rows))
        return found

    def _judge_epoch(self, row: EpochRow, progress: Progress) -> None:
        """Add the validation figures, and keep the tensors if this is the best epoch; the last one without a part to
        choose on."""
        if self.split.val:
            from scipy.stats import pearsonr, spearmanr

            label = self.label[list(self.split.val)].double().numpy()
            scores = self.scores_of(self.split.val, progress, "validating")
            if len(set(scores)) > 1 and len(set(label)) > 1:
                row.val_srocc = float(spearmanr(scores, label).statistic)
                row.val_plcc = float(pearsonr(scores, label).statistic)
        measured = [r.val_srocc for r in self.rows if r.val_srocc is not None]
        if row.val_srocc > max(measured, default=-math.inf) if row.val_srocc is not None else not measured:
            for earlier in self.rows:
                earlier.best = False
            row.best = True
            self.best = self._trained()
        self.rows.append(row)

    @torch.no_grad()
    def _trained(self) -> dict[str, Tensor]:
        """A copy of what a checkpoint holds."""
        self._refresh_text()
        return {name: tensor.cpu().clone() for name, tensor in self.qclip.trained_tensors().items()}

    def _save_state(self) -> None:
        moments = {
            f"{name}.{key}": value.cpu()
            for name, parameter in self.parameters.items()
            for key, value in self.optimiser.state.get(parameter, {}).items()
        }
        scaler = self.scaler.state_dict()
        state = State(self.rows, self.spent_s, scaler, self._trained(), self.best, moments)
        write_state(self.folder, self.run_id, state)

    def _resume(self) -> bool:
        """Go on from the state in the folder, if there is one."""
        state = read_state(self.folder, self.run_id)
        if state is None:
            return False
        try:
            self._restore(state)
        except (KeyError, ValueError, ModelError) as error:
            raise damaged(self.folder / STATE_FILE, error) from None
        if self.rows:
            self._write_log()
        return True

    def _restore(self, state: State) -> None:
        """Take everything over from a state; KeyError, ValueError or ModelError where something is missing."""
        self.rows, self.spent_s, self.best = state.rows, state.spent_s, state.best
        self.scaler.load_state_dict(state.scaler)
        self._load(state.now)
        # Where float16 overflows in every step of the first epochs, the optimiser has taken none and has no state.
        took_steps = self.rows and not (self.scaler.is_enabled() and not state.moments)
        for name, parameter in self.parameters.items() if took_steps else ():
            step, mean, square = (state.moments[f"{name}.{key}"] for key in ("step", "exp_avg", "exp_avg_sq"))
            if not mean.shape == square.shape == parameter.shape:
                raise ValueError(f"optimiser.{name} is not as large as its parameter")
            moments = {"exp_avg": mean.to(self.device), "exp_avg_sq": square.to(self.device)}
            self.optimiser.state[parameter] = {"step": step, **moments}

    def _write_log(self) -> None:
        write_log(self.folder, self.rows)
        if len(self.rows) == self.recipe.epochs or time.monotonic() - self.drawn_s >= DRAWN_EVERY_S:
            curves_png(self.folder / CURVES_FILE, [msgspec.to_builtins(row) for row in self.rows])
            self.drawn_s = time.monotonic()


def learned(qclip: QClip) -> dict[str, torch.nn.Parameter]:
    """The parameters that training changes, by name: all that is beside the towers."""
    beside = {name: p for name, p in qclip.named_parameters() if not name.startswith(("tower.", "text.")) and p.numel()}
    for parameter in beside.values():
        parameter.requires_grad_(True)
    return beside


def training_places(clips: Sequence[Clip], split: Split, recipe: OptimiserRecipe) -> tuple[int, ...]:
    """The places of a split that are trained on.

    Raises:
        UsageError: they are too few.
    """
    places = share_of_contents(clips, split.train, recipe.train_share, recipe.seed)
    if recipe.epochs and len(places) < 2:
        raise UsageError(
            f"the training part has {len(places)} {'clip' if len(places) == 1 else 'clips'}; correlation needs at "
            "least 2: rate more contents, or say a larger share"
        )
    return places


def score_map(scores: np.ndarray[Any, Any], label: np.ndarray[Any, Any]) -> tuple[float, float] | None:
    """(slope, offset) of the least-squares line from raw scores to labels; None where it does not rise."""
    if len(set(scores.tolist())) < 2:
        return None
    slope, offset = np.polyfit(scores, label, 1)
    return (float(slope), float(offset)) if slope > 0 else None


def batched(places: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Consecutive slices of at most `size`."""
    return (places[i : i + size] for i in range(0, len(places), size))
