"""Clear pixels by a cloud model: mask_model.py CATALOG W,S,E,N START/END FOLDER.

A mask model is any callable `(bands, resolution) -> mask`: reflectance `(band, y, x)` with 0 where there is no data,
and metres a pixel; it returns a clear mask `(y, x)` (bool), or the probability of cloud from 0 to 1 (float). It is
asked of fixed squares of each scene, and its attributes say what it wants of them. This one wraps OmniCloudMask
(`pip install omnicloudmask`), which downloads its weights when it is first asked. A `torch.nn.Module` is a mask model
by itself, and an installed package can name its own in the entry-point group `spaceeye_stac.masks`.
"""

import sys
import warnings

import numpy as np
import omnicloudmask
from numpy.typing import NDArray

import spaceeye_stac as se

CLEAR = 0  # 1 is thick cloud, 2 thin cloud, 3 cloud shadow


class OmniCloudMask:
    """Clear where OmniCloudMask finds neither cloud nor shadow."""

    bands = ("B04", "B03", "B8A")  # red, green, near infrared; they are read whether or not they are published
    side, halo = 700, 150  # 1000 pixels in all, as it was trained on: 700 are used, the rest is what lies around them
    coarsest = 50.0  # metres
    version = str(getattr(omnicloudmask, "__version__", "unknown"))  # other weights are another run

    def __call__(self, bands: NDArray[np.float32], _resolution: float) -> NDArray[np.bool_]:
        """Ask it of one square."""
        patch = min(1000, *bands.shape[1:])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that small regions, and scenes that end, leave little to see
            classes = omnicloudmask.predict_from_array(bands, patch_size=patch, patch_overlap=min(300, patch // 2))
        return np.asarray(classes[0] == CLEAR)


def seen(scenes: se.SceneList, query: se.Query, settings: se.Settings) -> float:
    """Share of the pixels that are clear on the days with a scene."""
    distance = se.interpolate(scenes, query, settings).clear_distance
    days = sorted({np.datetime64(scene.day) for scene in scenes} & set(distance.time.values.astype("datetime64[D]")))
    return float((distance.sel(time=days) == 0).mean())


if __name__ == "__main__":
    catalog, bbox, when, out = sys.argv[1:5]
    query = se.Query(catalog=catalog, bbox=[float(v) for v in bbox.split(",")], datetime=when, bands=["B02", "B08"])
    settings = se.Settings(mask_model=OmniCloudMask(), mask_dilation=60, collection_id="masked")
    result = se.run(query, settings, out=out)
    print(f"{len(result.days)} days in {result.path}")

    scenes = se.search(query)
    print(f"clear by the scenes' masks {seen(scenes, query, se.Settings()):.3f}")
    print(f"clear by both masks {seen(scenes, query, se.Settings(mask_model=OmniCloudMask())):.3f}")
