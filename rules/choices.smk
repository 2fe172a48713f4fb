# Does it depend on the choices? The same pairs, with one choice changed at a time.


rule choices_table:
    input:
        lambda w: STUDY.raw_outputs(w.experiment),
    output:
        effects="results/{study}/tables/{experiment}.csv",
        steps="results/{study}/tables/{experiment}_steps.csv",
    log:
        "logs/{study}/tables/{experiment}.log",
    benchmark:
        timed(
            "tables",
            "logs/{study}/tables/{experiment}.benchmark.tsv",
            experiment=STUDY.of_kind("choices"),
        )
    wildcard_constraints:
        experiment=any_of(STUDY.of_kind("choices")),
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
