from .serving.service import serve as serve
