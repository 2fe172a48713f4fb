# What a study will take: said by `snakemake plan`, before anything runs.


rule plan:
    log:
        "logs/plan.log",
    localrule: True
    conda:
        "../envs/audit.yaml"
    threads: all_cores
    params:
        study=STUDY,
        title=CONFIG.selected().title,
        gpu=CONFIG.gpu,
        budget_mb=COMPUTE.memory_budget_mb,
        works=planned_work(),
        shapes={name: shape_source(name) for name in model_names()},
        sources=planned_sources(),
        training={
            model: vars(CONFIG.models[model].source.settings())
            for model in trained_models()
        },
        texts_mb=planned_texts(),
        clusters=planned_clusters(),
        python=sys.executable,
        snakefile=str(HERE / "Snakefile"),
        config=dict(config),
    message:
        "Plan the study {STUDY}"
    script:
        "../scripts/plan.py"
