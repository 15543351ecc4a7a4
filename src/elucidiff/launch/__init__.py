"""Processes that work on one thing together, in training and in sampling: how they meet, part and are stopped."""
