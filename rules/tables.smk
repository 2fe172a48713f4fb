# Raw outputs of experiments, and facts about the models, become tidy tables.


for kind, made, experiments in STUDY.table_rules():

    rule:
        name:
            made.rule
        input:
            raw=lambda w: STUDY.raw_outputs(w.experiment),
            prompts=(lambda w: STUDY.raw_prompts(w.experiment)) if made.prompts else [],
        output:
            [
                f"results/{{study}}/tables/{name}.csv"
                for name in made.names("{experiment}")
            ],
        log:
            f"logs/{{study}}/tables/{{experiment}}.{made.rule}.log",
        benchmark:
            benchmark_path(
                "tables",
                f"logs/{{study}}/tables/{{experiment}}.{made.rule}.benchmark.tsv",
                experiment=experiments,
            )
        wildcard_constraints:
            experiment=any_of(experiments),
        priority: resources.FIRST_FIGURE if made.first else 0
        group:
            "tables"
        conda:
            "../envs/figures.yaml"
        params:
            what=made.what,
            module=kind.module(made.module),
            function=made.function,
            resamples=COMPUTE.bootstrap,
            seed=COMPUTE.seed,
            code=code("make_tables.py", kind.module(made.module)),
        message:
            f"{made.does} {{wildcards.experiment}}"
        script:
            "../scripts/make_tables.py"


rule model_table:
    input:
        facts=list(map(paths.facts, STUDY.refs)),
        losses=["results/{study}/tables/training_losses.csv"] if STUDY.trained else [],
    output:
        "results/{study}/tables/models.csv",
    log:
        "logs/{study}/tables/models.log",
    benchmark:
        benchmark_path("tables", "logs/{study}/tables/models.benchmark.tsv")
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
        benchmark_path("tables", "logs/{study}/tables/training_losses.benchmark.tsv")
    conda:
        "../envs/figures.yaml"
    params:
        models=list(STUDY.trained),
        code=code("tabulate_losses.py"),
    message:
        "Tabulate the loss curves"
    script:
        "../scripts/tabulate_losses.py"
