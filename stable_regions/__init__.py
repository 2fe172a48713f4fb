"""Stable regions in the residual stream of language models: the library behind the workflow.

Functions here take tensors, tables and small typed settings, and return them. They know nothing of
Snakemake, of wildcards or of paths of results: that is the business of `rules/` and `scripts/`.
"""
