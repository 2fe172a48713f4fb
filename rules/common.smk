# What every stage needs: the checked configuration, and where things lie.
import ast
import re
from functools import cache

from stable_regions import config as settings
from stable_regions import gpus, presence
from stable_regions.claims import Claim, OnRaw, OnTable, load_ledger
from stable_regions.corpora import text_files
from stable_regions.deviations import Deviation
from stable_regions.errors import UserError
from stable_regions.files import read_object, sha256
from stable_regions.provenance import code_digest
from stable_regions.shapes import Shape, shape_of
from stable_regions.sources import model_files
from stable_regions.words import load_words

try:
    CONFIG = settings.load(config)
    settings.check_paths(CONFIG)
    settings.check_folders(["results", f"results/{CONFIG.study}", "resources", "logs"])
    CLAIMS = load_ledger(HERE / "paper" / "claims.yaml", Claim)
    DEVIATIONS = load_ledger(HERE / "paper" / "deviations.yaml", Deviation)
except UserError as error:
    raise WorkflowError(str(error))

STUDY = CONFIG.study
EXPERIMENTS = {name: CONFIG.refs(name) for name in CONFIG.selected().experiments}
COMPUTE = CONFIG.compute
# Each stage adds what it gives: a figure is one module of the library and the tables it draws; a
# table that the paper quotes is looked up by the values of its key columns, or is a list of rows.
# The first part of a table's name (up to "_") is the experiment that it summarises: what a study
# doesn't run is not part of it. Tables that summarise no experiment are the study's own.
FIGURES = {}
QUOTED = {}
TIMED = {}  # by stage: where Snakemake notes what its jobs took
FIRST = 2000  # the priority of what the first figure is made of: before training
OWN_TABLES = {"models"}
RAW = {
    "plane": "planes"
}  # the folder of a kind's raw outputs, where it is not called like it


REFERENCE = HERE / "reference" / f"{STUDY}.json"


wildcard_constraints:
    study=re.escape(STUDY),
    model="[^/@]+",
    ref="[^/]+",
    prompts="[^/]+",
    experiment="|".join(map(re.escape, EXPERIMENTS)),
    table="[^/]+",
    shard="[0-9]+",
    block="[0-9]+",
    claim="|".join(map(re.escape, CLAIMS)),


@cache
def trained_models():
    """The models of the selected study that are trained here, each once."""
    models = dict.fromkeys(
        settings.split(ref)[0] for refs in EXPERIMENTS.values() for ref in refs
    )
    return [model for model in models if CONFIG.models[model].source.kind == "train"]


def checkpoints():
    """The checkpoints of the selected study that are of models trained here, by model."""
    jobs = by_job(study_models())
    return {model: jobs[model] for model in trained_models()}


def named(section, *kinds):
    """A pattern for the names of the models or corpora whose source is of one of these kinds."""
    entries = getattr(CONFIG, section).items()
    kind = lambda entry: getattr(entry, "source", entry).kind
    names = [name for name, entry in entries if kind(entry) in kinds]
    return "|".join(map(re.escape, names)) or "(?!)"


def study_prompt_sets():
    """Every prompt set of the selected study, each once."""
    used = [CONFIG.experiments[name] for name in EXPERIMENTS]
    own = [wanted.prompts for wanted in used]
    others = [name for wanted in used for name in getattr(wanted, "prompt_sets", [])]
    return list(dict.fromkeys(own + others))


def study_corpora():
    """Every corpus of the selected study, each once: of its prompts, and of what it trains."""
    drawn = [CONFIG.prompts[name] for name in study_prompt_sets()]
    own = [p.corpus for p in drawn if isinstance(p, settings.WithCorpus)]
    tokenizers = [CONFIG.models[model].source.tokenizer for model in trained_models()]
    read = [name for each in tokenizers for name in CONFIG.tokenizers[each].corpora]
    return list(dict.fromkeys(own + read))


def study_models():
    """Every model of the selected study, each once, in the order of the configuration."""
    used = {ref for refs in EXPERIMENTS.values() for ref in refs}
    order = list(CONFIG.models)
    return sorted(used, key=lambda ref: (order.index(settings.split(ref)[0]), ref))


def model_names():
    """The same without their revisions."""
    return list(dict.fromkeys(settings.split(ref)[0] for ref in study_models()))


