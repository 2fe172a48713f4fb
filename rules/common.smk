# What every stage needs: the checked configuration, and where things lie.
import re

from stable_regions import config as settings
from stable_regions.corpora import text_files
from stable_regions.errors import UserError
from stable_regions.provenance import code_digest
from stable_regions.sources import model_files

try:
    CONFIG = settings.load(config)
    settings.check_paths(CONFIG)
except UserError as error:
    raise WorkflowError(str(error))

STUDY = CONFIG.study
EXPERIMENTS = {name: CONFIG.refs(name) for name in CONFIG.selected().experiments}
COMPUTE = CONFIG.compute
# Each stage adds what it gives: a figure is one module of the library and the tables it draws; a
# table that the paper quotes is looked up by the values of its key columns, or is a list of rows.
# The first part of a table's name (up to "_") is the experiment that it summarises: what a study
# doesn't run is not part of it.
FIGURES = {}
QUOTED = {}


wildcard_constraints:
    study=re.escape(STUDY),
    model="[^/@]+",
    ref="[^/]+",
    prompts="[^/]+",
    experiment="|".join(map(re.escape, EXPERIMENTS)),
    table="[^/]+",
    shard="[0-9]+",


def trained_models():
    """The models of the selected study that are trained here, each once."""
    models = dict.fromkeys(
        settings.split(ref)[0] for refs in EXPERIMENTS.values() for ref in refs
    )
    return [model for model in models if CONFIG.models[model].source.kind == "train"]


def named(section, *kinds):
    """A pattern for the names of the models or corpora whose source is of one of these kinds."""
    entries = getattr(CONFIG, section).items()
    kind = lambda entry: getattr(entry, "source", entry).kind
    names = [name for name, entry in entries if kind(entry) in kinds]
    return "|".join(map(re.escape, names)) or "(?!)"


def study_models():
    """Every model of the selected study, each once, in the order of the configuration."""
    used = {ref for refs in EXPERIMENTS.values() for ref in refs}
    order = list(CONFIG.models)
    return sorted(used, key=lambda ref: (order.index(settings.split(ref)[0]), ref))


def code(script):
    """What a script does, as a digest: a parameter of its rule, so that results follow the code."""
    return code_digest(HERE / "scripts" / script)


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


# Input functions: where a job finds what it needs.


def model_origin(wildcards):
    """What a model folder is made from: a package, another model's folder, or a path."""
    source = CONFIG.models[wildcards.model].source
    if source.kind == "package":
        return f"resources/packages/{CONFIG.packages[source.package].file}"
    if source.kind == "local":
        return source.path
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


def package_of(source):
    """The package that a model or a corpus comes in, as plain values; None if it is not in one."""
    return entry("packages", source.package) if source.kind == "package" else None


def tokenizer_folder(model):
    """Where a model's tokenizer lies: all its revisions share one."""
    source = CONFIG.models[model].source
    if source.kind == "train":
        return f"resources/tokenizers/{source.tokenizer}"
    return f"resources/configs/{model}" if source.kind == "hub" else folder(model)


def threads_of(ref):
    """Threads of the jobs that run a model."""
    return model_of(ref).threads or COMPUTE.threads


def compute_of(ref):
    """How a model is run, as plain values."""
    return {
        "threads": threads_of(ref),
        "device": COMPUTE.device,
        "memory_budget_mb": COMPUTE.memory_budget_mb,
    }


def corpus_origin(wildcards):
    """What a corpus is read from: a package, or a path."""
    corpus = CONFIG.corpora[wildcards.corpus]
    if corpus.kind == "package":
        return f"resources/packages/{CONFIG.packages[corpus.package].file}"
    return corpus.path


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
        if prompts.kind in ("random", "crossed")
        else []
    )


def prompt_file(study, prompts, ref, what="prompts"):
    """A prompt set's table of prompts or of pairs; all revisions of a model share a tokenizer."""
    return f"results/{study}/prompts/{prompts}/{settings.split(ref)[0]}.{what}.parquet"


def layers_read(wildcards):
    """The write layers that the study's experiments need of a model on a prompt set."""
    wanted = [
        CONFIG.experiments[name]
        for name, refs in EXPERIMENTS.items()
        if wildcards.ref in refs
    ]
    layers = [e.layers for e in wanted if e.prompts == wildcards.prompts]
    return sorted({layer for some in layers for layer in some})


def pair_count(experiment):
    """How many pairs an experiment measures."""
    wanted = CONFIG.experiments[experiment]
    return wanted.pairs or CONFIG.prompts[wanted.prompts].most_pairs


def shard_pairs(experiment):
    """The first pair of each shard, and the one after its last."""
    wanted = CONFIG.experiments[experiment]
    size = max(1, COMPUTE.shard_points // (wanted.steps * len(wanted.layers)))
    count = pair_count(experiment)
    return [(start, min(start + size, count)) for start in range(0, count, size)]


def raw_folder(wildcards):
    """Where the raw outputs of an experiment lie: a folder a kind, a folder an experiment."""
    kind = CONFIG.experiments[wildcards.experiment].kind
    return f"results/{wildcards.study}/{kind}/{wildcards.experiment}"


def shards(wildcards):
    """All shards of an experiment on a model."""
    count = len(shard_pairs(wildcards.experiment))
    return [
        f"{raw_folder(wildcards)}/{wildcards.ref}.shards/{i}.parquet"
        for i in range(count)
    ]


def experiment_inputs(wildcards):
    """What a job that runs a model on an experiment's pairs reads."""
    prompts, study, ref = (
        CONFIG.experiments[wildcards.experiment].prompts,
        wildcards.study,
        wildcards.ref,
    )
    return {
        "model": folder(ref),
        "prompts": prompt_file(study, prompts, ref),
        "pairs": prompt_file(study, prompts, ref, "pairs"),
        "activations": f"results/{study}/activations/{prompts}/{ref}.safetensors",
    }


def choices_inputs(wildcards):
    """The same, and the prompts that take the place of the experiment's own."""
    others = CONFIG.experiments[wildcards.experiment].prompt_sets
    study, ref = wildcards.study, wildcards.ref
    return experiment_inputs(wildcards) | {
        f"other_{what}": [prompt_file(study, name, ref, what) for name in others]
        for what in ("prompts", "pairs")
    }


def raw_outputs(wildcards):
    """The raw outputs of an experiment, model by model."""
    return [
        f"{raw_folder(wildcards)}/{ref}.parquet"
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
    """Whether the selected study runs the experiment that a table summarises."""
    return table == "models" or table.partition("_")[0] in EXPERIMENTS


def study_figures():
    """The figures of the selected study."""
    return [figure for figure, tables in FIGURES.items() if all(map(of_study, tables))]


def study_tables():
    """The tables of the selected study that the paper quotes."""
    return [table for table in QUOTED if of_study(table)]


def of_kind(kind):
    """The selected study's experiments of one kind."""
    return [name for name in EXPERIMENTS if CONFIG.experiments[name].kind == kind]
