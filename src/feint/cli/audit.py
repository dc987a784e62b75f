"""`feint audit`."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from feint.cli.app import Defenses, app
from feint.cli.common import load_victim
from feint.errors import BadInput

if TYPE_CHECKING:
    from feint.victims import FromAnswers

Several = Parameter(negative=(), consume_multiple=False)


@app.command
def audit(
    victim: str | None = None,
    /,
    *,
    data: str,
    pool: str | None = None,
    defense: Defenses = (),
    network: str | None = None,
    probabilities: bool = False,
    url: str | None = None,
    model: str | None = None,
    key: Annotated[tuple[str, ...], Parameter(negative=(), consume_multiple=False, env_var="FEINT_KEY")] = (),
    price_per_1000: float | None = None,
    minutes: float = 10.0,
    budget: Annotated[tuple[int, ...], Several] = (),
    fail_above: Annotated[tuple[str, ...], Several] = (),
    out: Path | None = None,
    lang: str = "en",
    json: bool = False,
) -> None:
    """What a thief gets of a model, what each defense would change, and which to deploy.

    Interrupted, the same command continues. You may only audit what is yours, or whose owner asked you to.

    Example: `feint audit runs/victim --data digits --minutes 1`

    Parameters
    ----------
    victim
        The model: a victim's directory, NAME.onnx, NAME.skops (scikit-learn), NAME.safetensors with its --network, or
        package.module:factory, which makes a torch module; from pixels in [0, 1] to logits.
    data
        Labelled samples that the model was not trained on: a data set, a directory of `CLASS/*.png` or `*.parquet`, or
        an .npz with images and labels. Half of them fit defenses, half judge.
    pool
        What a thief would ask about, as --data, with labels or without (default: the data set's pool, or a third of the
        samples).
    defense
        A candidate: the directory of a fitted defense, a TOML file or a recipe; several can be given, each is tried
        by itself (default: a short list).
    network
        The network that weights in a .safetensors file belong to.
    probabilities
        The model returns probabilities, not logits.
    url
        Instead of a model, an Open Inference Protocol v2 server, like http://localhost:8080, and its
    model
        by its name there.
    key
        An API key of the server. FEINT_KEY in the environment says the same.
    price_per_1000
        What 1,000 queries cost a client.
    minutes
        How long it may take here. No theft is begun when they are over; the same command continues.
    budget
        A number of queries that is tried in any case; several can be given.
    fail_above
        Exit with code 1 where the worst case is above, like "fidelity@5000=0.85". Judged behind every --defense, or
        without one where none is given; several can be given.
    out
        Where everything is kept (default: feint-audit/NAME).
    lang
        en or zh.
    json
        Print JSON for machines.
    """
    import json as writer

    from feint import report
    from feint.audit import output, terminal
    from feint.audit.findings import collect
    from feint.audit.gate import GateLimit, above
    from feint.audit.run import AuditRequest, run
    from feint.audit.text import AuditText
    from feint.cli.terminal import bars
    from feint.victims import FromAnswers

    say, limits = AuditText(lang), [GateLimit.parse(it) for it in fail_above]
    report.check()
    name = _name(victim, url, model)
    folder = out or Path("feint-audit") / name
    target = (
        _behind(victim, url, model, key, folder)
        if url or not victim
        else load_victim(victim, data, network, probabilities)
    )
    budgets = tuple(sorted({*budget, *(it.budget for it in limits)}))
    request = AuditRequest(data, pool, defense, minutes, budgets)
    with bars() as progress:
        done = run(
            target, request, folder, progress=progress,
            told=lambda it: None if json else print(terminal.plan(it, say), flush=True),
        )  # fmt: skip
    findings = collect(done, price=price_per_1000)
    table = output.write(folder, name, done, findings, say)
    print(writer.dumps(table, ensure_ascii=False) if json else terminal.screen(name, done, findings, say, folder))
    if done.interrupted:
        raise KeyboardInterrupt
    if isinstance(target, FromAnswers) and target.gone is not None:
        raise target.gone
    lines = above(limits, done.results, list(done.work.tried) if defense else (), done.missing)
    for line in lines:
        print(f"feint: {line}", file=sys.stderr)
    if lines:
        sys.exit(1)


def _name(victim: str | None, url: str | None, model: str | None) -> str:
    """What the audit and its directory are called."""
    return re.sub(r"[^\w.-]+", "-", Path(victim).name if victim and not url else f"{model}").strip("-.")


def _behind(
    victim: str | None, url: str | None, model: str | None, keys: tuple[str, ...], folder: Path
) -> "FromAnswers":
    """The model of a server; what it answered is kept in the audit's directory."""
    from feint.client import RemoteService
    from feint.recipes.recipe import short_hash
    from feint.victims import FromAnswers

    if url is None or model is None or victim is not None:
        known = "a model, or --url URL --model NAME"
        raise BadInput("no model" if victim is None else "two models", known, "name one of them, whole")
    server = RemoteService(url, model=model, keys=keys)
    ask = server.oracle(budget=sys.maxsize).try_ask
    kept = folder / ".work" / "endpoint" / short_hash(server.name)
    return FromAnswers(ask, name=server.name, shape=server.shape, classes=server.classes, folder=kept)