@cache
def digest(script, *modules):
    """What a script does, with modules that it loads by name."""
    return code_digest(HERE / "scripts" / script, *modules)


def code(script):
    """A parameter of a script's rule, so that results follow the code; read for a job that runs."""
    return lambda wildcards: digest(script)


def model_of(ref):
    """The entry of the model that `model` or `model@revision` names."""
    return CONFIG.models[settings.split(ref)[0]]


def entry(section, name):
    """A section's entry as plain values: a parameter, so that results follow the configuration."""
    return getattr(CONFIG, section)[name].model_dump()


def hub_entry(model):
    """What a model on the hub is fetched by: not how it is run, nor what other checkpoints it has."""
    wanted = CONFIG.models[model]
    return {
        "source": wanted.source.model_dump(exclude={"checkpoints"}),
        "family": wanted.family,
        "licence": wanted.licence,
    }


def folder(ref):
    """Where a model's files lie."""
    return f"resources/models/{ref}"


def all_cores(wildcards):
    """For a job that nothing should run beside."""
    return workflow.resource_settings.cores or 1


def timed(stage, path, **values):
    """The same path, noted as that of a stage's jobs; `values` are those of its wildcards."""
    TIMED.setdefault(stage, []).extend(expand(path, study=STUDY, **values))
    return path


def timed_gathering(kind):
    """The same of the rule that gathers the shards of experiments of a kind."""
    path = f"logs/{{study}}/{RAW.get(kind, kind)}/{{experiment}}/{{ref}}.gather.benchmark.tsv"
    for name in of_kind(kind):
        timed("gathering", path, experiment=name, ref=EXPERIMENTS[name])
    return path


# Input functions: where a job finds what it needs.


def model_origin(wildcards):
    """What a model folder is made from: a package, another model's folder, or a path."""
    source = CONFIG.models[wildcards.model].source
    if source.kind == "package":
        return f"resources/packages/{CONFIG.packages[source.package].file}"
    if source.kind == "local":
        return str(settings.on_disk(source.path))
    like = CONFIG.models[source.like].source
    return (
        f"resources/configs/{source.like}"
        if like.kind == "hub"
        else folder(source.like)
    )


def model_inputs(wildcards):
    """The same as inputs: a local model's files one by one, so that an edit of one is seen."""
    origin = model_origin(wildcards)
    local = CONFIG.models[wildcards.model].source.kind == "local"
    return list(map(str, model_files(Path(origin)))) if local else origin


def dated(inputs):
    """Size and time of a local source's files: Snakemake does not see one that got an older time."""
    if isinstance(inputs, str):  # made by a rule
        return None
    facts = {Path(path).name: Path(path).stat() for path in inputs}
    return {name: [fact.st_size, int(fact.st_mtime)] for name, fact in facts.items()}


def package_of(source):
    """The package that a model or a corpus comes in, as plain values; None if it is not in one."""
    return entry("packages", source.package) if source.kind == "package" else None


def tokenizer_folder(model):
    """Where a model's tokenizer lies: all its revisions share one."""
    source = CONFIG.models[model].source
    if source.kind == "train":
        return f"resources/tokenizers/{source.tokenizer}"
    return f"resources/configs/{model}" if source.kind == "hub" else folder(model)


def tokens_trained(model):
    """Tokens that a model trained here is trained on."""
    source = CONFIG.models[model].source
    return source.steps * source.batch * source.context


def threads_of(ref):
    """Threads of the jobs that run a model."""
    return model_of(ref).threads or COMPUTE.threads


def compute_of(ref):
    """How a model is run, as plain values."""
    return {
        "threads": threads_of(ref),
        "device": model_of(ref).device or COMPUTE.device,
        "device_map": model_of(ref).device_map,
        "memory_budget_mb": COMPUTE.memory_budget_mb,
        **COMPUTE.model_dump(include={"engine"}, exclude_none=True),
    }


def gpus_of(ref):
    """GPUs that a job takes which runs a model: on "auto" as many if this machine has any.

    On a cluster they must be named, by `device: cuda`: there this machine is only where jobs are
    submitted, and a node may have GPUs that a job was not given. Where jobs run is known once the
    workflow is read: what asks this is a function.
    """
    device = model_of(ref).device or COMPUTE.device
    here = device == "auto" and workflow.local_exec and gpus.here()
    return model_of(ref).gpus if here or device.startswith("cuda") else 0


