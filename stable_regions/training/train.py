"""Training a suite of small Llama models, so that training and size can be studied on any machine.

One call trains one model, from token ids to a folder of checkpoints, and gives the same bytes
whether or not it was interrupted on its way.
"""

import hashlib
import json
import logging
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int, Int64
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from stable_regions.base.errors import UserError
from stable_regions.base.files import (
    atomic,
    read_safetensors,
    sha256,
    write_csv,
    write_safetensors,
)
from stable_regions.base.progress import Progress
from stable_regions.training.settings import TrainingSettings

log = logging.getLogger("stable_regions")

HELD_OUT_TOKENS = 16_384
STATE_SECONDS = 30.0
STATE = "state.safetensors"
WEIGHTS = "model.safetensors"
CURVE = ["step", "tokens", "learning_rate", "train_loss", "held_out_loss"]
BETAS = (0.9, 0.95)
GRADIENT_NORM = 1.0
# The rate at the end of a cosine, as a share of the highest.
COSINE_FLOOR = 0.1


def learning_rate(settings: TrainingSettings, step: int) -> float:
    """The rate of update `step`, counted from 1."""
    if step <= settings.warmup:
        return settings.learning_rate * step / settings.warmup
    if settings.schedule == "constant":
        return settings.learning_rate
    done = (step - settings.warmup) / (settings.steps - settings.warmup)
    share = COSINE_FLOOR + (1 - COSINE_FLOOR) * (1 + math.cos(math.pi * done)) / 2
    return settings.learning_rate * share


def first_model(settings: TrainingSettings, vocab_size: int) -> LlamaForCausalLM:
    """The untrained model. Leaves torch's global random state as it was."""
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=settings.width,
        intermediate_size=settings.mlp_width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=settings.context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        dtype="float32",
        architectures=["LlamaForCausalLM"],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return LlamaForCausalLM(config)


