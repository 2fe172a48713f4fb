"""Pack a finished study for a repository of research data; nothing is sent anywhere."""

from pathlib import Path

from _job import job

from stable_regions.audit import deposit, manifest, records, verify
from stable_regions.base.errors import UserError
from stable_regions.base.files import write_json

with job(snakemake) as log:
    params = snakemake.params
    results, target = Path(params.results), Path(params.target)
    content = manifest.read(results)
    report = verify.Report()
    verify.check_files(content, results, records.load_records(Path("logs")), report)
    verify.check_crate(content, results, report)
    if report.different:
        more = f" ({len(report.different)} differences)" if len(report.different) > 1 else ""
        raise UserError(f"{report.different[0]}{more}: nothing is packed; see `snakemake verify`")
    count = deposit.write_archive(target, results, content, raw=params.raw)
    facts = deposit.describe(results, content)
    write_json(target.with_suffix(".zenodo.json"), deposit.zenodo(facts))
    write_json(target.with_suffix(".inveniordm.json"), deposit.inveniordm(facts))
    log.info("%s: %d files, %.0f MB", target, count, target.stat().st_size / 1e6)
