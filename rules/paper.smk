# The paper: its source, and everything it shows, from the results.

# The tables of single pairs that the text's judgements resample.
JUDGED = [
    f"{name}_pairs" for name in ("size", "training", "layers") if name in EXPERIMENTS
]


rule numbers:
    input:
        tables=lambda w: [
            f"results/{w.study}/tables/{table}.csv" for table in study_tables()
        ],
        pairs=expand("results/{{study}}/tables/{table}.csv", table=JUDGED),
        models="results/{study}/tables/models.csv",
        claims="results/{study}/claims.json",
        checks=load_checks(),
    output:
        "results/{study}/numbers.json",
    log:
        "logs/{study}/numbers.log",
    benchmark:
        timed("tables", "logs/{study}/numbers.benchmark.tsv")
    conda:
        "../envs/figures.yaml"
    params:
        title=lambda w: CONFIG.studies[w.study].title,
        experiments={name: entry("experiments", name) for name in EXPERIMENTS},
        prompts={
            CONFIG.experiments[name].prompts: entry(
                "prompts", CONFIG.experiments[name].prompts
            )
            for name in EXPERIMENTS
        },
        trained_on={
            model: CONFIG.tokenizers[CONFIG.models[model].source.tokenizer].corpora
            for model in trained_models()
        },
        like={
            ref: model_of(ref).source.like
            for ref in study_models()
            if model_of(ref).source.kind == "random"
        },
        bos=[ref for ref in study_models() if model_of(ref).bos],
        tables={table: QUOTED[table] for table in study_tables()},
        pairs=JUDGED,
        compute=COMPUTE.model_dump(),
        drawn={"resamples": COMPUTE.bootstrap, "seed": COMPUTE.seed},
        figures=study_figures(),
        code=code("collect_numbers.py"),
    message:
        "Collect the numbers of the paper"
    script:
        "../scripts/collect_numbers.py"


rule paper:
    input:
        main=HERE / "paper" / "paper.typ",
        parts=sorted((HERE / "paper").rglob("*.*")),
        numbers="results/{study}/numbers.json",
        figures=lambda w: [
            f"results/{w.study}/figures/{figure}.pdf" for figure in study_figures()
        ],
    output:
        report(
            "results/{study}/paper.pdf",
            caption="../report/paper.rst",
            category="Paper",
            labels={"part": "the paper"},
        ),
    log:
        "logs/{study}/paper.log",
    benchmark:
        "logs/{study}/paper.benchmark.tsv"
    conda:
        "../envs/paper.yaml"
    params:
        timed=TIMED,
        code=code("set_paper.py"),
    message:
        "Set the paper"
    script:
        "../scripts/set_paper.py"
