"""Paths of files, relative to the folder that a study is run in."""

from collections.abc import Iterable
from urllib.parse import quote, unquote


def join_ref(name: str, revision: str | None) -> str:
    """A model and its revision -> `model@revision`, which is a part of paths: `/` becomes `%2F`."""
    return name if revision is None else f"{name}@{quote(revision, safe='')}"


def split_ref(ref: str) -> tuple[str, str | None]:
    """`model@revision` -> (model, revision); `model` -> (model, None)."""
    name, _, revision = ref.partition("@")
    return name, unquote(revision) or None


def inputs(files: Iterable[str]) -> list[str]:
    """The user's files that Snakemake can track: it takes braces for a wildcard.

    The others are followed by their size and time, which are a parameter of the same rules.
    """
    return [file for file in files if "{" not in file]


def model(ref: str) -> str:
    """The folder of a model's files."""
    return f"resources/models/{ref}"


def facts(ref: str) -> str:
    """What is known of a model, for the table of models."""
    return f"resources/facts/{ref}.json"


def hub_config(name: str) -> str:
    """The folder of a hub model's configuration and tokenizer, without weights."""
    return f"resources/configs/{name}"


def tokenizer(name: str) -> str:
    """The folder of a tokenizer that is trained here."""
    return f"resources/tokenizers/{name}"


def training(name: str) -> str:
    """The folder that a training writes."""
    return f"resources/training/{name}"


def package(file: str) -> str:
    """A package as it is downloaded."""
    return f"resources/packages/{file}"


def corpus(name: str) -> str:
    """The works of a corpus."""
    return f"resources/corpora/{name}.parquet"


def prompts(study: str, prompt_set: str, ref: str, what: str = "prompts") -> str:
    """A prompt set's table of prompts or of pairs; all revisions of a model share a tokenizer."""
    return f"results/{study}/prompts/{prompt_set}/{split_ref(ref)[0]}.{what}.parquet"


def activations(study: str, prompt_set: str, ref: str) -> str:
    """The activations of a model's clean runs on a prompt set."""
    return f"results/{study}/activations/{prompt_set}/{ref}.safetensors"


def load_check(study: str, prompt_set: str, ref: str) -> str:
    """The verdict of a model's load check on a prompt set."""
    return f"results/{study}/activations/{prompt_set}/{ref}.check.json"


def table(study: str, name: str) -> str:
    """A table of results."""
    return f"results/{study}/tables/{name}.csv"
