"""Open Inference Protocol v2, for servers and clients.

Messages, tensors, codecs, statuses and the client, without torch.
"""
