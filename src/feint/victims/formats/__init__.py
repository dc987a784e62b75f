"""Raw models by format: files, directories, estimators, functions."""
