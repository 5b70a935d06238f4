"""A finished run to what people look at: series of fields, films, a report, and the page of the server.

In: a run's folder. Out: tables, pictures and pages; nothing of the run itself is changed by them.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
