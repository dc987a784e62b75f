"""Attacks: they hold an oracle and inputs of their own, and return the surrogate that they trained."""

from feint.attacks.active_thief import ActiveThief
from feint.attacks.adversarial import Game, HalfCosine, MultiStep
from feint.attacks.attack import Attack, Through
from feint.attacks.augmentations import (
    Augmentation,
    AwayFromLabel,
    JacobianRow,
    LogitRow,
    NextClasses,
    RandomTargets,
)
from feint.attacks.data_free import DFME, MAZE, Differences
from feint.attacks.dfms import DFMSHL
from feint.attacks.equation_solving import EquationSolving
from feint.attacks.evasive import Evasive
from feint.attacks.jbda import JBDA
from feint.attacks.knockoff import KnockoffNets
from feint.attacks.knockoff_adaptive import KnockoffNetsAdaptive
from feint.attacks.known_parameters import KnownParameters
from feint.attacks.label_path_finding import LabelPathFinding
from feint.attacks.lenses import Lens, Pointwise
from feint.attacks.lowd_meek import LowdMeek
from feint.attacks.partial_bayes import PartialBayes, PartialBayesBound
from feint.attacks.path_finding import PathFinding
from feint.attacks.readings import HardLabels, RankTargets, Sharpened
from feint.attacks.recovered import Recovered
from feint.attacks.repeats import Averaged, Smoothed
from feint.attacks.retraining import Retraining
from feint.attacks.seed_samples import SeedSamples
from feint.attacks.selection import DFAL, DFALThenKCentre, KCentre, Selection, Uncertainty
from feint.attacks.tactics import LowAndSlow, Sybil
from feint.attacks.timing import Timing
from feint.attacks.tuned import Tuned

__all__ = [
    "DFAL",
    "DFME",
    "DFMSHL",
    "JBDA",
    "MAZE",
    "ActiveThief",
    "Attack",
    "Augmentation",
    "Averaged",
    "AwayFromLabel",
    "DFALThenKCentre",
    "Differences",
    "EquationSolving",
    "Evasive",
    "Game",
    "HalfCosine",
    "HardLabels",
    "JacobianRow",
    "KCentre",
    "KnockoffNets",
    "KnockoffNetsAdaptive",
    "KnownParameters",
    "LabelPathFinding",
    "Lens",
    "LogitRow",
    "LowAndSlow",
    "LowdMeek",
    "MultiStep",
    "NextClasses",
    "PartialBayes",
    "PartialBayesBound",
    "PathFinding",
    "Pointwise",
    "RandomTargets",
    "RankTargets",
    "Recovered",
    "Retraining",
    "SeedSamples",
    "Selection",
    "Sharpened",
    "Smoothed",
    "Sybil",
    "Through",
    "Timing",
    "Tuned",
    "Uncertainty",
]
