# The suite: small models trained here, and their checkpoints as revisions `model@stepN`.


rule tokenizer:
    input:
        lambda w: list(map(paths.corpus, CONFIG.tokenizers[w.tokenizer].corpora)),
    output:
        directory("resources/tokenizers/{tokenizer}"),
    log:
        "logs/train/tokenizer-{tokenizer}.log",
    benchmark:
        benchmark_path(
            "tokenizers",
            "logs/train/tokenizer-{tokenizer}.benchmark.tsv",
            tokenizer=dict.fromkeys(s.tokenizer for s in STUDY.trained.values()),
        )
    conda:
        "../envs/model.yaml"
    params:
        entry=lambda w: entry("tokenizers", w.tokenizer),
        code=code("train_tokenizer.py"),
    message:
        "Train the tokenizer {wildcards.tokenizer} and encode its corpora"
    script:
        "../scripts/train_tokenizer.py"


rule train:
    input:
        lambda w: STUDY.tokenizer_folder(w.model),
    output:
        directory("resources/training/{model}"),
    log:
        "logs/train/{model}.log",
    benchmark:
        benchmark_path(
            "training", "logs/train/{model}.benchmark.tsv", model=list(STUDY.trained)
        )
    priority: 1000  # the longest jobs, and most others wait for them
    group:
        "train"
    conda:
        "../envs/model.yaml"
    threads: lambda w: resources.threads(STUDY, w.model)
    resources:
        mem_mb=growing(lambda w: resources.memory(STUDY, w.model)),
        runtime=growing(
            lambda w: resources.minutes(
                STUDY, w.model, 3 * CONFIG.models[w.model].source.tokens
            )
        ),
    params:
        source=lambda w: entry("models", w.model)["source"],
        threads=lambda w: resources.threads(STUDY, w.model),
        code=code("train_model.py"),
    message:
        "Train {wildcards.model}"
    script:
        "../scripts/train_model.py"


for each in STUDY.checkpoint_rules():

    rule:
        name:
            each.name
        input:
            training="resources/training/{model}",
            tokenizer=lambda w: STUDY.tokenizer_folder(w.model),
        output:
            folders=[
                directory(f"resources/models/{{model}}{revision}")
                for revision in each.revisions
            ],
            facts=[
                f"resources/facts/{{model}}{revision}.json"
                for revision in each.revisions
            ],
        log:
            "logs/train/{model}.checkpoints.log",
        benchmark:
            benchmark_jobs(
                "model folders", "logs/train/{model}.checkpoints.benchmark.tsv", each
            )
        wildcard_constraints:
            model=any_of(job.name for job in each.jobs),
        group:
            "train"
        conda:
            "../envs/model.yaml"
        params:
            refs=lambda w: STUDY.checkpoints[w.model],
            entry=lambda w: entry("models", w.model),
            code=code("make_checkpoints.py"),
        message:
            "Make the model folders of the checkpoints of {wildcards.model}"
        script:
            "../scripts/make_checkpoints.py"
