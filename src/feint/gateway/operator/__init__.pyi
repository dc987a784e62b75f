from .page import routes as routes
from .recording import Operator as Operator
from .recording import opened as opened
