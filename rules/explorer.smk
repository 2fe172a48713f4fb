# The page to explore: raw outputs and tables of the whole study, in one file for a browser.

PATHS = [
    (name, ref)
    for name in [*of_kind("interpolation"), *of_kind("polytopes")]
    for ref in EXPERIMENTS[name]
]
PLANES = [(name, ref) for name in of_kind("plane") for ref in EXPERIMENTS[name]]
# The models that predictions were read of, whose tokens the page names.
PREDICTING = list(
    dict.fromkeys(
        ref
        for name in of_kind("interpolation")
        for ref in EXPERIMENTS[name]
        if CONFIG.experiments[name].logits
    )
)
# The page's scripts, in the order in which they build on each other.
SCRIPTS = ["tools", "pairs", "series", "planes", "clusters", "figures", "start"]


rule explorer:
    input:
        html=HERE / "explorer" / "page.html",
        css=HERE / "explorer" / "page.css",
        scripts=[HERE / "explorer" / f"{name}.js" for name in SCRIPTS],
        paths=[f"{raw_folder(name)}/{ref}.parquet" for name, ref in PATHS],
        path_prompts=[
            prompt_file(STUDY, CONFIG.experiments[name].prompts, ref)
            for name, ref in PATHS
        ],
        planes=[f"{raw_folder(name)}/{ref}.safetensors" for name, ref in PLANES],
        tokenizers=[tokenizer_folder(settings.split(ref)[0]) for ref in PREDICTING],
        models="results/{study}/tables/models.csv",
        slopes=expand(
            "results/{{study}}/tables/{name}.csv", name=of_kind("interpolation")
        ),
        curves=expand(
            "results/{{study}}/tables/{name}_curves.csv", name=of_kind("interpolation")
        ),
        maps=expand("results/{{study}}/tables/{name}_map.csv", name=of_kind("pairwise")),
        entries=expand(
            "results/{{study}}/tables/{name}_entries.csv", name=of_kind("pairwise")
        ),
        map_prompts=[
            prompt_file(STUDY, CONFIG.experiments[name].prompts, EXPERIMENTS[name][0])
            for name in of_kind("pairwise")
        ],
        figures=expand("results/{{study}}/figures/{name}.csv", name=study_figures()),
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
        series=of_kind("interpolation"),
        maps=of_kind("pairwise"),
        tokenizers=PREDICTING,
        experiments={
            name: {
                "kind": CONFIG.experiments[name].kind,
                "folder": raw_folder(name).removeprefix(f"results/{STUDY}/"),
            }
            for name in EXPERIMENTS
        },
        figures=[
            {"name": name, "title": figure_title(name), "tables": FIGURES[name]}
            for name in study_figures()
        ],
        code=code("make_explorer.py"),
    message:
        "Make the page to explore"
    script:
        "../scripts/make_explorer.py"
