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
    benchmark:
        timed(
            "prompts",
            "logs/{study}/prompts/{prompts}/{model}.benchmark.tsv",
            prompts=study_prompt_sets(),
            model=model_names(),
        )
    priority: FIRST
    conda:
        "../envs/model.yaml"
    params:
        entry=lambda w: entry("prompts", w.prompts),
        words=words_of,
        bos=lambda w: CONFIG.models[w.model].bos,
        code=code("make_prompts.py"),
    message:
        "Draw the prompts {wildcards.prompts} in the tokens of {wildcards.model}"
    script:
        "../scripts/make_prompts.py"


for prompts, job, refs in activation_runs():

    rule:
        name:
            f"activations_{prompts}_{job}"
        input:
            models=[folder(ref) for ref in refs],
            prompts=prompt_file(STUDY, prompts, job),
        output:
            activations=[
                f"results/{STUDY}/activations/{prompts}/{ref}.safetensors"
                for ref in refs
            ],
            checks=[
                f"results/{STUDY}/activations/{prompts}/{ref}.check.json"
                for ref in refs
            ],
        log:
            f"logs/{STUDY}/activations/{prompts}/{job}.log",
        benchmark:
            timed(
                "activations",
                f"logs/{STUDY}/activations/{prompts}/{job}.benchmark.tsv",
            )
        priority: FIRST if early(prompts) else 0
        group:
            grouped("activations", job)
        conda:
            "../envs/model.yaml"
        threads: threads_of(job)
        resources:
            **run_resources(job, refs, token_count(prompts)),
        params:
            refs=refs,
            layers=[layers_written(prompts, ref) for ref in refs],
            compared=[layers_compared(prompts, ref) for ref in refs],
            dtype=model_of(job).dtype,
            shape=model_of(job).shape and model_of(job).shape.model_dump(),
            compute=compute_of(job),
            code=code("cache_activations.py"),
        message:
            f"Cache the activations of {job} on the prompts {prompts}"
        script:
            "../scripts/cache_activations.py"
