from .comparison import evaluate as evaluate
from .comparison import summary as summary
from .hidden import KIND_TITLES as KIND_TITLES
from .plots import picture as picture
from .scores import Scores as Scores
