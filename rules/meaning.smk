# What goes with sharpness: interpolations on drawn prompts that read logits, pair by pair.


rule meaning_tables:
    input:
        raw=lambda w: STUDY.raw_outputs(w.experiment),
        prompts=lambda w: STUDY.raw_prompts(w.experiment),
    output:
        slopes="results/{study}/tables/{experiment}_slopes.csv",
        groups="results/{study}/tables/{experiment}_groups.csv",
        examples="results/{study}/tables/{experiment}_examples.csv",
        predictions="results/{study}/tables/{experiment}_predictions.csv",
    log:
        "logs/{study}/tables/{experiment}_meaning.log",
    benchmark:
        timed(
            "tables",
            "logs/{study}/tables/{experiment}_meaning.benchmark.tsv",
            experiment=STUDY.read_for_meaning,
        )
    wildcard_constraints:
        experiment=any_of(STUDY.read_for_meaning),
    conda:
        "../envs/figures.yaml"
    params:
        resamples=COMPUTE.bootstrap,
        seed=COMPUTE.seed,
        code=code("summarise_meaning.py"),
    message:
        "Summarise what goes with sharpness in {wildcards.experiment}"
    script:
        "../scripts/summarise_meaning.py"
