"""Every output defense is exported to a graph that answers the same, or is refused by its name."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import examples
from tests.support.problems import edge_case_rows, order, simplex_rows

from feint import Defense, Service, export
from feint.defenses.outputs.gated import ranks_kept
from feint.errors import NotExportable
from feint.gateway.backends.onnx_model import OnnxModel
from feint.models.networks import Network

STAYS = {name for name, example in examples.OUTPUTS.items() if not example.exports}
OF_INPUTS = [name for name, example in examples.OUTPUTS.items() if example.exports == "with its model"]
FEW = "APGPClosedForm", "Rounding", "TopK"  # depend most on K
MORE = "APGP half the way", "APGP top-3", "APGPClosedForm cosine", "APGPClosedForm little", "APGPClosedForm floor"


def method(name: str) -> str:
    return type(examples.OUTPUT_CASES[name]).__name__


FIRST = {method(name): name for name in reversed(examples.OUTPUT_CASES)}  # one case of each method
ALL = [*MORE, *(name for it, name in FIRST.items() if it not in STAYS | set(map(method, OF_INPUTS)))]


@pytest.fixture(scope="session")
def graphs(tmp_path_factory):
    """Return a function from a number of classes to the names of a graph's defenses and the graph."""
    made, folder = {}, tmp_path_factory.mktemp("graphs")

    def graph(classes: int):
        if classes not in made:
            names = ALL if classes == 10 else FEW
            export.outputs(
                examples.ladder_of(names, classes), folder / f"{classes}.onnx", classes=classes, gateway=True
            )
            made[classes] = names, OnnxModel(folder / f"{classes}.onnx")
        return made[classes]

    return graph


def check(graph, p: torch.Tensor) -> None:
    names, exported = graph
    for name, q in zip(names, map(torch.from_numpy, exported.run(p.numpy()).rungs), strict=True):
        defense = examples.fitted_output(name, p.shape[-1])
        assert (q - defense(p)).abs().max() <= 1e-5, name
        ranks = int(min(ranks_kept(defense.preserves), p.shape[-1]))
        assert torch.equal(order(q)[:, :ranks], order(p)[:, :ranks]), name


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 10, 100, 1000])
def test_exported_graphs_equal_their_defenses_on_edge_case_rows(graphs, classes):
    check(graphs(classes), edge_case_rows(classes))


@pytest.mark.slow
@given(st.data())
@settings(max_examples=40, deadline=None)
def test_exported_graphs_equal_their_defenses_on_tied_rows(graphs, data):
    p = data.draw(simplex_rows(10))
    if len(p):
        check(graphs(10), p)


@pytest.mark.slow
def test_defenses_that_look_at_inputs_go_with_the_model(tmp_path):
    model = Network("mlp", (1, 2, 2), 10).build(3).eval()
    service = Service(model, examples.ladder_of(OF_INPUTS, 10))
    written = export.onnx(service, tmp_path / "x.onnx", gateway=True)
    x = torch.rand(9, 1, 2, 2, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        p = model(x).softmax(-1)
    for name, q in zip(OF_INPUTS, OnnxModel(written.path).run(x.numpy()).rungs, strict=True):
        np.testing.assert_allclose(q, examples.fitted_output(name, 10)(p, x), atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(STAYS))
def test_defenses_without_a_graph_are_refused_by_name(name, tmp_path):
    service = Service(
        Network("mlp", (1, 2, 2), 10).build(3), Defense(outputs=[examples.fitted_output(FIRST[name], 10)])
    )
    with pytest.raises(NotExportable, match=name) as refused:
        export.onnx(service, tmp_path / "x.onnx")
    assert ("--for gateway" if name == "Marked" else "torch") in str(refused.value)
    assert "secret" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []
