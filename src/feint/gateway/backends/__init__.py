"""Where a served model is: a graph in this process, torch, or another server; each is a line."""
