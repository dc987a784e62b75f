"""What the linear surrogates of texts learn from sentences of Wikipedia, each by itself: which one a tuning can choose.

No suite: the victims are files of other libraries.
"""

from functools import partial

from benchmarks.tables.models import ACCESS, BUDGETS, answers, queries, victim
from benchmarks.tables.rows import Jobs, Row
from feint import victims
from feint.attacks import default_surrogates
from feint.evaluation import metrics
from feint.models.training import learn
from feint.progress import ProgressCallback
from feint.signature import Text

VICTIMS = "SMS spam, TF-IDF", "IMDB, TF-IDF"


def jobs(progress: ProgressCallback) -> Jobs:
    """What each surrogate learns of each victim, from probabilities and from labels."""
    fitted = [each for each in default_surrogates(Text(64), 2) if each.network.architecture.at_once]
    for name in VICTIMS:
        for surrogate in (each.network.name for each in fitted):
            for access in ACCESS[:2]:
                for budget in BUDGETS[1:]:
                    yield f"{name}-{surrogate}-{access}-{budget}", partial(theft, name, surrogate, access, budget)


def theft(name: str, surrogate: str, access: str, budget: int) -> Row:
    """Return the scores of one theft."""
    model, texts = victim(name)
    x = queries(texts, "pool", budget)
    p = answers(model, texts, access, x)
    chosen = next(each for each in default_surrogates(texts.domain, p.shape[1]) if each.network.name == surrogate)
    stolen = learn(chosen.network, x, p, chosen.training)
    clean = victims.answers(model, texts.test)
    scores = metrics.theft(metrics.StolenAnswers(victims.answers(stolen, texts.test), clean, texts.test.labels))
    about = {"victim": name, "surrogate": surrogate, "access": access, "budget": budget, "seed": 0}
    return about | {"same_label": p.argmax(1).bincount().max().item() / budget, "n_test": len(texts.test), **scores}