def shape_source(model):
    """A model's shape as values, or the config that tells it; None if neither is at hand."""
    wanted = CONFIG.models[model]
    if wanted.shape is not None:
        return wanted.shape.model_dump()
    source = wanted.source
    if source.kind == "random":
        return shape_source(source.like)
    if source.kind == "train":
        return {
            "model_type": "llama",
            "layers": source.layers,
            "width": source.width,
            "heads": source.heads,
            "mlp": source.mlp_width,
            "vocabulary": CONFIG.tokenizers[source.tokenizer].vocabulary,
            "tied": True,
        }
    folders = [folder(model), f"resources/configs/{model}"]
    if source.kind == "local":
        folders.insert(0, settings.on_disk(source.path))
    configs = [f"{place}/config.json" for place in folders]
    return next((path for path in configs if Path(path).exists()), None)


@cache
def shape_told(model):
    """A model's shape; None of a hub model without one, before its config is here."""
    told = shape_source(model)
    if isinstance(told, str):
        return shape_of(read_object(told), told)
    return told and Shape(**told)


def layers_told(model):
    """How many layers a model has, if that is known."""
    shape = shape_told(model)
    return shape and shape.layers


def memory_of(ref, others=()):
    """Megabytes of memory that a job asks for which runs a model, in other dtypes too."""
    shape = shape_told(settings.split(ref)[0])
    if shape is None:
        return 16_000
    held = shape.held([model_of(ref).dtype, *others], COMPUTE.memory_budget_mb * 2**20)
    return 1_500 + held // 10**6  # the libraries take 0.6 GB; the rest is to be safe


def corpus_origin(wildcards):
    """What a corpus is read from: a package, or a path."""
    corpus = CONFIG.corpora[wildcards.corpus]
    if corpus.kind == "package":
        return f"resources/packages/{CONFIG.packages[corpus.package].file}"
    return str(settings.on_disk(corpus.path))


def corpus_inputs(wildcards):
    """The same as inputs: a local corpus's files one by one, so that an edit of one is seen."""
    origin = corpus_origin(wildcards)
    local = CONFIG.corpora[wildcards.corpus].kind == "local"
    return list(map(str, text_files(Path(origin)))) if local else origin


def corpus_of(wildcards):
    """The corpus that a prompt set is drawn from, if it is drawn."""
    prompts = CONFIG.prompts[wildcards.prompts]
    return (
        f"resources/corpora/{prompts.corpus}.parquet"
        if isinstance(prompts, settings.WithCorpus)
        else []
    )


@cache
def word_list(path):
    """A list of words: of this package, or a user's."""
    for place in (HERE / path, settings.on_disk(path)):
        if place.exists():
            try:
                return load_words(place)
            except UserError as error:
                raise WorkflowError(str(error))
    raise WorkflowError(
        f"config.yaml: prompts: list: holds {path!r}; there is no such file"
    )


def words_of(wildcards):
    """The words that a prompt set is made of: as values, so that results follow what they are."""
    prompts = CONFIG.prompts[wildcards.prompts]
    return word_list(prompts.list).model_dump() if prompts.kind == "words" else None


def prompt_file(study, prompts, ref, what="prompts"):
    """A prompt set's table of prompts or of pairs; all revisions of a model share a tokenizer."""
    return f"results/{study}/prompts/{prompts}/{settings.split(ref)[0]}.{what}.parquet"


def by_job(refs):
    """The models that one job runs: checkpoints of a model trained here share one, others do not.

    A job spends seconds on starting and on loading libraries, as long as on a small model's work.
    """
    jobs = {}
    for ref in refs:
        name, _ = settings.split(ref)
        jobs.setdefault(name if name in trained_models() else ref, []).append(ref)
    return jobs


def runs(kind):
    """What is to be measured: each experiment of a kind, what a job of it is called, its models."""
    return [
        (name, job, refs)
        for name in of_kind(kind)
        for job, refs in by_job(EXPERIMENTS[name]).items()
    ]


