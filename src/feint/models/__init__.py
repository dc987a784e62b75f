"""Networks, their training and their storage.

Victims, surrogates and defenses share them.
"""
