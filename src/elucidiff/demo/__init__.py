"""The study behind ``elucidiff demo``: train on real digits, sample, measure, and explain it all on one page."""
