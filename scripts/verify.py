"""Verify a finished study, and say what was checked, what could not be, and what is different."""

import tempfile
from pathlib import Path

from _job import job

from stable_regions.audit import manifest, records, verify
from stable_regions.base.errors import UserError

with job(snakemake) as log:
    params = snakemake.params
    results = Path(params.results)
    recorded = manifest.read(results)
    report = verify.Report()
    verify.check_files(recorded, results, records.load_records(Path("logs")), report)
    verify.check_crate(recorded, results, report)
    verify.check_chain(recorded, report)
    verify.check_inputs(recorded, report)
    with tempfile.TemporaryDirectory() as scratch:
        verify.check_summaries(recorded, results, Path(scratch), snakemake.threads, report)
    verify.check_samples(recorded, results, Path("resources/models"), params.seed, report)
    for line in report.checked:
        log.info("checked: %s", line)
    for line in report.unchecked:
        log.info("could not check: %s", line)
    for line in report.different:
        log.info("different: %s", line)
    if report.different:
        raise UserError(f"{results}: {len(report.different)} differences, named above")
    log.info("%s is what its manifest says, and what its raw outputs and models give", results)
