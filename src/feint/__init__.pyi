from . import attacks as attacks
from . import data as data
from . import defenses as defenses
from . import export as export
from . import networks as networks
from . import runners as runners
from . import victims as victims
from .evaluation import metrics as metrics
from .evaluation.matrix import Matrix as Matrix
from .gateway import connect as connect
from .oracle import Oracle as Oracle
from .query import Answer as Answer
from .query import Query as Query
from .service import Defense as Defense
from .service import Service as Service
from .training import Training as Training
from .training import train as train

__version__: str
