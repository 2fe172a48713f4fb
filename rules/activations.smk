# Prompts in each model's tokens, and the activations of one clean pass over them.


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
        benchmark_path(
            "prompts",
            "logs/{study}/prompts/{prompts}/{model}.benchmark.tsv",
            prompts=STUDY.prompt_sets,
            model=STUDY.models,
        )
    priority: resources.FIRST_FIGURE
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
            models=lambda w: list(map(paths.model, activation_job(w).refs)),
            tokenizer=lambda w: STUDY.tokenizer_folder(w.job),
            prompts=lambda w: paths.prompts(w.study, w.prompts, w.job),
        output:
            activations=each.outputs(
                "results/{study}/activations/{prompts}", "safetensors"
            ),
            checks=each.outputs("results/{study}/activations/{prompts}", "check.json"),
        log:
            each.log("logs/{study}/activations/{prompts}", "log"),
        benchmark:
            benchmark_jobs(
                "activations",
                each.log("logs/{study}/activations/{prompts}", "benchmark.tsv"),
                each,
            )
        wildcard_constraints:
            prompts=each.of,
            job=each.pattern,
        priority: lambda w: resources.caching_priority(STUDY, w.prompts, w.job)
        group:
            lambda w: grouped("activations", STUDY.alike(w.job))
        conda:
            "../envs/model.yaml"
        threads: lambda w: resources.threads(STUDY, w.job)
        resources:
            **scheduler_resources(resources.caching, activation_job),
        params:
            refs=lambda w: list(activation_job(w).refs),
            write_layers=lambda w: [
                STUDY.write_layers(w.prompts, ref) for ref in activation_job(w).refs
            ],
            clean_layers=lambda w: [
                STUDY.clean_layers(w.prompts, ref) for ref in activation_job(w).refs
            ],
            dtype=lambda w: STUDY.model(w.job).dtype,
            shape=lambda w: entry("models", paths.split_ref(w.job)[0])["shape"],
            compute=lambda w: resources.compute(STUDY, w.job),
            code=code("cache_activations.py"),
        message:
            "Cache the activations of {wildcards.job} on the prompts {wildcards.prompts}"
        script:
            "../scripts/cache_activations.py"
