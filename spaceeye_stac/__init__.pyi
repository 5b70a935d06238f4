from .days import open_keyframes as open_keyframes
from .engine import Plan as Plan
from .engine import Result as Result
from .engine import plan as plan
from .errors import SpaceEyeError as SpaceEyeError
from .evaluation import Scores as Scores
from .evaluation import evaluate as evaluate
from .methods import Solution as Solution
from .methods import solve as solve
from .model import Scene as Scene
from .pipeline import interpolate as interpolate
from .pipeline import run as run
from .platforms import open as open  # noqa: A004
from .publishing import Report as Report
from .publishing import publish as publish
from .publishing import unpublish as unpublish
from .query import Query as Query
from .resources import Output as Output
from .resources import Resources as Resources
from .settings import Settings as Settings
from .sources import SceneList as SceneList
from .sources import scenes_from_items as scenes_from_items
from .sources import search as search
from .viewing import FilmFile as FilmFile
from .viewing import film as film
from .viewing import series as series

__version__: str
