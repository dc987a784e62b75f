from .client import Connection as Connection
from .client import connect as connect
