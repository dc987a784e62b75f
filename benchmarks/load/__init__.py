"""The gateway under load and faults: `python -m benchmarks.load [NAME …]` writes results/load.json."""