def activation_runs():
    """Each prompt set, what a job on it is called, its models."""
    used = {}
    for name, refs in EXPERIMENTS.items():
        used.setdefault(CONFIG.experiments[name].prompts, {}).update(
            dict.fromkeys(refs)
        )
    return [
        (prompts, job, refs)
        for prompts, of_set in used.items()
        for job, refs in by_job(of_set).items()
    ]


def wanted_of(prompts, ref):
    """The study's experiments that run a model on a prompt set."""
    return [
        CONFIG.experiments[name]
        for name, refs in EXPERIMENTS.items()
        if ref in refs and CONFIG.experiments[name].prompts == prompts
    ]


def layers_written(prompts, ref):
    """The write layers that the study needs of a model on a prompt set."""
    return sorted({layer for e in wanted_of(prompts, ref) for layer in e.layers})


def layers_compared(prompts, ref):
    """The layers of which it needs the activations of clean runs alone."""
    layers = {n for e in wanted_of(prompts, ref) for n in getattr(e, "geometry", [])}
    return sorted(layers - set(layers_written(prompts, ref)))


def pair_count(experiment):
    """How many pairs an experiment measures."""
    wanted = CONFIG.experiments[experiment]
    return wanted.pairs or CONFIG.prompts[wanted.prompts].most_pairs


def units(experiment):
    """What an experiment is cut into shards of, pairs or triples: how many, and points of each."""
    wanted = CONFIG.experiments[experiment]
    if wanted.kind == "plane":
        return wanted.triples, 3 * wanted.resolution**2 * len(wanted.layers)
    return pair_count(experiment), wanted.steps * len(wanted.layers)


