"""One file per figure. Each draws from numbers that were saved, so that a figure can be redrawn without the model."""
