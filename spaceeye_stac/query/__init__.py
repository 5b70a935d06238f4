"""What the user asks for.

In: a region, days and bands in whatever way they are written. Out: a Query, checked when it is made.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
