"""Side-by-side comparisons. Both sides are measured in one run, interleaved; what counts is the ratio of medians."""
