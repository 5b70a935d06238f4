"""Turn a cloudy Sentinel-2 catalog into a cloud-free image for every day, published as a new STAC collection.

The public names are loaded when they are first used: torch, rasterio and pystac take seconds to import.
"""

import lazy_loader as lazy

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
