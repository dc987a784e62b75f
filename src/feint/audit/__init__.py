"""The audit: what a thief gets of a model, what each defense changes, and which to deploy."""
