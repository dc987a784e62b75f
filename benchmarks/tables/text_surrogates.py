"""What the linear surrogates of texts learn from sentences of Wikipedia, each by itself: which one a tuning can choose.

No suite: the victims are files of other libraries.
"""

from functools import partial
from itertools import product

from benchmarks.tables.models import ACCESS, BUDGETS, answers, queries, victim
from benchmarks.tables.rows import Jobs, Row
from feint import victims
from feint.evaluation import metrics
from feint.models.networks import Network
from feint.models.training import Training, learn
from feint.progress import ProgressCallback

VICTIMS = "SMS spam, TF-IDF", "IMDB, TF-IDF"
SURROGATES = "ngrams", "bag_of_words"


def jobs(progress: ProgressCallback) -> Jobs:
    """What each surrogate learns of each victim, from probabilities and from labels."""
    for name, surrogate, access, budget in product(VICTIMS, SURROGATES, ACCESS[:2], BUDGETS[1:]):
        yield f"{name}-{surrogate}-{access}-{budget}", partial(theft, name, surrogate, access, budget)


def theft(name: str, surrogate: str, access: str, budget: int) -> Row:
    """Return the scores of one theft."""
    model, texts = victim(name)
    x = queries(texts, "pool", budget)
    p = answers(model, texts, access, x)
    stolen = learn(Network(surrogate, texts.domain, p.shape[1]), x, p, Training())
    clean = victims.answers(model, texts.test)
    scores = metrics.theft(metrics.StolenAnswers(victims.answers(stolen, texts.test), clean, texts.test.labels))
    about = {"victim": name, "surrogate": surrogate, "access": access, "budget": budget, "seed": 0}
    return about | {"same_label": p.argmax(1).bincount().max().item() / budget, "n_test": len(texts.test), **scores}
