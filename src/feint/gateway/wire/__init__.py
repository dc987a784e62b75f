"""Open Inference Protocol v2, the server's side: bytes to what is asked, and answers to bytes."""
