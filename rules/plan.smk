# An estimate of what a study takes, printed by `snakemake plan`.
from dataclasses import asdict

# What the study asks of each model, as plain values.
ASKED = dict(
    works=list(map(asdict, work.works(STUDY))),
    shapes={name: shape and shape.model_dump() for name, shape in STUDY.shapes.items()},
)


rule plan:
    log:
        "logs/plan.log",
    localrule: True
    conda:
        "../envs/audit.yaml"
    threads: all_cores
    params:
        **ASKED,
        study=STUDY.name,
        title=CONFIG.selected().title,
        gpu=CONFIG.gpu,
        budget_mb=COMPUTE.memory_budget_mb,
        sources={name: asdict(taken) for name, taken in work.sources(STUDY).items()},
        training={
            name: vars(source.settings()) for name, source in STUDY.trained.items()
        },
        texts_mb=work.texts(STUDY),
        tabulating=work.tabulating(STUDY),
        python=sys.executable,
        snakefile=str(HERE / "Snakefile"),
        config=dict(config),
        forks=forks(workflow),
    message:
        "Plan the study {STUDY.name}"
    script:
        "../scripts/plan.py"


# Whether a GPU gives the study's numbers, and how fast: on the first model of the first experiment.
FIRST, (FIRST_REF, *_) = next(iter(STUDY.experiments.items()))


rule:
    name:
        "gpu-check"
    input:
        model=paths.model(FIRST_REF),
        prompts=paths.prompts(STUDY.name, STUDY.entry(FIRST).prompts, FIRST_REF),
    log:
        "logs/gpu-check.log",
    localrule: True
    conda:
        "../envs/model.yaml"
    threads: all_cores
    params:
        **ASKED,
        ref=FIRST_REF,
        layer=STUDY.entry(FIRST).layers[0],
        dtype=STUDY.model(FIRST_REF).dtype,
        compute=resources.compute(STUDY, FIRST_REF),
    message:
        "Check the GPU on {FIRST_REF}"
    script:
        "../scripts/check_gpu.py"
