# The suite: small models trained here, and their checkpoints as revisions `model@stepN`.

if trained_models():
    FIGURES |= {"figA_losses": ["training_losses"]}


rule tokenizer:
    input:
        lambda w: [
            f"resources/corpora/{c}.parquet"
            for c in CONFIG.tokenizers[w.tokenizer].corpora
        ],
    output:
        directory("resources/tokenizers/{tokenizer}"),
    log:
        "logs/train/tokenizer-{tokenizer}.log",
    benchmark:
        timed(
            "tokenizers",
            "logs/train/tokenizer-{tokenizer}.benchmark.tsv",
            tokenizer=dict.fromkeys(
                CONFIG.models[model].source.tokenizer for model in trained_models()
            ),
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
        lambda w: tokenizer_folder(w.model),
    output:
        directory("resources/training/{model}"),
    log:
        "logs/train/{model}.log",
    benchmark:
        timed("training", "logs/train/{model}.benchmark.tsv", model=trained_models())
    priority: 1000  # the longest jobs, and most others wait for them
    group:
        "train"
    conda:
        "../envs/model.yaml"
    threads: lambda w: threads_of(w.model)
    resources:
        mem_mb=growing(lambda w: memory_of(w.model)),
        runtime=growing(lambda w: minutes_of(w.model, 3 * tokens_trained(w.model))),
    params:
        source=lambda w: entry("models", w.model)["source"],
        threads=lambda w: threads_of(w.model),
        code=code("train_model.py"),
    message:
        "Train {wildcards.model}"
    script:
        "../scripts/train_model.py"


for model, refs in checkpoints().items():

    rule:
        name:
            f"checkpoints_{model}"
        input:
            training=f"resources/training/{model}",
            tokenizer=tokenizer_folder(model),
        output:
            folders=[directory(folder(ref)) for ref in refs],
            facts=[f"resources/facts/{ref}.json" for ref in refs],
        log:
            f"logs/train/{model}.checkpoints.log",
        benchmark:
            timed("model folders", f"logs/train/{model}.checkpoints.benchmark.tsv")
        group:
            "train"
        conda:
            "../envs/figures.yaml"
        params:
            refs=refs,
            entry=entry("models", model),
            code=code("make_checkpoints.py"),
        message:
            f"Make the model folders of the checkpoints of {model}"
        script:
            "../scripts/make_checkpoints.py"
