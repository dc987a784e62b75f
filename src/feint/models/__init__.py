"""Networks and their training: what victims, surrogates and defenses are made of."""
