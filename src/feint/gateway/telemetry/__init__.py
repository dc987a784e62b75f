"""Metrics, traces, logs and the audit log of a gateway.

All of them are made from the records of requests.
"""
