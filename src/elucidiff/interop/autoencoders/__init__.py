"""Other people's autoencoders, a file for each format, read without running anything that is in their files."""

from elucidiff.autoencoders.kept import KeptAutoencoder

__all__ = ["KeptAutoencoder"]
