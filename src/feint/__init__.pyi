from . import attacks as attacks
from . import data as data
from . import defenses as defenses
from . import export as export
from . import runners as runners
from . import victims as victims
from .bench.matrix import Matrix as Matrix
from .client import connect as connect
from .evaluation import metrics as metrics
from .models import networks as networks
from .models.training import Training as Training
from .models.training import train as train
from .oracle import Oracle as Oracle
from .query import Answer as Answer
from .query import Query as Query
from .service import Defense as Defense
from .service import Service as Service

__version__: str
