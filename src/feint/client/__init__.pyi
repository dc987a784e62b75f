from .remote_service import RemoteService as RemoteService
from .remote_service import connect as connect
