"""AMAO, one method from all four rooms (Jiang, Li, Xu, Zhang and Lu, IEEE TDSC 2024).

Adversarial training makes the victim (`boundary.AdversarialTraining`), and a detector marks clients. Marked clients get
flipped labels that depend on what the input looks like (`outputs.LabelFlip`). A copy of these answers is recognised by
the flips: `feint.ownership.flips` makes a mark of them.
"""

from feint.defense import Defense, Detector, Ladder
from feint.defenses.outputs.label_flip import LabelFlip


def amao(detector: Detector, flip: LabelFlip, *, shadow: bool = False) -> Ladder:
    """Return the ladder of AMAO: clean answers until the detector accuses, flipped labels from then on.

    The model behind it is the adversarially trained one: `AdversarialTraining().retrain(victim, data.train).model`.

    Args:
        detector: Source of the evidence.
        flip: The harsh answer.
        shadow: Whether evidence is recorded only, and every answer stays clean.

    Returns:
        A ladder of two rungs.
    """
    return Ladder([detector], [Defense(), Defense(outputs=[flip])], shadow=shadow)
