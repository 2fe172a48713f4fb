# Summaries: raw outputs of interpolations, and what is known of the models, become tidy tables.

QUOTED |= {name: ["model", "layer", "read_site"] for name in of_kind("interpolation")}
QUOTED |= {
    f"{name}_pairs": []
    for name in of_kind("interpolation")
    if CONFIG.prompts[CONFIG.experiments[name].prompts].kind == "pairs"
}
FIGURES |= {
    "fig2": ["examples_paths"],
    "fig3": ["training", "training_curves", "models"],
    "fig4": ["size", "size_curves", "models"],
    "figA_layers": ["layers", "layers_curves"],
    "figA_sharpness": ["sharpness_curves", "sharpness_pairs"],
}


rule interpolation_tables:
    input:
        raw_outputs,
    output:
        sharpness="results/{study}/tables/{experiment}.csv",
        curves="results/{study}/tables/{experiment}_curves.csv",
        pairs="results/{study}/tables/{experiment}_pairs.csv",
    log:
        "logs/{study}/tables/{experiment}.log",
    benchmark:
        timed(
            "tables",
            "logs/{study}/tables/{experiment}.benchmark.tsv",
            experiment=of_kind("interpolation"),
        )
    wildcard_constraints:
        experiment="|".join(map(re.escape, of_kind("interpolation"))) or "(?!)",
    conda:
        "../envs/figures.yaml"
    params:
        resamples=COMPUTE.bootstrap,
        seed=COMPUTE.seed,
        code=code("summarise.py"),
    message:
        "Summarise {wildcards.experiment}"
    script:
        "../scripts/summarise.py"


rule path_table:
    input:
        raw_outputs,
    output:
        "results/{study}/tables/{experiment}_paths.csv",
    log:
        "logs/{study}/tables/{experiment}_paths.log",
    benchmark:
        timed(
            "tables",
            "logs/{study}/tables/{experiment}_paths.benchmark.tsv",
            experiment=of_kind("interpolation"),
        )
    priority: FIRST
    conda:
        "../envs/figures.yaml"
    params:
        code=code("lay_out_paths.py"),
    message:
        "Lay out each path of {wildcards.experiment}"
    script:
        "../scripts/lay_out_paths.py"


rule model_table:
    input:
        [f"resources/facts/{ref}.json" for ref in study_models()],
    output:
        "results/{study}/tables/models.csv",
    log:
        "logs/{study}/tables/models.log",
    benchmark:
        timed("tables", "logs/{study}/tables/models.benchmark.tsv")
    conda:
        "../envs/figures.yaml"
    params:
        code=code("tabulate_models.py"),
    message:
        "Tabulate the models"
    script:
        "../scripts/tabulate_models.py"


rule loss_table:
    input:
        lambda w: [f"resources/training/{model}" for model in trained_models()],
    output:
        "results/{study}/tables/training_losses.csv",
    log:
        "logs/{study}/tables/training_losses.log",
    benchmark:
        timed("tables", "logs/{study}/tables/training_losses.benchmark.tsv")
    conda:
        "../envs/figures.yaml"
    params:
        models=trained_models(),
        code=code("tabulate_losses.py"),
    message:
        "Tabulate the loss curves"
    script:
        "../scripts/tabulate_losses.py"
