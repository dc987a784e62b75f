"""Seeds by name."""

import numpy as np


def named_seed(name: str, seed: int) -> int:
    """Return the seed from which the trainings of this name draw, where `seed` is given.

    Two networks of one architecture and one seed begin with the same weights. A copy, an innocent or a public network
    that begins with the victim's weights is none.

    Args:
        name: Name of the role.
        seed: The seed that a user chose, 0 or more.

    Returns:
        A seed below 2^32, which another name or seed has by chance alone.
    """
    return int(np.random.SeedSequence((seed, int.from_bytes(name.encode()))).generate_state(1)[0])
