"""Decision-boundary perturbation, offline: `(model, data) -> model`.

The new model is served in place of the old one.
"""

from feint.defenses.boundary.adversarial_training import AdversarialTraining
from feint.defenses.boundary.boundary import Boundary, Retrained
from feint.defenses.boundary.boundary_confusion import BoundaryConfusion
from feint.defenses.boundary.boundary_protection import BoundaryProtection
from feint.defenses.boundary.class_feature_watermark import ClassFeatureWatermark
from feint.defenses.boundary.margin_watermark import MarginWatermark
from feint.defenses.boundary.nasty_teacher import NastyTeacher
from feint.defenses.boundary.outlier_exposure import OutlierExposure

__all__ = [
    "AdversarialTraining",
    "Boundary",
    "BoundaryConfusion",
    "BoundaryProtection",
    "ClassFeatureWatermark",
    "MarginWatermark",
    "NastyTeacher",
    "OutlierExposure",
    "Retrained",
]
