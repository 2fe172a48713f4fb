"""A study: which experiments run on which models, in which jobs, and with which results."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from stable_regions.base.errors import UserError
from stable_regions.base.files import read_object
from stable_regions.experiments.kinds import KINDS
from stable_regions.experiments.settings import Measurement, Points, Tables
from stable_regions.models.shapes import Shape, shape_of
from stable_regions.paper.ledger import Claim, Deviation, OnRaw, OnTable, Test, load_ledger
from stable_regions.prompts.settings import PairPrompts, Size
from stable_regions.prompts.word_list import WordList, load_words
from stable_regions.sources.origin import TrainedSource, on_disk
from stable_regions.sources.settings import Model
from stable_regions.study import config as settings
from stable_regions.study import paths
from stable_regions.study.config import Config
from stable_regions.study.figures import FigureModule, figure_modules
from stable_regions.study.paths import split_ref

# Experiments whose single pairs the text's judgements resample.
JUDGED = ("size", "training", "layers")


@dataclass(frozen=True)
class Job:
    """Models that are run in one process, one after another.

    Attributes
    ----------
    of
        The experiment that they are measured in, or the prompt set that they are run on.
    name
        Of the job: its model, or that of which its models are checkpoints.
    refs
        Its models.
    parts
        What each process measures, where the work of one job is cut.
    sharded
        Whether parts are separate files, which `gather` joins.
    """

    of: str
    name: str
    refs: tuple[str, ...]
    parts: Sequence[Any] = (None,)
    sharded: bool = False

    @property
    def revisions(self) -> tuple[str, ...]:
        """What the names of its models add to the name of the job."""
        return tuple(ref.removeprefix(self.name) for ref in self.refs)


@dataclass(frozen=True)
class JobRule:
    """One Snakemake rule: jobs whose file names differ in wildcards alone.

    Attributes
    ----------
    revisions
        What the names of its models add to the name of the job.
    sharded
        Whether the jobs write shards.
    """

    name: str
    revisions: tuple[str, ...]
    sharded: bool
    jobs: tuple[Job, ...]

    @property
    def of(self) -> str:
        """A pattern for the experiments, or the prompt sets."""
        return any_of(dict.fromkeys(job.of for job in self.jobs))

    @property
    def pattern(self) -> str:
        """A pattern for the names of the jobs, each in the folder of what it is of."""
        names: dict[str, list[str]] = {}
        for job in self.jobs:
            names.setdefault(job.of, []).append(job.name)
        return "|".join(f"(?<=/{re.escape(of)}/){any_of(some)}" for of, some in names.items())

    def outputs(self, folder: str, ending: str) -> list[str]:
        """The files that a job writes below a folder, one a model."""
        end = f".shards/{{shard}}.{ending}" if self.sharded else f".{ending}"
        return [f"{folder}/{{job}}{revision}{end}" for revision in self.revisions]

    def log(self, folder: str, ending: str) -> str:
        """A job's log, or benchmark, below a folder."""
        return f"{folder}/{{job}}{'.{shard}' if self.sharded else ''}.{ending}"

    def each(self, path: str) -> list[str]:
        """A path with wildcards, filled in for each job."""
        return [
            path.format(
                experiment=job.of, prompts=job.of, model=job.name, job=job.name, shard=shard
            )
            for job in self.jobs
            for shard in (range(len(job.parts)) if self.sharded else [0])
        ]


def job_rules(verb: str, jobs: Iterable[Job], several: str = "_checkpoints") -> list[JobRule]:
    """The rules that jobs need: checkpoints, which share a job, and shards have their own."""
    alike: dict[tuple[tuple[str, ...], bool], list[Job]] = {}
    for job in jobs:
        alike.setdefault((job.revisions, job.sharded), []).append(job)
    names: Counter[str] = Counter()
    rules = []
    for (revisions, cut), some in alike.items():
        name = verb + several * (len(revisions) > 1) + "_shards" * cut
        names[name] += 1
        name += f"_{names[name]}" if names[name] > 1 else ""
        rules.append(JobRule(name, revisions, cut, tuple(some)))
    return rules


