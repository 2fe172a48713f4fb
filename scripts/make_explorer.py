"""Make the page to explore a study: everything it shows, and what shows it, in one file."""

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
    given, params = snakemake.input, snakemake.params
    models = read_csv(given.models)
    measured = [
        explorer.PathData(name, *read_parquet(raw), read_parquet(prompts)[0])
        for name, raw, prompts in zip(params.paths, given.paths, given.path_prompts, strict=True)
    ]
    planes = [
        explorer.Plane(name, *read_safetensors(path, framework="numpy"))
        for name, path in zip(params.planes, given.planes, strict=True)
    ]
    tables = {
        name: (read_csv(slopes), read_csv(curves))
        for name, slopes, curves in zip(params.series, given.slopes, given.curves, strict=True)
    }
    maps = [
        explorer.cluster_map(name, read_csv(places), read_csv(entries), read_parquet(prompts)[0])
        for name, places, entries, prompts in zip(
            params.maps, given.maps, given.entries, given.map_prompts, strict=True
        )
    ]
    figures = []
    for figure, path in zip(params.figures, given.figures, strict=True):
        drawn = read_csv(path)
        figures.append(figure | {"rows": len(drawn), "columns": list(drawn)})
    token_text = {
        ref: partial(explorer.token_text, load_tokenizer(Path(folder)))
        for ref, folder in zip(params.tokenizers, given.tokenizers, strict=True)
    }

    prompts = explorer.Prompts()
    groups = explorer.path_groups(measured, prompts)
    library = files("plotly").joinpath("package_data/plotly.min.js").read_text(encoding="utf-8")
    read = lambda path: Path(path).read_text(encoding="utf-8")  # noqa: E731
    html, script = read(given.html), "\n".join(map(read, given.scripts))
    frame = {"style": read(given.css), "library": library, "script": script}
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
    with atomic(snakemake.output[0]) as made:
        made.write_text(page, encoding="utf-8")
