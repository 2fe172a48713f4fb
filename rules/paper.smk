# The paper: typeset from its source and the results.


rule numbers:
    input:
        tables=tables(STUDY.paper_tables),
        pairs=tables(STUDY.pair_tables),
        models="results/{study}/tables/models.csv",
        claims="results/{study}/claims.json",
        checks=STUDY.load_checks(),
    output:
        "results/{study}/numbers.json",
    log:
        "logs/{study}/numbers.log",
    benchmark:
        benchmark_path("tables", "logs/{study}/numbers.benchmark.tsv")
    conda:
        "../envs/figures.yaml"
    params:
        title=lambda w: CONFIG.studies[w.study].title,
        experiments={name: entry("experiments", name) for name in STUDY.experiments},
        prompts={name: entry("prompts", name) for name in STUDY.activation_jobs},
        trained_on={
            name: source.corpora(CONFIG) for name, source in STUDY.trained.items()
        },
        like=STUDY.twins,
        bos=STUDY.with_bos,
        tables=STUDY.paper_tables,
        pairs=STUDY.pair_tables,
        compute=COMPUTE.model_dump(),
        drawn={"resamples": COMPUTE.bootstrap, "seed": COMPUTE.seed},
        figures=list(STUDY.figures),
        figure_map=[
            {"name": name, "original": figure.original, "shows": figure.shows}
            for name, figure in STUDY.figure_modules.items()
        ],
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
            f"results/{w.study}/figures/{figure}.pdf" for figure in STUDY.figures
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
        benchmarks=BENCHMARKS,
        sha256=lambda w, input: list(map(sha256, [input.main, *input.parts])),
        code=code("typeset_paper.py"),
    message:
        "Typeset the paper"
    script:
        "../scripts/typeset_paper.py"
