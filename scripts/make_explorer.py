"""Make the page to explore a study: data and scripts in one file."""

from functools import partial
from html import escape
from importlib.resources import files
from pathlib import Path

from _job import job

from stable_regions.base.files import atomic, read_csv, read_parquet, read_safetensors
from stable_regions.explorer import pack as explorer
from stable_regions.figures import style
from stable_regions.paper.numbers import rows_as_dicts
from stable_regions.prompts.draw import load_tokenizer

with job(snakemake) as log:
    inputs, params = snakemake.input, snakemake.params
    models = read_csv(inputs.models)
    measured = [
        explorer.PathData(name, *read_parquet(raw), read_parquet(prompts)[0])
        for name, raw, prompts in zip(params.paths, inputs.paths, inputs.path_prompts, strict=True)
    ]
    planes = [
        explorer.Plane(name, *read_safetensors(path, framework="numpy"))
        for name, path in zip(params.planes, inputs.planes, strict=True)
    ]
    tables = {
        name: (read_csv(slopes), read_csv(curves))
        for name, slopes, curves in zip(params.series, inputs.slopes, inputs.curves, strict=True)
    }
    maps = [
        explorer.cluster_map(name, read_csv(places), read_csv(entries), read_parquet(prompts)[0])
        for name, places, entries, prompts in zip(
            params.maps, inputs.maps, inputs.entries, inputs.map_prompts, strict=True
        )
    ]
    figures = []
    for figure, path in zip(params.figures, inputs.figures, strict=True):
        table = read_csv(path)
        figures.append(figure | {"rows": len(table), "columns": list(table)})
    token_text = {
        ref: partial(explorer.token_text, load_tokenizer(Path(folder)))
        for ref, folder in zip(params.tokenizers, inputs.tokenizers, strict=True)
    }

    prompts = explorer.Prompts()
    groups = explorer.path_groups(measured, prompts)
    library = files("plotly").joinpath("package_data/plotly.min.js").read_text(encoding="utf-8")
    read = lambda path: Path(path).read_text(encoding="utf-8")  # noqa: E731
    html, script = read(inputs.html), "\n".join(map(read, inputs.scripts))
    frame = {"style": read(inputs.css), "library": library, "script": script}
    frame["allowed"] = explorer.allowed([library, script])
    figures.sort(key=lambda figure: figure["name"])
    data = {
        "study": {"name": snakemake.wildcards.study, "title": params.title},
        "models": rows_as_dicts(models[explorer.MODEL_FACTS]),
        "experiments": params.experiments,
        "prompts": prompts.rows,
        "series": explorer.series(tables, models),
        "maps": maps,
        "figures": figures,
        "colours": style.COLOURS,
        "shades": explorer.shades(),
    }
    room = explorer.LIMIT - sum(len(part.encode()) for part in (html, *frame.values()))
    data = explorer.fit_to_size(data, groups, planes, token_text, room)
    page = explorer.fill(
        html, frame | {"data": explorer.encode(data), "title": escape(params.title)}
    )
    log.info(
        "%d paths, %d planes, %.1f MB",
        sum(len(group["names"]) for group in data["paths"]),
        sum(len(m["texts"]) for group in data["planes"] for m in group["models"]),
        len(page.encode()) / 1e6,
    )
    with atomic(snakemake.output[0]) as target:
        target.write_text(page, encoding="utf-8")
