"""How well methods give back what was hidden from them, and how good the film of every day is.

In: scenes. Out: `Scores` on clear pixels that were hidden on purpose and of all days, and pictures of them.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
