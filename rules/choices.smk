# Does it depend on the choices? The same pairs, with one choice changed at a time.

FIGURES |= {"figA_choices": ["choices"]}
for name in of_kind("choices"):
    QUOTED |= {name: [], f"{name}_steps": []}


for experiment, job, refs in runs("choices"):

    rule:
        name:
            f"choices_{experiment}_{job}"
        input:
            **choices_inputs(experiment, refs),
        output:
            [f"{raw_folder(experiment)}/{ref}.parquet" for ref in refs],
        log:
            f"logs/{STUDY}/choices/{experiment}/{job}.log",
        benchmark:
            timed(
                "choices",
                f"logs/{STUDY}/choices/{experiment}/{job}.benchmark.tsv",
            )
        priority: priority_of(experiment)
        group:
            grouped("measure", job)
        conda:
            "../envs/model.yaml"
        threads: threads_of(job)
        resources:
            **measuring_resources(experiment, job, refs),
        params:
            name=experiment,
            refs=refs,
            entry=entry("experiments", experiment),
            pairs=pair_count(experiment),
            dtype=model_of(job).dtype,
            compute=compute_of(job),
            code=code("compare_choices.py"),
        message:
            f"Change one choice at a time: {experiment}, {job}"
        script:
            "../scripts/compare_choices.py"


rule choices_table:
    input:
        lambda w: [
            f"results/{w.study}/choices/{w.experiment}/{ref}.parquet"
            for ref in EXPERIMENTS[w.experiment]
        ],
    output:
        effects="results/{study}/tables/{experiment}.csv",
        steps="results/{study}/tables/{experiment}_steps.csv",
    log:
        "logs/{study}/tables/{experiment}.log",
    benchmark:
        timed(
            "tables",
            "logs/{study}/tables/{experiment}.benchmark.tsv",
            experiment=of_kind("choices"),
        )
    wildcard_constraints:
        experiment="|".join(map(re.escape, of_kind("choices"))) or "(?!)",
    conda:
        "../envs/figures.yaml"
    params:
        resamples=COMPUTE.bootstrap,
        seed=COMPUTE.seed,
        code=code("summarise_choices.py"),
    message:
        "Summarise {wildcards.experiment}"
    script:
        "../scripts/summarise_choices.py"
