"""Open Inference Protocol v2, for servers and clients: messages, tensors, codecs, statuses and the client. No torch."""
