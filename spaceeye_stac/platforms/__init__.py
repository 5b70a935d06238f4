"""What runs this package elsewhere: as a backend of xarray, in openEO, as a STAC task, and the like.

In: what a platform hands over. Out: what it expects back. The core imports none of it.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
