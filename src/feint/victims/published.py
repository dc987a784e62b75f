"""Published weights of the CIFAR ResNets, from an .npz file of their arrays in the order of the layers.

The arrays are those of github.com/akamaster/pytorch_resnet_cifar10 (option-A shortcuts, inputs normalised with the
ImageNet constants). They are matched with Feint's layers by order and shape, since the names differ.
"""

import zipfile
from pathlib import Path

import numpy as np
import torch

from feint.errors import DamagedFile, MissingData
from feint.models.networks import Classifier, Network


def load_published(path: Path | str, network: Network) -> Classifier:
    """Return `network` with the weights of an .npz file, in evaluation mode.

    Args:
        path: File with one array for each tensor of the network, in the order of the layers.
        network: The network.

    Raises:
        MissingData: There is no such file.
        DamagedFile: The file is broken, or its arrays have other shapes.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingData(f"{path}, which is not there", "an .npz file of weights", "check the path")
    model = network.build()
    layers = {name: layer for name, layer in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            published = [arrays[name] for name in arrays.files]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DamagedFile(f"{path} ({error})", "an .npz file without pickles", "fetch it again") from error
    if [array.shape for array in published] != [tuple(layer.shape) for layer in layers.values()]:
        raise DamagedFile(f"{path}, whose arrays do not fit", f"the {len(layers)} of {network.name}", "check the name")
    for layer, array in zip(layers.values(), published, strict=True):
        layer.copy_(torch.from_numpy(array))
    return model.eval()
