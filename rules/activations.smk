# Prompts in each model's tokens, and one clean pass over them: what everything else starts from.


rule prompts:
    input:
        model=lambda w: tokenizer_folder(w.model),
        corpus=corpus_of,
    output:
        prompts="results/{study}/prompts/{prompts}/{model}.prompts.parquet",
        pairs="results/{study}/prompts/{prompts}/{model}.pairs.parquet",
    log:
        "logs/{study}/prompts/{prompts}/{model}.log",
    conda:
        "../envs/model.yaml"
    params:
        entry=lambda w: entry("prompts", w.prompts),
        bos=lambda w: CONFIG.models[w.model].bos,
        code=code("make_prompts.py"),
    message:
        "Draw the prompts {wildcards.prompts} in the tokens of {wildcards.model}"
    script:
        "../scripts/make_prompts.py"


rule activations:
    input:
        model=lambda w: folder(w.ref),
        prompts=lambda w: prompt_file(w.study, w.prompts, w.ref),
    output:
        activations="results/{study}/activations/{prompts}/{ref}.safetensors",
        check="results/{study}/activations/{prompts}/{ref}.check.json",
    log:
        "logs/{study}/activations/{prompts}/{ref}.log",
    benchmark:
        "logs/{study}/activations/{prompts}/{ref}.benchmark.tsv"
    conda:
        "../envs/model.yaml"
    threads: lambda w: threads_of(w.ref)
    params:
        layers=layers_read,
        dtype=lambda w: model_of(w.ref).dtype,
        compute=lambda w: compute_of(w.ref),
        code=code("cache_activations.py"),
    message:
        "Cache the activations of {wildcards.ref} on the prompts {wildcards.prompts}"
    script:
        "../scripts/cache_activations.py"
