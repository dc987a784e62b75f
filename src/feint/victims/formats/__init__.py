"""Raw models by format: files, directories, estimators and functions."""
