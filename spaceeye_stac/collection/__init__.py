"""Rasters of days to STAC.

In: the files of each day. Out: items and a collection, as documents in the folder of a run.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
