"""Fuzzing of whatever reads bytes of others: `make fuzz` runs all of it and writes results/fuzz.json."""
