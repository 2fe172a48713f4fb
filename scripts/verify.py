"""Verify a finished study, and report what was checked, what could not be, and what differs."""

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
    report.tell()
    verify.check_crate(recorded, results, report)
    verify.check_chain(recorded, report)
    verify.check_inputs(recorded, report)
    report.tell()
    with tempfile.TemporaryDirectory() as scratch:
        verify.check_summaries(recorded, results, Path(scratch), snakemake.threads, report)
    report.tell()
    verify.check_samples(recorded, results, Path("resources/models"), params.seed, report)
    report.tell()
    for line in report.checked:
        log.info("checked: %s", line)
    for line in report.unchecked:
        log.info("could not check: %s", line)
    if report.different:
        raise UserError(f"{results}: {len(report.different)} differences, listed above")
    log.info("%s matches its manifest, its raw outputs and its models", results)
