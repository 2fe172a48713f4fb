# Figures: each is one module of the library, and the tables it draws.


rule figure:
    input:
        lambda w: tables(STUDY.figure_modules[w.figure].tables),
    output:
        csv="results/{study}/figures/{figure}.csv",
        pdf="results/{study}/figures/{figure}.pdf",
        png=report(
            "results/{study}/figures/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            subcategory=lambda w: STUDY.figure_modules[w.figure].section,
            labels=lambda w: {
                "figure": w.figure,
                "shows": STUDY.figure_modules[w.figure].title,
            },
        ),
    log:
        "logs/{study}/figures/{figure}.log",
    benchmark:
        benchmark_path(
            "figures",
            "logs/{study}/figures/{figure}.benchmark.tsv",
            figure=STUDY.figures,
        )
    wildcard_constraints:
        figure=any_of(STUDY.figure_modules),
    priority: resources.FIRST_FIGURE
    conda:
        "../envs/figures.yaml"
    params:
        module=lambda w: figure_module(w.figure),
        settings=lambda w: STUDY.figure_settings(w.figure),
        code=lambda w: digest("draw_figure.py", figure_module(w.figure)),
    message:
        "Draw {wildcards.figure}"
    script:
        "../scripts/draw_figure.py"
