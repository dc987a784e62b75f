"""A server of Open Inference Protocol v2 as an attack, an audit or a notebook meets it."""
