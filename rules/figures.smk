# Figures: each is one module of the library, and the tables it draws.


rule figure:
    input:
        lambda w: tables(FIGURES[w.figure]),
    output:
        csv="results/{study}/figures/{figure}.csv",
        pdf="results/{study}/figures/{figure}.pdf",
        png=report(
            "results/{study}/figures/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            subcategory=lambda w: (
                "appendix" if w.figure.startswith("figA") else "as in the original"
            ),
            labels=lambda w: {
                "figure": w.figure,
                "shows": STUDY.figure_title(w.figure),
            },
        ),
    log:
        "logs/{study}/figures/{figure}.log",
    benchmark:
        timed(
            "figures",
            "logs/{study}/figures/{figure}.benchmark.tsv",
            figure=STUDY.figures,
        )
    wildcard_constraints:
        figure=any_of(FIGURES),
    priority: resources.FIRST
    conda:
        "../envs/figures.yaml"
    params:
        drawing=lambda w: digest(f"stable_regions/figures/{w.figure}.py"),
        code=code("draw_figure.py"),
    message:
        "Draw {wildcards.figure}"
    script:
        "../scripts/draw_figure.py"
