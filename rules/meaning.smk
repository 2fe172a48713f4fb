# What goes with sharpness: interpolations on drawn prompts that read logits, pair by pair.

READ_FOR_MEANING = [
    name
    for name in of_kind("interpolation")
    if CONFIG.experiments[name].logits
    and CONFIG.prompts[CONFIG.experiments[name].prompts].kind != "pairs"
]
FIGURES |= {
    "figA_meaning": ["meaning_slopes", "controls_slopes", "meaning_predictions"]
}
for name in READ_FOR_MEANING:
    QUOTED |= {
        f"{name}_groups": ["model", "layer", "grouping", "group", "measure"],
        f"{name}_predictions": ["model", "layer", "measure"],
        f"{name}_examples": [],
    }


rule meaning_tables:
    input:
        raw=raw_outputs,
        prompts=raw_prompts,
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
            experiment=READ_FOR_MEANING,
        )
    wildcard_constraints:
        experiment="|".join(map(re.escape, READ_FOR_MEANING)) or "(?!)",
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
