"""Errors: the drawn tree, and the names that an unknown name is compared with."""

import inspect
import re

from feint import errors
from feint.errors import FeintError, UnknownName


def test_the_drawn_tree_is_that_of_the_classes():
    drawn, branch = {}, []
    for indent, name in re.findall(r"^    ([│├└─ ]*)([A-Z]\w+)", str(errors.__doc__), re.MULTILINE):
        depth = len(indent) // 4
        branch[depth:] = [name]
        drawn[name] = branch[depth - 1] if depth else None
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, FeintError)]
    assert drawn == {kind.__name__: None if kind is FeintError else kind.__mro__[1].__name__ for kind in kinds}


def test_an_unknown_name_is_compared_with_all_of_a_few_names_and_with_the_nearest_of_many():
    few = UnknownName.among("network", "MPL", ["lenet", "mlp"])
    assert str(few) == "got the network 'MPL'; expected one of lenet, mlp; did you mean 'mlp'?"
    many = [f"Name{i}" for i in range(100)] + ["APGP", "APGPClosedForm"]
    assert str(UnknownName.among("name", "apgpp", many)) == (
        "got the name 'apgpp'; expected one of APGP, … (102 in all); did you mean 'APGP'?"
    )
    assert "Name0, Name1, Name10, … (102 in all); choose" in str(UnknownName.among("name", "?", many))
