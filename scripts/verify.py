"""Verify a finished study, and say what was checked, what could not be, and what is different."""

import tempfile
from pathlib import Path

from _job import job

from stable_regions.audit import manifest, records, verify
from stable_regions.base.errors import UserError

with job(snakemake) as log:
    params = snakemake.params
    results = Path(params.results)
    held = manifest.read(results)
    report = verify.Report()
    verify.check_files(held, results, records.load_records(Path("logs")), report)
    verify.check_crate(held, results, report)
    verify.check_chain(held, report)
    verify.check_inputs(held, report)
    with tempfile.TemporaryDirectory() as scratch:
        verify.check_summaries(held, results, Path(scratch), snakemake.threads, report)
    verify.check_samples(held, results, Path("resources/models"), params.seed, report)
    for line in report.checked:
        log.info("checked: %s", line)
    for line in report.unchecked:
        log.info("could not check: %s", line)
    for line in report.different:
        log.info("different: %s", line)
    if report.different:
        raise UserError(f"{results}: {len(report.different)} differences, named above")
    log.info("%s is what its manifest says, and what its raw outputs and models give", results)
