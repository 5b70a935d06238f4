from .filming import Film as Film
from .filming import film as film
from .report import draw_report as draw_report
