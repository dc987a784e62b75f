"""Backends of served models: ONNX, torch, or another server."""
