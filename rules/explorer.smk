# The page to explore: raw outputs and tables of the study in one HTML file.

PATHS, PLANES = (
    [(name, ref) for name in STUDY.on_page(what) for ref in STUDY.experiments[name]]
    for what in ("paths", "planes")
)
SERIES, MAPS = STUDY.on_page("series"), STUDY.on_page("maps")
# The page's scripts; each may use those before it.
SCRIPTS = ["tools", "pairs", "series", "planes", "clusters", "figures", "start"]


rule explorer:
    input:
        html=HERE / "explorer" / "page.html",
        css=HERE / "explorer" / "page.css",
        scripts=[HERE / "explorer" / f"{name}.js" for name in SCRIPTS],
        paths=[STUDY.raw(*each) for each in PATHS],
        path_prompts=[STUDY.prompts(*each) for each in PATHS],
        planes=[STUDY.raw(*each) for each in PLANES],
        tokenizers=list(map(STUDY.tokenizer_folder, STUDY.predicting)),
        models="results/{study}/tables/models.csv",
        slopes=tables(SERIES),
        curves=tables(f"{name}_curves" for name in SERIES),
        maps=tables(f"{name}_map" for name in MAPS),
        entries=tables(f"{name}_entries" for name in MAPS),
        map_prompts=[STUDY.prompts(name, STUDY.experiments[name][0]) for name in MAPS],
        figures=expand("results/{{study}}/figures/{name}.csv", name=STUDY.figures),
    output:
        "results/{study}/explorer.html",
    log:
        "logs/{study}/explorer.log",
    benchmark:
        "logs/{study}/explorer.benchmark.tsv"
    conda:
        "../envs/figures.yaml"
    params:
        title=lambda w: CONFIG.studies[w.study].title,
        paths=[name for name, _ in PATHS],
        planes=[name for name, _ in PLANES],
        series=SERIES,
        maps=MAPS,
        tokenizers=STUDY.predicting,
        experiments={
            name: {
                "kind": STUDY.entry(name).kind,
                "folder": f"{STUDY.entry(name).folder}/{name}",
            }
            for name in STUDY.experiments
        },
        figures=[
            {"name": name, "title": STUDY.figure_modules[name].title, "tables": drawn}
            for name, drawn in STUDY.figures.items()
        ],
        sha256=lambda w, input: list(
            map(sha256, [input.html, input.css, *input.scripts])
        ),
        code=code("make_explorer.py"),
    message:
        "Make the page to explore"
    script:
        "../scripts/make_explorer.py"
