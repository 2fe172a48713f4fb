# Prompts in each model's tokens, and one clean pass over them: what everything else starts from.


rule prompts:
    input:
        model=lambda w: STUDY.tokenizer_folder(w.model),
        corpus=lambda w: list(map(paths.corpus, CONFIG.prompts[w.prompts].corpora())),
    output:
        prompts="results/{study}/prompts/{prompts}/{model}.prompts.parquet",
        pairs="results/{study}/prompts/{prompts}/{model}.pairs.parquet",
    log:
        "logs/{study}/prompts/{prompts}/{model}.log",
    benchmark:
        timed(
            "prompts",
            "logs/{study}/prompts/{prompts}/{model}.benchmark.tsv",
            prompts=STUDY.prompt_sets,
            model=STUDY.models,
        )
    priority: resources.FIRST
    conda:
        "../envs/model.yaml"
    params:
        entry=lambda w: entry("prompts", w.prompts),
        words=lambda w: [
            STUDY.word_list(path).model_dump()
            for path in CONFIG.prompts[w.prompts].lists()
        ],
        bos=lambda w: CONFIG.models[w.model].bos,
        code=code("make_prompts.py"),
    message:
        "Draw the prompts {wildcards.prompts} in the tokens of {wildcards.model}"
    script:
        "../scripts/make_prompts.py"


for each in STUDY.activation_rules():

    rule:
        name:
            each.name
        input:
            models=lambda w: list(map(paths.model, cached(w).refs)),
            prompts=lambda w: paths.prompts(w.study, w.prompts, w.job),
        output:
            activations=each.outputs(
                "results/{study}/activations/{prompts}", "safetensors"
            ),
            checks=each.outputs("results/{study}/activations/{prompts}", "check.json"),
        log:
            each.log("logs/{study}/activations/{prompts}", "log"),
        benchmark:
            timed_jobs(
                "activations",
                each.log("logs/{study}/activations/{prompts}", "benchmark.tsv"),
                each,
            )
        wildcard_constraints:
            prompts=each.of,
            job=each.pattern,
        priority: lambda w: resources.FIRST if CONFIG.prompts[w.prompts].first else 0
        group:
            lambda w: grouped("activations", STUDY.alike(w.job))
        conda:
            "../envs/model.yaml"
        threads: lambda w: resources.threads(STUDY, w.job)
        resources:
            **asking(resources.caching, cached),
        params:
            refs=lambda w: list(cached(w).refs),
            layers=lambda w: [
                STUDY.layers_written(w.prompts, ref) for ref in cached(w).refs
            ],
            compared=lambda w: [
                STUDY.layers_compared(w.prompts, ref) for ref in cached(w).refs
            ],
            dtype=lambda w: STUDY.model(w.job).dtype,
            shape=lambda w: entry("models", paths.split(w.job)[0])["shape"],
            compute=lambda w: resources.compute(STUDY, w.job),
            code=code("cache_activations.py"),
        message:
            "Cache the activations of {wildcards.job} on the prompts {wildcards.prompts}"
        script:
            "../scripts/cache_activations.py"