def any_of(names: Iterable[str]) -> str:
    """A regular expression that matches exactly these names."""
    return f"(?:{'|'.join(map(re.escape, names))})" if (names := list(names)) else "(?!)"


@dataclass(frozen=True, eq=False)
class Study:
    """The selected study of a configuration.

    Attributes
    ----------
    home
        The folder of this package's repository.
    words, shapes
        The lists of words that its prompts are made of, by their paths; shapes of its models, where
        they are known.
    claims, deviations
        The paper's ledgers; of the deviations those that are the study's.
    """

    config: Config
    home: Path
    words: Mapping[str, WordList]
    shapes: Mapping[str, Shape | None]
    claims: Mapping[str, Claim]
    deviations: Mapping[str, Deviation]

    @classmethod
    def load(cls, raw: Any, home: Path) -> "Study":
        """Check a configuration as read from YAML, and all else that can be checked before a run.

        Raises
        ------
        UserError
            One line: the key, what it holds, and what would be right.
        """
        config = settings.load(raw)
        settings.check_paths(config)
        settings.check_folders(["results", f"results/{config.study}", "resources", "logs"])
        claims = load_ledger(home / "paper" / "claims.yaml", Claim)
        deviations = load_ledger(home / "paper" / "deviations.yaml", Deviation)
        study = cls(config, home, {}, {}, claims, deviations)
        shapes = {name: study.shape(name) for name in study.models}
        layers = {name: shape.layers if shape else None for name, shape in shapes.items()}
        settings.check_layers(config, layers.__getitem__)
        lists = [path for name in study.prompt_sets for path in config.prompts[name].lists()]
        words = {path: study.word_list(path) for path in lists}
        deviations = {name: entry for name, entry in deviations.items() if study.departs(entry)}
        study = cls(config, home, words, shapes, claims, deviations)
        settings.check_counts(config, study.size)
        return study

    # What it is of

    @property
    def name(self) -> str:
        """The study's name."""
        return self.config.study

    @property
    def reference(self) -> Path:
        """The digest of an earlier run, where one is kept."""
        return self.home / "reference" / f"{self.name}.json"

    @property
    def references(self) -> list[Path]:
        """That, and beside it those of other makes of processor: `<study>.<processor>.json`."""
        others = sorted(self.reference.parent.glob(f"{self.name}.*.json"))
        return [path for path in (self.reference, *others) if path.exists()]

    @cached_property
    def experiments(self) -> dict[str, list[str]]:
        """The experiments, and the models that each runs."""
        return {name: self.config.refs(name) for name in self.config.selected().experiments}

    def of_kind(self, kind: type[Measurement]) -> list[str]:
        """The experiments of one kind."""
        return [name for name in self.experiments if type(self.entry(name)) is kind]

    def on_page(self, what: str) -> list[str]:
        """The experiments that the page shows as `paths`, `series`, `planes` or `maps`."""
        return [name for name in self.experiments if what in self.entry(name).on_page]

    def entry(self, experiment: str) -> Measurement:
        """An experiment as the study has it."""
        return self.config.experiments[experiment]

    def model(self, ref: str) -> Model:
        """The entry of the model that `model` or `model@revision` names."""
        return self.config.models[split_ref(ref)[0]]

    @cached_property
    def refs(self) -> list[str]:
        """Every model, each once, in the order of the configuration, and each checkpoint."""
        used = {ref for refs in self.experiments.values() for ref in refs}
        order = list(self.config.models)
        return sorted(used, key=lambda ref: (order.index(split_ref(ref)[0]), ref))

    @cached_property
    def models(self) -> list[str]:
        """The same without revisions."""
        return list(dict.fromkeys(split_ref(ref)[0] for ref in self.refs))

    @cached_property
    def trained(self) -> dict[str, TrainedSource]:
        """The models that are trained here, and how."""
        names = dict.fromkeys(
            split_ref(ref)[0] for refs in self.experiments.values() for ref in refs
        )
        sources = {name: self.config.models[name].source for name in names}
        return {name: s for name, s in sources.items() if isinstance(s, TrainedSource)}

    @cached_property
    def checkpoints(self) -> dict[str, list[str]]:
        """Those of the models that are trained here."""
        return {
            name: [ref for ref in self.refs if split_ref(ref)[0] == name] for name in self.trained
        }

    @cached_property
    def prompt_sets(self) -> list[str]:
        """Every prompt set, each once."""
        entries = [self.entry(name) for name in self.experiments]
        others = [
            name for experiment in self.experiments for name in self.other_prompts(experiment)
        ]
        return list(dict.fromkeys([*(entry.prompts for entry in entries), *others]))

    def other_prompts(self, experiment: str) -> list[str]:
        """The prompt sets that an experiment measures beside its own."""
        return [*chain(*self.entry(experiment).other_prompts().values())]

    @cached_property
    def corpora(self) -> list[str]:
        """Every corpus, each once: of its prompts, and of what it trains."""
        of_prompts = [name for p in self.prompt_sets for name in self.config.prompts[p].corpora()]
        of_training = [
            name for source in self.trained.values() for name in source.corpora(self.config)
        ]
        return list(dict.fromkeys(of_prompts + of_training))

    def models_by(self, way: str) -> str:
        """A pattern for the models that come about in a way: see `Origin.way`."""
        sources = {name: model.source for name, model in self.config.models.items()}
        return any_of(name for name, source in sources.items() if source.way == way)

    def corpora_by(self, way: str) -> str:
        """The same for the corpora."""
        return any_of(name for name, corpus in self.config.corpora.items() if corpus.way == way)

    def source_module(self, ref: str) -> str:
        """The module that makes a model, or fetches it."""
        return type(self.model(ref).source).__module__

    def shape(self, model: str) -> Shape | None:
        """A model's shape; None for a hub model whose config has not been fetched."""
        if model in self.shapes:
            return self.shapes[model]
        source = self.config.models[model].known_shape(self.config, model)
        return shape_of(read_object(source), source) if isinstance(source, str) else source

    def word_list(self, path: str) -> WordList:
        """A list of words: of this package, or a user's."""
        if path in self.words:
            return self.words[path]
        for place in (self.home / path, on_disk(path)):
            if place.exists():
                return load_words(place)
        raise UserError(f"config.yaml: prompts: list: holds {path!r}; there is no such file")

    def size(self, prompt_set: str) -> Size:
        """How many prompts a prompt set has."""
        return self.config.prompts[prompt_set].size(self.words)

    def tokens(self, prompt_set: str) -> int:
        """Tokens of all prompts of a set; hand-made prompts have about ten each."""
        size = self.size(prompt_set)
        return size.contexts * size.prompts * (self.config.prompts[prompt_set].length() or 10)

    # Its jobs

    def by_job(self, refs: Iterable[str]) -> dict[str, list[str]]:
        """The models that one job runs: checkpoints of a model trained here share one.

        A job spends seconds on starting and on loading libraries, as long as on a small model's
        work.
        """
        shared: dict[str, list[str]] = {}
        for ref in refs:
            shared.setdefault(self.alike(ref), []).append(ref)
        return {name if len(some) > 1 else some[0]: some for name, some in shared.items()}

    def alike(self, ref: str) -> str:
        """A label that models share which may share a job, or a scheduler's entry."""
        name, _ = split_ref(ref)
        return name if name in self.trained else ref

    @cached_property
    def measuring_jobs(self) -> dict[str, dict[str, Job]]:
        """The jobs that models are measured in, by experiment and name."""
        jobs: dict[str, dict[str, Job]] = {}
        for name, refs in self.experiments.items():
            entry = self.entry(name)
            prompts = self.config.prompts[entry.prompts]
            parts = entry.parts(prompts, self.config.compute.shard_points)
            jobs[name] = {
                job: Job(name, job, tuple(some), parts, entry.is_sharded(parts))
                for job, some in self.by_job(refs).items()
            }
        return jobs

    @cached_property
    def activation_jobs(self) -> dict[str, dict[str, Job]]:
        """The jobs that cache activations, by prompt set and name."""
        used: dict[str, dict[str, None]] = {}
        for name, refs in self.experiments.items():
            used.setdefault(self.entry(name).prompts, {}).update(dict.fromkeys(refs))
        return {
            prompts: {
                job: Job(prompts, job, tuple(some)) for job, some in self.by_job(refs).items()
            }
            for prompts, refs in used.items()
        }

    @cached_property
    def checkpoint_jobs(self) -> dict[str, Job]:
        """The jobs that make model folders of the checkpoints of a model trained here."""
        return {name: Job("models", name, tuple(refs)) for name, refs in self.checkpoints.items()}

    @cached_property
    def kinds(self) -> list[type[Measurement]]:
        """The kinds of experiments, each once."""
        used = {type(self.entry(name)) for name in self.experiments}
        return [kind for kind in KINDS.values() if kind in used]

    def measuring_rules(self) -> list[tuple[type[Measurement], JobRule]]:
        """The rules that models are measured by, and for which kind of experiment each is."""
        rules = []
        for kind in self.kinds:
            names = self.of_kind(kind)
            jobs = [job for name in names for job in self.measuring_jobs[name].values()]
            rules += [(kind, rule) for rule in job_rules(kind.verb, jobs)]
        return rules

    def activation_rules(self) -> list[JobRule]:
        """The rules that activations are cached by."""
        jobs = [job for jobs in self.activation_jobs.values() for job in jobs.values()]
        return job_rules("cache_activations", jobs)

    def checkpoint_rules(self) -> list[JobRule]:
        """The rules that make the model folders of checkpoints."""
        return job_rules("copy_checkpoints", self.checkpoint_jobs.values(), several="")

    @cached_property
    def sharded(self) -> list[str]:
        """The experiments that are measured in shards."""
        return [n for n, jobs in self.measuring_jobs.items() if next(iter(jobs.values())).sharded]

    def table_rules(self) -> list[tuple[type[Measurement], Tables, list[str]]]:
        """The rules that tables are made by, and the experiments of a kind that each is for."""
        rules: dict[Tables, list[str]] = {}
        for kind in self.kinds:
            for name in self.of_kind(kind):
                entry = self.entry(name)
                for tables in entry.tables(self.config.prompts[entry.prompts]):
                    rules.setdefault(tables, []).append(name)
        return [(type(self.entry(names[0])), tables, names) for tables, names in rules.items()]

    def write_layers(self, prompt_set: str, ref: str) -> list[int]:
        """The write layers that the study needs of a model on a prompt set."""
        entries = self._needing(prompt_set, ref)
        return sorted({layer for entry in entries for layer in entry.layers})

    def clean_layers(self, prompt_set: str, ref: str) -> list[int]:
        """The layers of which only the activations of clean runs are needed."""
        layers = {n for entry in self._needing(prompt_set, ref) for n in entry.clean_layers()}
        return sorted(layers - set(self.write_layers(prompt_set, ref)))

    def _needing(self, prompt_set: str, ref: str) -> list[Measurement]:
        entries = [self.entry(name) for name, refs in self.experiments.items() if ref in refs]
        return [entry for entry in entries if entry.prompts == prompt_set]

    def points(self, experiment: str) -> int:
        """Points of paths and planes that an experiment runs one model on."""
        layers = len(self.entry(experiment).layers)
        return layers * sum(each.number for each in self.sweeps(experiment))

    def sweeps(self, experiment: str) -> Sequence[Points]:
        """How it runs them, at each write layer."""
        entry = self.entry(experiment)
        return entry.points(self.config.prompts[entry.prompts], self.size(entry.prompts))

    def parts(self, experiment: str) -> int:
        """The number of jobs that measure an experiment on one model."""
        return len(next(iter(self.measuring_jobs[experiment].values())).parts)

    # Paths of its files

    def raw_folder(self, experiment: str) -> str:
        """The folder of an experiment's raw outputs, below that of its kind."""
        return f"results/{self.name}/{self.entry(experiment).folder}/{experiment}"

    def raw(self, experiment: str, ref: str) -> str:
        """The raw output of an experiment on a model."""
        return f"{self.raw_folder(experiment)}/{ref}.{self.entry(experiment).ending}"

    def raw_outputs(self, experiment: str) -> list[str]:
        """The raw outputs of an experiment, model by model."""
        return [self.raw(experiment, ref) for ref in self.experiments[experiment]]

    def shards(self, experiment: str, ref: str) -> list[str]:
        """The shards of a raw output."""
        folder, ending = (
            f"{self.raw_folder(experiment)}/{ref}.shards",
            self.entry(experiment).ending,
        )
        return [f"{folder}/{part}.{ending}" for part in range(self.parts(experiment))]

    def prompts(self, experiment: str, ref: str, what: str = "prompts") -> str:
        """The prompts, or the pairs, of an experiment in the tokens of a model."""
        return paths.prompts(self.name, self.entry(experiment).prompts, ref, what)

    def raw_prompts(self, experiment: str) -> list[str]:
        """The prompts of each of an experiment's raw outputs."""
        return [self.prompts(experiment, ref) for ref in self.experiments[experiment]]

    def measuring_inputs(self, experiment: str, job: str) -> dict[str, Any]:
        """The inputs of a measuring job."""
        entry, refs = self.entry(experiment), self.measuring_jobs[experiment][job].refs
        inputs: dict[str, Any] = {
            "models": [paths.model(ref) for ref in refs],
            "prompts": self.prompts(experiment, refs[0]),
            "pairs": self.prompts(experiment, refs[0], "pairs"),
            "activations": [paths.activations(self.name, entry.prompts, ref) for ref in refs],
            "checks": [paths.load_check(self.name, entry.prompts, ref) for ref in refs],
        }
        if others := self.other_prompts(experiment):
            for what in ("prompts", "pairs"):
                inputs[f"other_{what}"] = [
                    paths.prompts(self.name, name, refs[0], what) for name in others
                ]
        return inputs

    def load_checks(self) -> list[str]:
        """The verdict of the load check of every model on every prompt set."""
        pairs = {
            (self.entry(name).prompts, ref)
            for name, refs in self.experiments.items()
            for ref in refs
        }
        return [paths.load_check(self.name, prompts, ref) for prompts, ref in sorted(pairs)]

    def tokenizer_folder(self, ref: str) -> str:
        """The folder of a model's tokenizer."""
        return self.model(ref).source.tokenizer_folder(split_ref(ref)[0])

    # What comes of it

    @cached_property
    def cross_checked(self) -> list[str]:
        """The models whose max slopes are checked by the independent implementation.

        In bfloat16 rounding alone moves a slope by more than two ways of computing it may differ.
        """
        refs = self.experiments.get("sharpness", [])
        return [ref for ref in refs if self.model(ref).dtype != "bfloat16"]

    @cached_property
    def predicting(self) -> list[str]:
        """The models whose predictions are read."""
        names = [name for name in self.on_page("paths") if self.entry(name).reads_tokens()]
        return list(dict.fromkeys(ref for name in names for ref in self.experiments[name]))

    def has_table(self, table: str) -> bool:
        """Whether the study has a table: its own, or one of an experiment that it runs."""
        own = {"models", "deviations", *(["independent-check"] if self.cross_checked else [])}
        of_models = table != "training_losses" or bool(self.trained)
        return table in own or (table.partition("_")[0] in self.experiments and of_models)

    @cached_property
    def figures(self) -> dict[str, list[str]]:
        """The figures that the study has data for, and the tables that they draw."""
        return {
            name: list(figure.tables)
            for name, figure in self.figure_modules.items()
            if all(map(self.has_table, figure.tables))
        }

    @cached_property
    def paper_tables(self) -> dict[str, list[str]]:
        """The tables that the paper quotes: columns that a row is looked up by, or none."""
        tables: dict[str, list[str]] = {}
        for name in self.experiments:
            entry = self.entry(name)
            tables |= entry.paper_tables(name, self.config.prompts[entry.prompts])
        own = [name for name in ("deviations", "independent-check") if self.has_table(name)]
        return tables | {name: [] for name in own}

    @property
    def pair_tables(self) -> list[str]:
        """The tables of single pairs that the paper's judgements resample."""
        return [f"{name}_pairs" for name in JUDGED if name in self.experiments]

    @property
    def twins(self) -> dict[str, str]:
        """The models with random weights, and the one that each is like."""
        sources = {ref: self.model(ref).source for ref in self.refs}
        return {ref: like for ref, source in sources.items() if (like := source.twin_of())}

    @property
    def with_bos(self) -> list[str]:
        """The models whose prompts begin with a BOS token."""
        return [ref for ref in self.refs if self.model(ref).bos]

    def figure_settings(self, figure: str) -> dict[str, Any]:
        """What a figure needs besides its tables: for Figure 2, which pairs are similar prompts."""
        if figure != "fig2":
            return {}
        prompts = self.config.prompts[self.entry("examples").prompts]
        return {"similar": prompts.similar if isinstance(prompts, PairPrompts) else []}

    @property
    def figure_modules(self) -> dict[str, FigureModule]:
        """Every figure of the package, and what its module says of it."""
        return figure_modules(self.home)

    def tests(self, claims: Iterable[str], *, also: bool = False) -> list[Test]:
        """The tests of some claims that the study has data for; `also` those of no verdict."""
        tests: list[Test] = [test for name in claims for test in self.claims[name].tests]
        if also:
            tests += [one.test for name in claims for one in self.claims[name].also]
        return [test for test in tests if test.experiment in self.experiments]

    def claim_tables(self, claims: Iterable[str], *, also: bool = False) -> list[str]:
        """The tables that claims are computed from."""
        tests = self.tests(claims, also=also)
        tables = {test.table for test in tests if isinstance(test, OnTable)}
        return sorted(filter(self.has_table, tables) if also else tables)

    def claim_raw(self, claims: Iterable[str], *, also: bool = False) -> list[tuple[str, str]]:
        """The raw outputs that claims are computed from: experiments and models."""
        used = {test.raw for test in self.tests(claims, also=also) if isinstance(test, OnRaw)}
        return [(name, ref) for name in sorted(used) for ref in self.experiments[name]]

    def departs(self, deviation: Deviation) -> bool:
        """Whether the study has what a deviation is about: not all are on other models or texts."""
        models = {self.model(ref).source.kind for ref in self.refs}
        own = (self.config.prompts[self.entry(name).prompts] for name in self.experiments)
        texts = {self.config.corpora[name].kind for prompts in own for name in prompts.corpora()}
        return deviation.models_from in (None, *models) and deviation.texts_from in (None, *texts)

    def deviation_tables(self) -> list[str]:
        """The tables that hold the effects of deviations."""
        names = {entry.effect.table for entry in self.deviations.values() if entry.effect}
        return sorted(filter(self.has_table, names))

    def cost(self, claim: str) -> dict[str, int]:
        """The cost of a claim in this study from scratch, in units independent of the machine.

        Points of paths that models are run on, jobs that run or train a model, and tokens trained
        on.
        """
        names = [name for name in self.claims[claim].experiments if name in self.experiments]
        used = {split_ref(ref)[0] for name in names for ref in self.experiments[name]}
        trained = [source for name, source in self.trained.items() if name in used]
        jobs = [job for name in names for job in self.measuring_jobs[name].values()]
        return {
            "points": sum(self.points(name) * len(self.experiments[name]) for name in names),
            "jobs": len(trained) + sum(len(job.parts) for job in jobs),
            "training_tokens": sum(source.tokens for source in trained),
        }
