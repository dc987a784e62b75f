from . import access as access
from . import boundary as boundary
from . import inputs as inputs
from . import outputs as outputs
from . import scores as scores
