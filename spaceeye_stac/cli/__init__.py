"""The command `spaceeye-stac`.

In: what a user types. Out: what the package does, printed. It parses, calls and prints; nothing imports it.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
