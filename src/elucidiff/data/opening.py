"""Open a data set by its name or path."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace

import numpy as np

from elucidiff.data.dataset import Dataset
from elucidiff.data.finding import find
from elucidiff.data.pairing import GivenCondition, paired
from elucidiff.data.reading import AS_USUAL, Reading


def open(
    source: str | os.PathLike[str],
    *,
    labels: bool = True,
    max_size: int | None = None,
    random_seed: int = 0,
    xflip: bool = False,
    reading: Reading | None = None,
    condition: GivenCondition | None = None,
) -> Dataset:
    """Open a data set, and check all of it that can be checked without decoding every image.

    ``source`` is one of

    * a name: ``digits`` (in scikit-learn), ``mnist``, ``fashion-mnist``, ``cifar10``, ``cifar100``. The latter
      four are looked for in ``$ELUCIDIFF_DATA`` (else ``~/.cache/elucidiff``) and fetched to there if they are
      missing. Their training part is opened; ``:test`` or ``:all`` after the name chooses another;
    * a folder or ``.zip`` of images (PNG, JPEG, WebP, GIF, BMP, DIB, PPM, PFM, TIFF, AVIF, JPEG 2000), all of one
      size, in the order of their names, with labels from ``dataset.json`` (as NVlabs' dataset_tool writes it),
      ``metadata.jsonl``, ``metadata.csv`` or ``labels.csv``, or classes from sub-folders. Folders called train, val
      and test are parts: the first is opened, and ``:test``, ``:val`` or ``:all`` after the name chooses another;
    * a folder with idx files, as MNIST comes; ``:test`` and ``:all`` work here too;
    * a folder that :func:`elucidiff.data.import_dataset` wrote;
    * a ``.npy`` file, or a ``.npz`` file or folder of ``.npy`` files with arrays of usual names: ``images``, ``x``,
      ``data``, ``arr_0`` ..., and perhaps ``labels``, ``y``, ``target``, ``arr_1`` ...; with ``x_train``, ``x_test``
      and the like, or ``train/images.npy``, ``:train``, ``:val``, ``:test`` or ``:all`` after the path choose a part.
      Images are
      ``(N, C, *spatial)``, uint8 or floating point; the latter keep their type and values. Where the lengths of the
      axes suggest it, channels are taken to be last, ``(N, H, W, C)``, or missing, ``(N, H, W)``; truth values are
      black and white, and whole numbers of wider types levels of as many bits as are in use. Labels are classes,
      integers ``(N,)`` of any values, which become the classes' names unless they are 0 to K - 1, or text; or
      vectors, floating point ``(N, label_dim)``; what might be either is refused;
    * a folder or ``.zip`` of ``.npy`` files with an image each, laid out like one of pictures;
    * a ``.parquet`` file or a folder of them, with columns ``image`` and perhaps ``label``, as Hugging Face's
      ``datasets`` writes them, or with lists of pixels (import them before training, for reading them at random is
      slow);
    * a ``.csv`` file with a picture a row and a column a pixel, and perhaps a column ``label``;
    * an idx file by itself, with the labels beside it.

    Nothing is unpickled. A relative path that is also a name must begin with ``./``.

    Args:
        source: name or path.
        labels: False to leave the labels out.
        max_size: keep at most this many images, drawn at random.
        random_seed: of that draw.
        xflip: follow the images by all of them mirrored left-right.
        reading: which reading to take where several are possible.
        condition: where the conditions are, fields that images are to be made for: the name or path of another data
            set, matched by the names of the files without their suffixes (``night/007.png`` is that of
            ``day/007.jpg``), or by order where these are arrays; or what makes them of the images, ``downsample:4``,
            ``grayscale``, ``mask:0.25`` or a part of your own; or ``column:NAME``, another array of the same ``.npz``
            or column of the same Parquet files. By default those that an imported set has; ``none`` leaves them out.

    What was left out, and which of several readings was taken, is warned of (:class:`UserWarning`).

    Raises:
        OSError: nothing is there, or it cannot be read.
        ValueError: it is damaged, or not a data set; the message names the file.

    >>> import elucidiff as ed
    >>> digits = ed.data.open("digits")
    >>> len(digits), digits.shape, digits.label_dim
    (1797, (1, 8, 8), 10)
    """
    if max_size is not None and max_size < 1:
        raise ValueError(f"max_size is {max_size}, but must be at least 1")
    if not 0 <= random_seed < 2**32:
        raise ValueError(f"random_seed is {random_seed}, but must be in 0..{2**32 - 1}")
    reading = reading or AS_USUAL
    contents = find(source, reading=reading if labels else replace(reading, labels_from="none"))
    contents = paired(contents, source, condition, reading=reading)
    for note in contents.notes:
        warnings.warn(note, stacklevel=2)
    if xflip and contents.originals is not None:
        raise ValueError(f"{contents.name} holds latents, which are not mirrored as pictures are: leave xflip out")
    dataset = Dataset(
        contents.name,
        contents.source,
        contents.labels,
        expected=contents.sha256,
        notes=contents.notes,
        conditions=contents.conditions,
        originals=contents.originals,
    )
    if not labels:
        dataset = dataset.without_labels()
    if max_size is not None and max_size < len(dataset):
        # The draw of the reference implementation; NumPy keeps this stream the same for ever.
        order = np.arange(len(dataset))
        np.random.RandomState(random_seed).shuffle(order)
        dataset = dataset.select(np.sort(order[:max_size]))
    return dataset.with_mirror_images() if xflip else dataset
