from .filming import FilmFile as FilmFile
from .filming import film as film
from .report import draw_report as draw_report
