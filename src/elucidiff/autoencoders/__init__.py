"""Autoencoders: pictures to latents and back, so that a model of latents is one of pictures.

::

    autoencoder = ed.autoencoders.open_autoencoder("taef2")     # a folder with encoder.onnx and decoder.onnx, say
    latents = autoencoder.encode(ed.data.to_unit(pictures))     # (B, c, h, w)
    pictures = ed.data.to_uint8(autoencoder.decode(latents))
"""

from elucidiff.autoencoders.base import Autoencoder, latent_shape, open_autoencoder
from elucidiff.autoencoders.kept import KeptAutoencoder

__all__ = ["Autoencoder", "KeptAutoencoder", "latent_shape", "open_autoencoder"]
