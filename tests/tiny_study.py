"""The tiny study: models of a few layers, a text they can be prompted with, and how it is run."""

import random
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stable_regions.base.files import sha256
from stable_regions.base.yaml_file import read_yaml
from tests import forked

if TYPE_CHECKING:  # to import them takes seconds, and most who use this module start processes
    from tokenizers import Tokenizer
    from transformers import PreTrainedConfig

ROOT = forked.ROOT
CONFIG = ROOT / "tests" / "tiny" / "config.yaml"
# Parts of it.
FEW = ("--configfile", str(CONFIG), str(CONFIG.with_name("few.yaml")))
QUEUE = ("--configfile", str(CONFIG), str(CONFIG.with_name("queue.yaml")))
FIRST_FIGURE = "results/embedded/figures/fig2.pdf"


@cache
def written_prompts() -> list[str]:
    """The hand-made prompts of config.yaml: each word of theirs becomes one token."""
    sets = read_yaml(ROOT / "config.yaml")["prompts"]
    pairs = sets["examples"]["pairs"].values()
    return [text for pair in pairs for text in (pair["a"], pair["b"])]


def text(sentences: int = 400, seed: int = 0) -> str:
    """Sentences of the hand-made prompts' words in random order."""
    words = sorted({word for prompt in written_prompts() for word in prompt.split()})
    draw = random.Random(seed)
    return "".join(" " + " ".join(draw.sample(words, 12)) + ".\n" for _ in range(sentences))


def tokenizer() -> "Tokenizer":
    """A byte-level BPE tokenizer in which every word of the prompts is one token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator([text(), *written_prompts()], trainer)
    return made


def save_model(folder: Path, config: "PreTrainedConfig", seed: int, **how: Any) -> None:
    """A model with random weights large enough to matter, as a Hugging Face folder."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.2 * (32 / config.hidden_size) ** 0.5)
    model.save_pretrained(folder, **how)
    tokenizer().save(str(folder / "tokenizer.json"))


def make_sources(where: Path) -> None:
    """Make `sources/` of the tiny study below a folder."""
    from transformers import GPT2Config, LlamaConfig

    sources = where / "sources"
    sources.mkdir(parents=True)
    (sources / "tiny.txt").write_text(text())
    size = tokenizer().get_vocab_size()
    llama = LlamaConfig(
        vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    gpt2 = GPT2Config(
        vocab_size=size, n_embd=32, n_layer=3, n_head=4, n_positions=64, bos_token_id=None,
        eos_token_id=None,
    )  # fmt: skip
    save_model(sources / "tiny-llama", llama, seed=0)
    save_model(sources / "tiny-gpt2", gpt2, seed=2)


def arguments(folder: Path, *given: str) -> list[str]:
    """What Snakemake is told, to run in a folder: the tiny study unless another is given."""
    configured = [] if "--configfile" in given else ["--configfile", str(CONFIG)]
    return [*configured, "--directory", str(folder), *given]


def command(folder: Path, *given: str) -> list[str]:
    """Snakemake in a folder, as a command."""
    program = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    return [*program, *arguments(folder, *given)]


def snakemake(folder: Path, *given: str) -> subprocess.CompletedProcess[str]:
    """Run it to the end, on this machine."""
    return forked.snakemake(*arguments(folder, "--cores", "2", *given))


def environments(folder: Path, said: str) -> list[str]:
    """SHA-256 of the file of each conda environment that a run in a folder activated.

    Its log says which; where that is, the run says at its end.
    """
    [log] = re.findall(r"^Complete log\(s\): (\S+)$", said, re.MULTILINE)
    text = (folder / log).read_text(encoding="utf-8")
    places = re.findall(r"^Activating conda environment: (\S+)$", text, re.MULTILINE)
    return [sha256(folder / f"{place}.yaml") for place in places]


def finished(said: str) -> int:
    """How many jobs a run says it has finished."""
    return len(re.findall(r"^ *[0-9]+% · ", said, re.MULTILINE))


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of all that a run has made in a folder but its logs, hidden files too."""
    return {
        path.relative_to(folder).as_posix(): sha256(path)
        for part in ("results", "resources")
        for path in (folder / part).rglob("*")
        if path.is_file() and path.name != ".snakemake_timestamp"
    }
