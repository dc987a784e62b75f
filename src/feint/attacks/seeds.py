"""Seeds of attackers."""

import numpy as np

ATTACKER = 0x61747461  # "atta": what separates an attacker's random choices from those of a victim with the same seed


def attacker_seed(seed: int) -> int:
    """Return the seed from which an attacker draws where `seed` is given.

    A victim and a surrogate of one network and one seed would begin with the same weights, which no attacker has. With
    them copies of Fashion-MNIST by labels were claimed at e-values of 10^4.2, and without them not at all.
    """
    return int(np.random.SeedSequence((seed, ATTACKER)).generate_state(1)[0])
