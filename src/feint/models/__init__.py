"""Networks, their training, and their storage, for victims, surrogates and defenses alike."""
