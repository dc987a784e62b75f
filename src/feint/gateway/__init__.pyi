from .server.service import serve as serve
