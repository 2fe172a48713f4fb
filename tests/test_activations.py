"""Activations: the same whatever the budget, which the logits keep to."""

import torch

from stable_regions.experiments.activations import SITES, cache
from stable_regions.models.load import load_model
from stable_regions.models.sweep import batch_rows, clean
from tests.models import make_model
from tests.test_engine import PeakBytes, tokens


def test_the_logits_of_many_prompts_keep_to_the_budget(tmp_path):
    model = load_model(
        make_model(tmp_path, vocab_size=5000), dtype="float32", device="cpu", threads=1
    )
    read = ["resid.0", *SITES]
    budget = 2**20
    assert 1 < batch_rows(model, k=1, seq=7, sites=read, budget=budget) < 30
    prompts = tokens(120)
    with PeakBytes() as memory:
        result = cache(model, prompts.tolist(), [0], budget=budget)
    kept = sum(value.nbytes for value in result.values())
    assert memory.peak <= budget + kept + prompts.nbytes
    whole = clean(model, prompts, [0], sites=SITES, budget=2**30)
    whole["top_token"] = whole.pop("logits").argmax(-1)
    assert result.keys() == whole.keys()
    for name, value in result.items():
        torch.testing.assert_close(value, whole[name])
