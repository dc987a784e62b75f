from .client import Connection as Connection
from .client import connect as connect
from .serving import serve as serve
