"""Attacks, which train a surrogate on an oracle's answers, and lenses.

Any attack looks through any lens.
"""

from feint.attacks.attack import Attack, LensedAttack
from feint.attacks.data_free.dfme import DFME, MAZE, Differences
from feint.attacks.data_free.dfms import DFMSHL
from feint.attacks.data_free.loop import HalfCosine, LoopConfig, MultiStep
from feint.attacks.data_free.statistics import Marginals, Uniform
from feint.attacks.lenses.averaging import Averaged, Smoothed
from feint.attacks.lenses.detector_probing import DetectorProbing
from feint.attacks.lenses.evasion import Filler, LowAndSlow, Sybil
from feint.attacks.lenses.known_parameters import KnownParameters
from feint.attacks.lenses.labels import HardLabels, RankTargets, Sharpened
from feint.attacks.lenses.lens import Lens, PointwiseLens
from feint.attacks.lenses.near_copies import NearCopies
from feint.attacks.lenses.partial_bayes import PartialBayes, PartialBayesBound
from feint.attacks.lenses.recovered import Recovered
from feint.attacks.lenses.subtracted import Subtracted
from feint.attacks.lenses.timing import Timing
from feint.attacks.parametric.equation_solving import EquationSolving
from feint.attacks.parametric.label_path_finding import LabelPathFinding
from feint.attacks.parametric.lowd_meek import LowdMeek
from feint.attacks.parametric.path_finding import PathFinding
from feint.attacks.parametric.retraining import Retraining
from feint.attacks.parametric.top_down import TopDownPathFinding
from feint.attacks.pool.active_thief import ActiveThief
from feint.attacks.pool.disguise import Blended, Disguise, Pasted, RaisedEnergy
from feint.attacks.pool.evasive import Evasive
from feint.attacks.pool.knockoff import KnockoffNets
from feint.attacks.pool.knockoff_adaptive import KnockoffNetsAdaptive
from feint.attacks.pool.n_grams import NGramQueries
from feint.attacks.pool.selection import DFAL, DFALThenKCentre, KCentre, Selection, Uncertainty
from feint.attacks.pool.tuned import Tuned
from feint.attacks.surrogates import Surrogate, default_surrogates, default_training
from feint.attacks.synthetic.augmentations import (
    Augmentation,
    AwayFromLabel,
    JacobianRow,
    LogitRow,
    NextClasses,
    RandomTargets,
)
from feint.attacks.synthetic.augmented_seeds import AugmentedSeeds
from feint.attacks.synthetic.jbda import JBDA
from feint.attacks.synthetic.seed_samples import SeedSamples
from feint.attacks.tuning import tune

__all__ = [
    "DFAL",
    "DFME",
    "DFMSHL",
    "JBDA",
    "MAZE",
    "ActiveThief",
    "Attack",
    "Augmentation",
    "AugmentedSeeds",
    "Averaged",
    "AwayFromLabel",
    "Blended",
    "DFALThenKCentre",
    "DetectorProbing",
    "Differences",
    "Disguise",
    "EquationSolving",
    "Evasive",
    "Filler",
    "HalfCosine",
    "HardLabels",
    "JacobianRow",
    "KCentre",
    "KnockoffNets",
    "KnockoffNetsAdaptive",
    "KnownParameters",
    "LabelPathFinding",
    "Lens",
    "LensedAttack",
    "LogitRow",
    "LoopConfig",
    "LowAndSlow",
    "LowdMeek",
    "Marginals",
    "MultiStep",
    "NGramQueries",
    "NearCopies",
    "NextClasses",
    "PartialBayes",
    "PartialBayesBound",
    "Pasted",
    "PathFinding",
    "PointwiseLens",
    "RaisedEnergy",
    "RandomTargets",
    "RankTargets",
    "Recovered",
    "Retraining",
    "SeedSamples",
    "Selection",
    "Sharpened",
    "Smoothed",
    "Subtracted",
    "Surrogate",
    "Sybil",
    "Timing",
    "TopDownPathFinding",
    "Tuned",
    "Uncertainty",
    "Uniform",
    "default_surrogates",
    "default_training",
    "tune",
]
