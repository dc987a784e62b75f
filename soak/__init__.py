"""The gateway under load and faults: `python -m soak [NAME …]` writes results/soak.json."""