def split_held_out(
    tokens: Int[np.ndarray, " tokens"], context: int
) -> tuple[Int64[Tensor, "rows sequence"], Int64[Tensor, "held_out sequence"]]:
    """Cut a stream into rows of `context` tokens and the one that follows; hold some out.

    The held-out rows are spread evenly over the stream, so that they are of every text, and are
    the same whatever the seed. They have about 16,384 tokens, or a tenth of a short stream.
    """
    count = (len(tokens) - 1) // context
    if count < 2:
        raise UserError(f"tokens: holds {len(tokens)}; must be at least {2 * context + 1}")
    starts = np.arange(count) * context
    rows = torch.from_numpy(np.asarray(tokens)[starts[:, None] + np.arange(context + 1)]).long()
    held_rows = max(1, min(HELD_OUT_TOKENS // context, count // 10))
    mask = torch.zeros(count, dtype=torch.bool)
    mask[torch.arange(held_rows) * count // held_rows + count // held_rows // 2] = True
    return rows[~mask], rows[mask]


def train(
    tokens: Int[np.ndarray, " tokens"],
    vocab_size: int,
    settings: TrainingSettings,
    folder: str | Path,
    threads: int,
    code: str = "",
) -> None:
    """Train one model and write `folder`: its checkpoints and its loss curve.

    `step{N}/` is the model after N updates, as a Hugging Face folder without a tokenizer.
    `loss.csv` has a row an update: `step`, `tokens` (seen so far), `learning_rate`, `train_loss`
    (of the update's batch, before it) and, at checkpoints, `held_out_loss`; in nats a token.

    Until all is done the work lies in a hidden folder beside `folder`. A call that finds the
    state of an interrupted one there, whole and with the same tokens, settings, threads and code,
    goes on from it and ends in the same bytes.

    Parameters
    ----------
    code
        Digest of the code that trains: a state left by other code is not taken up.

    Raises
    ------
    UserError
        If there are too few tokens, or one outside the vocabulary.
    """
    folder = Path(folder)
    if not (np.min(tokens, initial=0) >= 0 and np.max(tokens, initial=0) < vocab_size):
        raise UserError(
            f"tokens: holds ids from {np.min(tokens)} to {np.max(tokens)}; "
            f"must be from 0 to {vocab_size - 1}, as the vocabulary has {vocab_size}"
        )
    rows, held_out = split_held_out(tokens, settings.context)
    work = folder.parent / f".{folder.name}.work"
    with _threads(threads):
        run = TrainingRun(
            settings, vocab_size, _identity(tokens, vocab_size, settings, threads, code)
        )
        if not run.load(work):
            shutil.rmtree(work, ignore_errors=True)
            run.evaluate(held_out)
            run.write_checkpoint(work)
        order = _order(settings, len(rows))
        progress = Progress(f"training {folder.name}", settings.steps - run.step, "steps")
        saved = time.monotonic()
        while run.step < settings.steps:
            batch = order[run.step * settings.batch : (run.step + 1) * settings.batch]
            run.update(rows[batch])
            if run.step in settings.checkpoints:
                run.evaluate(held_out)
                run.write_checkpoint(work)
            if time.monotonic() - saved >= STATE_SECONDS:
                run.save(work)
                saved = time.monotonic()
            progress.advance(1)
    with atomic(folder) as target:  # the state stays until all is done
        shutil.copytree(work, target, ignore=shutil.ignore_patterns(STATE, ".*"))
        write_csv(target / "loss.csv", pd.DataFrame(run.curve, columns=CURVE))
    shutil.rmtree(work)


class TrainingRun:
    """A model in training: all the state that is saved together."""

    def __init__(self, settings: TrainingSettings, vocab_size: int, identity: str) -> None:
        self.settings, self.identity = settings, identity
        self.model = first_model(settings, vocab_size)
        self.weights = dict(self.model.named_parameters())
        matrices = [weight for weight in self.weights.values() if weight.ndim > 1]
        vectors = [weight for weight in self.weights.values() if weight.ndim == 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": settings.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            betas=BETAS,
            fused=True,
        )
        self.step = 0
        self.curve: list[dict[str, float | None]] = []
        self.written: dict[str, str] = {}  # checkpoints, and the SHA-256 of their weights
        self._note(0.0, None)

    def _note(self, rate: float, loss: float | None) -> None:
        tokens = self.step * self.settings.batch * self.settings.context
        values = [self.step, tokens, rate, loss, None]
        self.curve.append(dict(zip(CURVE, values, strict=True)))

    def update(self, rows: Int64[Tensor, "batch sequence"]) -> None:
        self.step += 1
        rate = learning_rate(self.settings, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = _loss(self.model, rows)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights.values(), GRADIENT_NORM)
        self.optimizer.step()
        self._note(rate, loss.item())

    def evaluate(self, held_out: Int64[Tensor, "rows sequence"]) -> None:
        with torch.no_grad():
            losses = [
                _loss(self.model, rows) * len(rows) for rows in held_out.split(self.settings.batch)
            ]
        loss = float(sum(losses)) / len(held_out)
        self.curve[-1]["held_out_loss"] = loss
        log.info("step %d of %d: held-out loss %.3f", self.step, self.settings.steps, loss)

    def write_checkpoint(self, work: Path) -> None:
        with atomic(work / f"step{self.step}") as target:
            self.model.config.save_pretrained(target)
            tensors = {name: weight.detach() for name, weight in self.weights.items()}
            save_file(tensors, target / WEIGHTS, metadata={"format": "pt"})
        self.written[f"step{self.step}"] = sha256(work / f"step{self.step}" / WEIGHTS)

    def save(self, work: Path) -> None:
        tensors = {}
        for name, weight in self.weights.items():
            moments = self.optimizer.state[weight]
            tensors[f"weight.{name}"] = weight.detach()
            tensors[f"exp_avg.{name}"] = moments["exp_avg"]
            tensors[f"exp_avg_sq.{name}"] = moments["exp_avg_sq"]
        facts = {
            "identity": self.identity,
            "step": self.step,
            "curve": self.curve,
            "written": self.written,
        }
        write_safetensors(work / STATE, tensors, facts | {"digest": _digest(tensors, facts)})

    def load(self, work: Path) -> bool:
        """Resume from the state in `work`; False if there is none of this very run."""
        if not (work / STATE).exists():
            return False
        try:
            tensors, facts = read_safetensors(work / STATE)
        except ValueError as error:
            log.warning("%s: starting anew", error)
            return False
        if facts.pop("digest", None) != _digest(tensors, facts):
            log.warning("%s is damaged: starting anew", work / STATE)
            return False
        if facts["identity"] != self.identity:
            log.info("%s is of another run: starting anew", work / STATE)
            return False
        for name, digest in facts["written"].items():
            weights = work / name / WEIGHTS
            if not weights.exists() or sha256(weights) != digest:
                log.warning("%s is gone or damaged: starting anew", weights)
                return False
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(tensors[f"weight.{name}"])
                self.optimizer.state[weight] = {
                    "step": torch.tensor(float(facts["step"])),
                    "exp_avg": tensors[f"exp_avg.{name}"],
                    "exp_avg_sq": tensors[f"exp_avg_sq.{name}"],
                }
        self.step, self.curve, self.written = facts["step"], facts["curve"], facts["written"]
        log.info("going on from step %d of %d", self.step, self.settings.steps)
        return True


def _loss(model: LlamaForCausalLM, rows: Int64[Tensor, "batch sequence"]) -> Tensor:
    logits = model(rows[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())


def _order(settings: TrainingSettings, rows: int) -> Int64[Tensor, " draws"]:
    """The order in which rows are read: every row once, then all in another order, and so on."""
    random = np.random.default_rng(settings.seed)
    draws = settings.steps * settings.batch
    passes = [random.permutation(rows) for _ in range(math.ceil(draws / rows))]
    return torch.from_numpy(np.concatenate(passes)[:draws])


def _identity(
    tokens: Int[np.ndarray, " tokens"],
    vocab_size: int,
    settings: TrainingSettings,
    threads: int,
    code: str,
) -> str:
    """A digest of everything that a run depends on."""
    facts = [asdict(settings), vocab_size, threads, code, torch.__version__]
    stream = np.ascontiguousarray(tokens, dtype=np.int64).tobytes()
    return hashlib.sha256(json.dumps(facts).encode() + stream).hexdigest()


def _digest(tensors: dict[str, Tensor], facts: dict[str, Any]) -> str:
    """The digest of a state, to detect damage when it is read back."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
