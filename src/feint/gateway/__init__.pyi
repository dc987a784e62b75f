from .client.connection import Connection as Connection
from .client.connection import connect as connect
from .serving.service import serve as serve
