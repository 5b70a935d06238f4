"""States to a store.

In: what is solved of each cell and window. Out: the keyframes, on disk or in memory, from which any day is one blend
away; and by what they are known to be finished.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
