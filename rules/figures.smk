# Figures: each is one module of the library, and the tables it draws.


# The pairs that Figure 2 shows as similar ones.
SIMILAR = (
    [
        name
        for name, pair in getattr(
            CONFIG.prompts[CONFIG.experiments["examples"].prompts], "pairs", {}
        ).items()
        if pair.similar
    ]
    if "examples" in EXPERIMENTS
    else []
)


rule figure:
    input:
        lambda w: [
            f"results/{w.study}/tables/{table}.csv" for table in FIGURES[w.figure]
        ],
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
            labels=lambda w: {"figure": w.figure, "shows": figure_title(w.figure)},
        ),
    log:
        "logs/{study}/figures/{figure}.log",
    benchmark:
        timed(
            "figures",
            "logs/{study}/figures/{figure}.benchmark.tsv",
            figure=study_figures(),
        )
    wildcard_constraints:
        figure="|".join(FIGURES) or "(?!)",
    priority: FIRST
    conda:
        "../envs/figures.yaml"
    params:
        settings=lambda w: {"similar": SIMILAR} if w.figure == "fig2" else {},
        drawing=lambda w: code_digest(
            HERE / "stable_regions" / "figures" / f"{w.figure}.py"
        ),
        code=code("draw_figure.py"),
    message:
        "Draw {wildcards.figure}"
    script:
        "../scripts/draw_figure.py"
