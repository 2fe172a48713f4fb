"""Make the folder of a model on the hub, or of its configuration and tokenizer alone."""

from pathlib import Path

from _job import job

from stable_regions.base.files import atomic, write_json
from stable_regions.models.facts import model_row
from stable_regions.sources import hub
from stable_regions.sources.packages import describe

with job(snakemake) as log:
    params, output = snakemake.params, snakemake.output
    entry, revision = params.entry, params.revision
    source = entry["source"]
    facts = {"source": source, "family": entry["family"], "licence": entry["licence"]}
    is_named = revision == source["revision"]
    if is_named and source["tokens"] is not None:
        facts["tokens"] = source["tokens"]
    with atomic(output.folder) as folder:
        folder.mkdir()
        commit = hub.fetch_model(
            source["repository"],
            source["commit"] if is_named and source["commit"] else revision,
            folder,
            weights=params.weights,
            private_cache=Path(params.private_cache) if params.private_cache else None,
        )
        log.info("%s at %s is commit %s", source["repository"], revision, commit)
        describe(folder, **facts, revision=revision, commit=commit)
        hub.check_hashes(folder)
        row = model_row(params.ref, folder) if params.weights else None
    if row is not None:
        write_json(output.facts, row)
