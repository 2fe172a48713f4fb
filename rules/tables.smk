# Summaries: raw outputs of interpolations, and what is known of the models, become tidy tables.


rule interpolation_tables:
    input:
        lambda w: STUDY.raw_outputs(w.experiment),
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
            experiment=STUDY.of_kind("interpolation"),
        )
    wildcard_constraints:
        experiment=any_of(STUDY.of_kind("interpolation")),
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
        lambda w: STUDY.raw_outputs(w.experiment),
    output:
        "results/{study}/tables/{experiment}_paths.csv",
    log:
        "logs/{study}/tables/{experiment}_paths.log",
    benchmark:
        timed(
            "tables",
            "logs/{study}/tables/{experiment}_paths.benchmark.tsv",
            experiment=STUDY.of_kind("interpolation"),
        )
    priority: resources.FIRST
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
        list(map(paths.facts, STUDY.refs)),
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
        list(map(paths.training, STUDY.trained)),
    output:
        "results/{study}/tables/training_losses.csv",
    log:
        "logs/{study}/tables/training_losses.log",
    benchmark:
        timed("tables", "logs/{study}/tables/training_losses.benchmark.tsv")
    conda:
        "../envs/figures.yaml"
    params:
        models=list(STUDY.trained),
        code=code("tabulate_losses.py"),
    message:
        "Tabulate the loss curves"
    script:
        "../scripts/tabulate_losses.py"
