"""Command `feint audit`."""

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from feint.cli.app import PROTECT, ApiKeys, app
from feint.cli.common import limit_calls, load_victim, task_of
from feint.errors import BadInput

if TYPE_CHECKING:
    from feint.victims import FromAnswers

UNKNOWN = 3  # exit code where nothing is known


@app.command(group=PROTECT)
def audit(
    victim: str | None = None,
    /,
    *,
    data: str,
    pool: str | None = None,
    outliers: str | None = None,
    pretrained: Path | None = None,
    label: str | None = None,
    defense: tuple[str, ...] = (),
    network: str | None = None,
    url: str | None = None,
    model: str | None = None,
    input: str | None = None,
    output: str | None = None,
    key: ApiKeys = (),
    expect_accuracy: float | None = None,
    price_per_1000: float | None = None,
    currency: str = "",
    max_calls: int | None = None,
    threshold: float | None = None,
    minutes: float = 10.0,
    budget: tuple[int, ...] = (),
    fail_above: tuple[str, ...] = (),
    out: Path | None = None,
    lang: str = "en",
    json: bool = False,
) -> None:
    """Measure what an attacker gets from a model and what each defense changes, and recommend a defense.

    Run the same command again to continue after an interruption. Audit only models of your own, or with their owner's
    permission. The exit code is 0 where advice is given, 1 where a --fail-above is exceeded, 2 after an error, and 3
    where nothing is known: the attacker learned nothing, or results are missing.

    Example: `feint audit runs/victim --data digits --minutes 1`

    Args:
        victim: Model to audit: a model.toml of `feint inspect`, a victim.toml of a JSON API, a v2 server or recorded
            answers, a model's file or directory, or package.module:name.
        data: Labelled samples on which the model was not trained: a data set, a directory, or a .csv, .parquet, .jsonl,
            .npz or .txt file. Half of them fit defenses, half judge models.
        pool: Inputs about which the attacker asks, in the forms of --data, with or without labels; "marginals" for rows
            made up from the statistics of each column, "uniform" for random inputs (default: the data set's pool, or a
            third of the samples).
        outliers: Inputs of another task that you have, in the forms of --data, NAME/test for a part of a data set: a
            test of queries learns from them, where that sees more than other tests. Those of --pool are left out.
        pretrained: Directory of a network of `feint train` that learned another task on inputs of the same shape:
            attackers try its weights as well as new ones.
        label: Column of the label (default: label, target, class or y).
        defense: Candidate: the directory of a fitted defense, a TOML file or a recipe. Repeat the option for several;
            each is tried alone (default: a short list).
        network: Network of the weights in a .safetensors file.
        url: Address of an Open Inference Protocol v2 server, like http://localhost:8080, instead of a model.
        model: Name of the model at --url. What its metadata leave open, its inputs and classes, is read from --data.
        input: The model's input at --url, where its metadata name several or none.
        output: The output at --url that holds the probabilities, where its metadata name several or none.
        key: API key of the server.
        expect_accuracy: Accuracy that the model has on the samples, like 0.93: the audit stops if it has less.
        price_per_1000: Price of 1,000 queries.
        currency: Currency of the price, like USD.
        max_calls: Ceiling on the calls to a model elsewhere. Answers are kept: the next run needs no call for them.
        threshold: Probability from which on an input counts as positive, for a model of two classes.
        minutes: Time that the audit may take. No theft is begun when it is over; run the same command again to
            continue.
        budget: Number of queries that is tried in any case. Repeat the option for several.
        fail_above: Limit like "fidelity@5000=0.85": exit with code 1 if the worst case is above. Checked behind every
            --defense, or without a defense if none is given. Repeat the option for several.
        out: Directory of all results (default: feint-audit/NAME).
        lang: Language, en or zh.
        json: Print JSON.

    Raises:
        KeyboardInterrupt: After Ctrl-C, once the partial findings are written.
    """
    import json as writer

    from feint import report
    from feint.audit import output as files
    from feint.audit import terminal
    from feint.audit.findings import collect
    from feint.audit.gate import GateLimit, violations
    from feint.audit.run import AuditRequest, run
    from feint.audit.text import AuditText
    from feint.cli.terminal import bars
    from feint.recipes.store import check_writable
    from feint.victims import FromAnswers

    text, limits = AuditText(lang), [GateLimit.parse(limit) for limit in fail_above]
    report.check()
    name = _name(victim, url, model)
    folder = out or Path("feint-audit") / name
    check_writable(folder / files.JSON)
    target = (
        _remote_victim(victim, url, model, key, data, label, input, output) if url or not victim
        else load_victim(victim, data, network, label, max_calls=max_calls)
    )  # fmt: skip
    if url and isinstance(target, FromAnswers):
        target.meter.price_per_1000, target.meter.currency = price_per_1000 or 0.0, currency
        limit_calls(url, target.meter, max_calls, known=target.asked)
    if isinstance(target, FromAnswers):
        price_per_1000 = price_per_1000 or target.meter.price_per_1000 or None
        currency = currency or target.meter.currency
    text.currency = currency
    request = AuditRequest(
        data, pool, defense, minutes, tuple(sorted({*budget, *(limit.budget for limit in limits)})), label,
        expect_accuracy, victim or f"{model}", threshold, outliers, pretrained,
    )  # fmt: skip
    announcer = terminal.Announcer(
        text, price=price_per_1000, paid=isinstance(target, FromAnswers),
        show=lambda paragraph: print(paragraph, file=sys.stderr if json else sys.stdout, flush=True),
    )  # fmt: skip
    with bars() as progress:
        done = run(target, request, folder, announce=announcer, progress=progress)
    findings = collect(done, price=price_per_1000)
    typed = f"--url {shlex.quote(url)} --model {shlex.quote(f'{model}')}" if url else shlex.quote(f"{victim}")
    typed += f" --network {shlex.quote(network)}" if network else ""
    typed += f" --max-calls {max_calls}" if max_calls else ""
    table = files.write(folder, name, done, findings, text, typed=typed)
    print(
        writer.dumps(table, ensure_ascii=False) if json
        else terminal.format_audit(name, done, findings, text, folder, table["next"])
    )  # fmt: skip
    if done.interrupted:
        raise KeyboardInterrupt
    if isinstance(target, FromAnswers) and target.gone is not None:
        raise target.gone
    lines = violations(limits, done, list(done.setup.candidates) if defense else ())
    for line in lines:
        print(f"feint: {line}", file=sys.stderr)
    if lines or not findings.known:
        sys.exit(1 if lines else UNKNOWN)


def _name(victim: str | None, url: str | None, model: str | None) -> str:
    """Return the name of the audit and of its directory."""
    return re.sub(r"[^\w.-]+", "-", Path(victim).name if victim and not url else f"{model}").strip("-.")


def _remote_victim(
    victim: str | None,
    url: str | None,
    model: str | None,
    keys: tuple[str, ...],
    data: str,
    label: str | None,
    input: str | None,
    output: str | None,
) -> "FromAnswers":
    """Return the model of a server, whose answers are kept."""
    from feint.client import RemoteService
    from feint.victims.served import keep_answers

    if url is None or model is None or victim is not None:
        expected = "a model, or --url URL --model NAME"
        raise BadInput("no model" if victim is None else "two models", expected, "name one of them, whole")
    domain, classes = task_of(data, label)
    server = RemoteService(url, model=model, keys=keys, input=input, output=output, domain=domain, classes=len(classes))
    return keep_answers(server, input=input or "", output=output or "")
