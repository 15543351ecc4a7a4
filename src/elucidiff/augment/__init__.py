r"""Non-leaking augmentation for training on few images (Karras et al. 2022, App. F.2; Karras et al. 2020, "ADA").

A diffusion model that trains for long on few images memorises them. Geometric augmentation multiplies the data, but a
network trained on turned pictures also *generates* turned pictures: the augmentation leaks. The paper's remedy is to
tell the network what was done. Every image is transformed with parameters w drawn at random, the network gets a label
computed from them, and all-zero labels mean "nothing was done": sampling with zeros (or without augmentation labels)
gives upright images. ::

    augment = ed.augment.Augment.paper(p=0.12)
    network = ed.networks.UNet.ddpmpp(..., augment_dim=augment.label_dim)
    images, labels = augment.apply(images, augment.draw(len(images), generator))

Each option is a multiplier m (0: off). An image keeps the transform with probability min(m p, 1), else its w is 0.
They run in this order, and so do the label columns. W and H are the width and height, y points down.

==============  ==================  ======================================================  ==========================
option          w                   effect                                                  label columns
==============  ==================  ======================================================  ==========================
xflip           0 or 1              mirror left-right                                       w
yflip           0 or 1              mirror top-bottom                                       w
rotate_int      0, 1, 2, 3          w quarter turns counter-clockwise (square images)       [w in 1, 2], [w in 2, 3]
translate_int   U(-1, 1) twice      shift by i = round(w0 W max) pixels to the right and    i / (W max), j / (H max)
                                    j = round(w1 H max) up; the border reflects
scale           N(0, 1)             enlarge by 2^(w std)                                    w
rotate_frac     U(-pi, pi) max      turn by w radians counter-clockwise                     cos w - 1, sin w
aniso           N(0, 1), and        stretch by 2^(w std) along the x axis turned by r       w cos r, w sin r
                r: U(-pi, pi)       counter-clockwise, by 2^(-w std) across it
translate_frac  N(0, 1) twice       shift by w0 W std pixels to the right, w1 H std down    w0, w1
brightness      N(0, 1)             add w std                                               w
contrast        N(0, 1)             multiply by 2^(w std)                                   w
lumaflip        0 or 1              reverse the component along the grey axis               w
hue             U(-pi, pi) max      turn the colours about the grey axis by w radians       cos w - 1, sin w
saturation      N(0, 1)             multiply the distance from the grey axis by 2^(w std)   w
imgfilter       N(0, 1) four times  multiply octave bands of frequency by 2^(w std), the    w0, w1, w2, w3
                                    expected power kept; each band has its own gate
==============  ==================  ======================================================  ==========================

``scale`` to ``translate_frac`` together are one affine map for each image, and one resampling: see
:mod:`elucidiff.augment.geometry`. The colour transforms are one matrix for each image: see
:mod:`elucidiff.augment.colour`. For the filters see :mod:`elucidiff.augment.colour`.

**What is on.** :meth:`Augment.paper` switches on the paper's set (its Table 6): both flips, scale, rotate_frac, aniso
and translate_frac, nine label columns. The gate of the left-right mirror always passes: half of all images are
mirrored.

**What is off, and why.** ADA, made for the discriminators of GANs, also changes colours, filters images and corrupts
them with noise and cut-outs. For denoisers the paper found colour corruption and image-space filtering harmful. That
is plausible: a mirrored or turned picture still shows shapes and textures that the data have. A recoloured one has
another mean and variance, and a filtered one another amount of detail, which is just what a denoiser must know at
high and at low noise; the network then spends capacity on statistics that no sample shall have. The colour transforms
and the filters are here for experiments, and for data whose colours or sharpness carry no meaning; corruption by
noise and cut-outs is left out.
``rotate_int`` and ``translate_int`` add little to their sub-pixel kin, but they are exact, for data that must not be
resampled.

Images are two-dimensional here, in any number of channels (colour: grey or RGB), float32 or float64, on any device.
"""

from __future__ import annotations

from elucidiff.augment.base import Augmentation
from elucidiff.augment.pipeline import Augment

__all__ = ["Augment", "Augmentation"]
