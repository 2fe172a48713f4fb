"""What a study runs, on what, in which jobs: without Snakemake and without what loads slowly."""
