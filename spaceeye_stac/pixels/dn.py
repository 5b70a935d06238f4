"""DN to reflectance; pure."""

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.model import Scene

FLOOR_REFLECTANCE = 1e-4


def reflectance(values: NDArray[np.uint16], scene: Scene) -> NDArray[np.float32]:
    """(DN + offset / scale) * scale `(band, y, x)` of a scene's bands, band by band: the parts stay in the cache."""
    out = np.empty(values.shape, np.float32)
    for layer, dn, asset in zip(out, values, scene.bands.values(), strict=True):
        # the offset in DN first, a whole number: the same bits whether or not the pixels have it already
        np.add(dn, np.float32(asset.offset / asset.scale), out=layer)
        np.multiply(layer, np.float32(asset.scale), out=layer)
    return out
