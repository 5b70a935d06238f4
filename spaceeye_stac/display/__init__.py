"""How objects show themselves in notebooks and terminals: HTML that escapes what it is made of, maps, short lines.

In: names, values and outlines. Out: HTML and text; nothing here knows what it shows.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
