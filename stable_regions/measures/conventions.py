"""Conventions that tables, figures and the text share, each defined once."""

# The paper's groups of max slopes (appendix G): below the first, above the second.
LOW, HIGH = 1.2, 10.0
# How the prompts of a crossed pair differ.
DIFFERS = ("context", "last token", "both")
WHISKERS = (0.05, 0.95)  # quantiles of a box's ends
SMOOTHED = 20  # training losses that a drawn one is the mean of
NAMED = 0.03  # share of a plane's points that a token needs to be named
EMBEDDING = -1  # as a write layer: the residual stream that the first block reads
