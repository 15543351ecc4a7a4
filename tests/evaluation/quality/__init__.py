"""Quality figures: extractors, references, errors, and what can go wrong."""