def shard_units(experiment):
    """The first pair or triple of each shard, and the one after its last."""
    count, points = units(experiment)
    size = max(1, COMPUTE.shard_points // points)
    return [(start, min(start + size, count)) for start in range(0, count, size)]


def prompt_counts(prompts):
    """Contexts of a prompt set, and prompts in each; at most, as a tokenizer may leave fewer words."""
    wanted = CONFIG.prompts[prompts]
    if wanted.kind == "words":
        words = word_list(wanted.list)
        each = wanted.words_per_kind
        count = sum(len(kind.words[:each]) for kind in words.kinds)
        return len(words.contexts[: wanted.contexts]), count
    counts = {
        "random": lambda: wanted.count,
        "crossed": lambda: 4 * wanted.crossings,
        "pairs": lambda: 2 * len(wanted.pairs),
        "recurring": lambda: wanted.last_tokens * wanted.each,
    }
    return 1, counts[wanted.kind]()


def token_count(prompts):
    """Tokens of all prompts of a set; hand-made prompts have about ten each."""
    contexts, each = prompt_counts(prompts)
    return contexts * each * getattr(CONFIG.prompts[prompts], "tokens", 10)


try:
    settings.check_layers(CONFIG, layers_told)
    settings.check_counts(CONFIG, prompt_counts)
except UserError as error:
    raise WorkflowError(str(error))


def sweeps(experiment):
    """The ways in which an experiment runs points on a model, and how many at each write layer."""
    wanted = CONFIG.experiments[experiment]
    if wanted.kind == "pairwise":
        contexts, count = prompt_counts(wanted.prompts)
        prefixes = contexts if CONFIG.prompts[wanted.prompts].kind == "words" else count
        between = contexts * count * (count - 1) // 2 * (wanted.steps - 2)
        finer = wanted.fine_pairs * (wanted.steps - 1) * 10
        return [("short", "", between + finer + prefixes * count)]
    if wanted.kind == "plane":
        return [("planes", "", 3 * wanted.triples * wanted.resolution**2)]
    pairs, steps = pair_count(experiment), wanted.steps
    if wanted.kind == "choices":
        others = wanted.paths + wanted.targets + wanted.prompt_sets
        points = sum(wanted.grids) + steps * len(others)
        points += settings.ADAPTIVE_POINTS * len(wanted.adaptive)
        found = [("choices", "", pairs * steps), ("paths", "", pairs * points)]
        return found + [("paths", dtype, pairs * steps) for dtype in wanted.dtypes]
    way = "gates" if wanted.kind == "polytopes" else "paths"
    logits = getattr(wanted, "logits", False)
    return [("predictions" if logits else way, "", pairs * steps)]


def points_of(experiment):
    """Points of paths and planes that an experiment runs a model on."""
    layers = len(CONFIG.experiments[experiment].layers)
    return layers * sum(points for *_, points in sweeps(experiment))


def job_count(experiment):
    """Jobs that an experiment is measured in, on one model."""
    wanted = CONFIG.experiments[experiment]
    if wanted.kind == "choices":
        return 1
    return wanted.blocks if wanted.kind == "pairwise" else len(shard_units(experiment))


def early(prompts):
    """Whether a prompt set is of the hand-made pairs, which the first figure shows."""
    return CONFIG.prompts[prompts].kind == "pairs"


def priority_of(experiment):
    """Of an experiment's jobs: the longer ones first, so that none is left alone at the end.

    But before all, training too, what the first figure is made of.
    """
    if early(CONFIG.experiments[experiment].prompts):
        return FIRST
    return min(100, points_of(experiment) // job_count(experiment) // 1000)


def raw_folder(experiment):
    """Where the raw outputs of an experiment lie: a folder a kind, a folder an experiment."""
    kind = CONFIG.experiments[experiment].kind
    return f"results/{STUDY}/{RAW.get(kind, kind)}/{experiment}"


def raw_ending(kind):
    """Of the files of a kind's raw outputs."""
    return "safetensors" if kind in ("plane", "pairwise") else "parquet"


def sharded(kind):
    """The experiments of a kind that are measured in more than one shard."""
    return [name for name in of_kind(kind) if len(shard_units(name)) > 1]


def shard_rows(experiment):
    """A parameter: the pairs or triples that a job measures, its shard's or all."""
    parts = shard_units(experiment)
    return lambda wildcards: parts[int(wildcards.get("shard", 0))]


def measured(experiment, refs):
    """What a job of an experiment writes: its models' raw outputs, or one shard of each."""
    kind = CONFIG.experiments[experiment].kind
    folder, ending = raw_folder(experiment), raw_ending(kind)
    if experiment in sharded(kind):
        return [temp(f"{folder}/{ref}.shards/{{shard}}.{ending}") for ref in refs]
    return [f"{folder}/{ref}.{ending}" for ref in refs]


def job_log(experiment, job, suffix="log"):
    """The log of a job that `measured` is about."""
    kind = CONFIG.experiments[experiment].kind
    shard = ".{shard}" if experiment in sharded(kind) else ""
    return f"logs/{STUDY}/{RAW.get(kind, kind)}/{experiment}/{job}{shard}.{suffix}"


def shards(wildcards):
    """All shards of an experiment on a model."""
    count = len(shard_units(wildcards.experiment))
    ending = raw_ending(CONFIG.experiments[wildcards.experiment].kind)
    folder = raw_folder(wildcards.experiment)
    return [f"{folder}/{wildcards.ref}.shards/{i}.{ending}" for i in range(count)]


def experiment_inputs(experiment, refs):
    """What a job that runs models on an experiment's pairs reads."""
    prompts = CONFIG.experiments[experiment].prompts
    return {
        "models": [folder(ref) for ref in refs],
        "prompts": prompt_file(STUDY, prompts, refs[0]),
        "pairs": prompt_file(STUDY, prompts, refs[0], "pairs"),
        "activations": [
            f"results/{STUDY}/activations/{prompts}/{ref}.safetensors" for ref in refs
        ],
    }


def choices_inputs(experiment, refs):
    """The same, and the prompts that take the place of the experiment's own."""
    others = CONFIG.experiments[experiment].prompt_sets
    return experiment_inputs(experiment, refs) | {
        f"other_{what}": [prompt_file(STUDY, name, refs[0], what) for name in others]
        for what in ("prompts", "pairs")
    }


def pairwise_entry(experiment):
    """What a pairwise experiment measures: its clusters are a later stage's."""
    return {
        key: value
        for key, value in entry("experiments", experiment).items()
        if key != "clusters"
    }


def pairwise_blocks(wildcards):
    """All blocks of rows of a pairwise experiment on a model."""
    return [
        f"{raw_folder(wildcards.experiment)}/{wildcards.ref}.blocks/{i}.safetensors"
        for i in range(CONFIG.experiments[wildcards.experiment].blocks)
    ]


def pairwise_outputs(wildcards):
    """The distances of a pairwise experiment, model by model."""
    return [
        f"{raw_folder(wildcards.experiment)}/{ref}.safetensors"
        for ref in EXPERIMENTS[wildcards.experiment]
    ]


def pairwise_prompts(wildcards):
    """The prompts of a pairwise experiment in the tokens of a model."""
    prompts = CONFIG.experiments[wildcards.experiment].prompts
    return prompt_file(wildcards.study, prompts, wildcards.ref)


def raw_outputs(wildcards):
    """The raw outputs of an experiment, model by model."""
    return [
        f"{raw_folder(wildcards.experiment)}/{ref}.parquet"
        for ref in EXPERIMENTS[wildcards.experiment]
    ]


def raw_prompts(wildcards):
    """The prompts of each of an experiment's raw outputs."""
    prompts = CONFIG.experiments[wildcards.experiment].prompts
    refs = EXPERIMENTS[wildcards.experiment]
    return [prompt_file(wildcards.study, prompts, ref) for ref in refs]


def load_checks():
    """The verdict of the load check of every model on every prompt set."""
    pairs = {
        (CONFIG.experiments[name].prompts, ref)
        for name, refs in EXPERIMENTS.items()
        for ref in refs
    }
    return [
        f"results/{STUDY}/activations/{p}/{ref}.check.json" for p, ref in sorted(pairs)
    ]


def of_study(table):
    """Whether the selected study has a table: its own, or one of an experiment that it runs."""
    return table in OWN_TABLES or table.partition("_")[0] in EXPERIMENTS


def study_figures():
    """The figures of the selected study."""
    return [figure for figure, tables in FIGURES.items() if all(map(of_study, tables))]


def figure_title(figure):
    """What a figure shows: the first line of its module."""
    drawing = HERE / "stable_regions" / "figures" / f"{figure}.py"
    return ast.get_docstring(
        ast.parse(drawing.read_text(encoding="utf-8"))
    ).splitlines()[0]


def study_tables():
    """The tables of the selected study that the paper quotes."""
    return [table for table in QUOTED if of_study(table)]


def of_kind(kind):
    """The selected study's experiments of one kind."""
    return [name for name in EXPERIMENTS if CONFIG.experiments[name].kind == kind]


def claim_tests(wildcards):
    """The tests of one claim, or else of all, that the study has data for."""
    names = [wildcards.claim] if "claim" in wildcards.keys() else CLAIMS
    tests = [test for name in names for test in CLAIMS[name].tests]
    return [test for test in tests if test.experiment in EXPERIMENTS]


def claim_tables(wildcards):
    """The tables that claims are computed from."""
    tests = claim_tests(wildcards)
    return sorted({test.table for test in tests if isinstance(test, OnTable)})


def claim_raw(wildcards):
    """The raw outputs that claims are computed from: experiments and models."""
    used = {test.raw for test in claim_tests(wildcards) if isinstance(test, OnRaw)}
    return [(name, ref) for name in sorted(used) for ref in EXPERIMENTS[name]]


def deviation_tables():
    """The tables that hold the effects of deviations."""
    named = {entry.effect.table for entry in DEVIATIONS.values() if entry.effect}
    return sorted(filter(of_study, named))


def cost_of(claim):
    """What a claim takes in this study, from nothing, in units that no machine changes.

    Points of paths that models are run on, jobs that run or train a model, and tokens trained on.
    """
    names = [name for name in CLAIMS[claim].experiments if name in EXPERIMENTS]
    trained = {
        settings.split(ref)[0]: model_of(ref).source
        for name in names
        for ref in EXPERIMENTS[name]
        if model_of(ref).source.kind == "train"
    }.values()
    return {
        "points": sum(points_of(name) * len(EXPERIMENTS[name]) for name in names),
        "jobs": len(trained)
        + sum(len(by_job(EXPERIMENTS[name])) * job_count(name) for name in names),
        "training_tokens": sum(s.steps * s.batch * s.context for s in trained),
    }


def audited(wildcards):
    """What is made last of all, when the study's results are complete."""
    crate = f"results/{STUDY}/ro-crate-metadata.json"
    return [crate, f"logs/{STUDY}/compared.json"] if REFERENCE.exists() else [crate]
