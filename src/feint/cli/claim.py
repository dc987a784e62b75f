"""Command `feint claim`."""

import datetime
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from feint.cli.app import OWN, ApiKeys, app
from feint.cli.common import limit_calls, load_victim, require_at_least
from feint.cli.out import continued
from feint.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from torch import nn

    from feint.oracle import Oracle
    from feint.ownership.claim import Claim
    from feint.ownership.mark import Mark
    from feint.paid.meter import Meter
    from feint.signature import Domain
    from feint.transcript import Transcript

NO_CLAIM = 1
TRANSCRIPT = "transcript.safetensors"


@app.command(group=OWN)
def claim(
    suspect: str,
    /,
    *,
    mark: Path,
    controls: Path,
    ledger: Path | None = None,
    appeared: str | None = None,
    model: str | None = None,
    key: ApiKeys = (),
    network: str | None = None,
    tsa_root: Path | None = None,
    alpha: float = 1e-3,
    most_false: float = 0.05,
    fdr: float | None = None,
    budget: int = 1000,
    suspects: int = 1,
    price_per_1000: float = 0.0,
    currency: str = "",
    out: Path | None = None,
    lang: str = "en",
    json: bool = False,
) -> None:
    """Ask a suspect about a mark by labels alone, and say whether it is a copy.

    The suspect is compared with innocent controls. There is a claim only with a commitment that is older than the
    suspect, controls enough to bound false claims, and controls that agree with the mark seldom. Exit codes: 0 for
    evidence of a copy, 1 for no claim, 2 for an error.

    Example: `feint claim runs/stolen --mark runs/marked --controls runs/controls --ledger ownership.db`

    Args:
        suspect: A model's file or directory, a victim.toml of a model elsewhere, the address of an Open Inference
            Protocol server with its --model, or a .csv, .parquet or .jsonl of answers to `feint questions`.
        mark: Directory that `feint mark` wrote, or `feint ledger marks`: then the claim names the accounts whose marked
            answers the suspect learned.
        controls: Directory of innocent models, as `feint controls` writes it.
        ledger: Ledger of commitments, as `feint commit` writes it.
        appeared: When the suspect appeared, like 2026-12-01 or 2026-12-01T10:00, in UTC.
        model: Name of the model at the address.
        key: API key of the server.
        network: Network of the weights in a .safetensors file.
        tsa_root: Root certificate of the time-stamping authority, PEM: its signature is checked.
        alpha: Probability of a claim against a suspect that agrees with the mark no more than innocents do.
        most_false: Greatest share of innocents that would be claimed, as the controls bound it.
        fdr: Expected share of innocents among the accounts that are named, by e-BH (default: none, with probability
            1 - alpha or more, by Holm).
        budget: Greatest number of questions.
        suspects: Number of suspects that the mark is claimed against, this one and others that were or will be. Alpha
            is divided by it, so that any innocent among them is claimed with probability alpha at most (Bonferroni).
        price_per_1000: Price of 1,000 questions to an address.
        currency: Currency of the price, like USD.
        out: Directory to write: claim.json, claim.html and the answers, which are not asked for again.
        lang: Language, en or zh.
        json: Print JSON.

    Raises:
        BadInput: There is an authority's certificate and no ledger.
    """
    import json as writer

    from feint.cli.terminal import bars
    from feint.ownership import commitment, output, time_stamp
    from feint.ownership.claim import Policy
    from feint.ownership.controls import control_answers, load_controls
    from feint.ownership.mark import load_marks, marked_models
    from feint.ownership.text import ClaimText
    from feint.paid.meter import Meter

    each = alpha / require_at_least(1, suspects, "suspects")
    text, policy, marks = ClaimText(lang), Policy(each, most_false, fdr), load_marks(mark)
    since = None if appeared is None else _moment(appeared)
    committed = None
    if ledger is None and tsa_root is not None:
        raise BadInput("--tsa-root without --ledger", "the ledger of the time stamp", "name it: --ledger FILE")
    if ledger is not None:
        digest = commitment.salted_digest(commitment.salt_of(mark), marks)
        committed = commitment.find(ledger, digest, stamped=tsa_root is not None)
        if tsa_root is not None:
            committed = time_stamp.verify(committed, tsa_root)
    first = next(iter(marks.values()))
    innocents = load_controls(controls, first.domain)
    known, meter = _transcript(suspect, model, marks, out), Meter(price_per_1000, currency)
    asked = _asked(suspect, [*marks.values()], model, key, network, require_at_least(1, budget, "questions"), meter)
    _check_controls(suspect, asked.fingerprint, innocents, controls)
    with continued(asked.oracle, known, asked.name) as oracle, bars() as progress:
        answers = control_answers(innocents, [*marks.values()], progress=progress)
        _check_domain(suspect, asked.domain, first)
        result = _decide(oracle, [*marks.values()], answers, commitment=committed, appeared=since, policy=policy)
    result = replace(result, is_model=asked.fingerprint in marked_models(mark))
    table = output.to_json(suspect, result, text)
    if out is not None:
        output.write(out, suspect, result, text)
    elif known is not None and not result.refusal:
        known.unlink(missing_ok=True)  # the suspect may change until the next claim
    print(writer.dumps(table, ensure_ascii=False) if json else text.screen(suspect, result))
    if not result.is_copy:
        sys.exit(NO_CLAIM)


def _transcript(suspect: str, model: str | None, marks: "Mapping[str, Mark]", out: Path | None) -> Path | None:
    """Return the file of the answers: in --out, or else, of an address, one that is kept until all are there.

    A suspect that is a file of answers needs none.
    """
    from feint.ownership.commitment import salted_digest
    from feint.ownership.questions import is_answers
    from feint.paid.answer_cache import answers_file

    if is_answers(suspect):
        return None
    if out is not None or "://" not in suspect:
        return None if out is None else out / TRANSCRIPT
    return answers_file(f"{model}", repr((suspect, salted_digest("", marks)))).with_suffix(".safetensors")


def _decide(
    oracle: "Oracle", marks: "Sequence[Mark]", answers: "Mapping[str, Sequence[np.ndarray]]", **how: Any
) -> "Claim":
    """Return the claim by marks of a model, or by account where there is one mark, of marked answers."""
    from feint.ownership.accounts import claim_accounts
    from feint.ownership.claim import claim

    if len(marks) == 1 and marks[0].accounts:
        return claim_accounts(oracle, marks[0], {name: labels for name, (labels,) in answers.items()}, **how)
    return claim(oracle, marks, answers, **how)


def _moment(written: str) -> float:
    try:
        moment = datetime.datetime.fromisoformat(written)
    except ValueError as error:
        expected = "a date like 2026-12-01, or a time like 2026-12-01T10:00"
        raise BadInput(f"--appeared {written}", expected, "write it so") from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    if moment > datetime.datetime.now(datetime.UTC):
        got = f"--appeared {written}, which is in the future (UTC)"
        raise BadInput(got, "when the suspect was first seen", "check the date and its time zone")
    return moment.timestamp()


class _Asked(NamedTuple):
    """Suspect that is asked.

    Attributes:
        name: Name by which its answers are kept: a claim never counts those of another suspect.
        domain: Domain of its inputs; None where it leaves that open.
        oracle: Makes its oracle, from the answers of an interrupted claim.
        fingerprint: Fingerprint of a model that is at hand; "" for others.
    """

    name: str
    domain: "Domain | None"
    oracle: "Callable[[Transcript | None], Oracle]"
    fingerprint: str = ""


def _asked(
    suspect: str,
    marks: "Sequence[Mark]",
    model: str | None,
    keys: "Sequence[str]",
    network: str | None,
    budget: int,
    meter: "Meter",
) -> _Asked:
    """Return a suspect, whose inputs and classes are those of the marks where it leaves them open."""
    if "://" not in suspect and (options := _of_addresses(model, keys, meter)):
        raise BadInput(f"{options} for {suspect}", "the address of a server with it", f"leave {options} out")
    from feint.ownership.questions import RecordedSuspect, is_answers, read_answers

    mark = marks[0]
    if is_answers(suspect):
        recorded = RecordedSuspect(read_answers(Path(suspect), marks), marks)
        return _Asked(f"{suspect} ({recorded.digest})", None, lambda past: recorded.oracle(budget=budget, past=past))
    if "://" not in suspect:
        from feint import victims
        from feint.service import Service

        loaded = load_victim(suspect, None, network, domain=mark.domain, classes=mark.classes, max_calls=budget)
        service, fingerprint = Service(loaded), victims.fingerprint(loaded)
        return _Asked(
            f"{suspect} ({fingerprint})", victims.domain_of(loaded),
            lambda past: service.oracle(client="owner", budget=budget, past=past), fingerprint,
        )  # fmt: skip
    if model is None:
        raise BadInput(f"{suspect} without a model", "the model's name", "name it: --model NAME")
    from feint.client import RemoteService

    remote = RemoteService(suspect, model=model, keys=keys)
    limit_calls(suspect, meter, budget)
    return _Asked(remote.name, remote.domain, lambda past: remote.oracle(budget=budget, past=past))


def _of_addresses(model: str | None, keys: "Sequence[str]", meter: "Meter") -> str:
    """Return the options that were given and that only a suspect at an address has."""
    options = {
        "--model": model is not None, "--key": bool(keys), "--price-per-1000": bool(meter.price_per_1000),
        "--currency": bool(meter.currency),
    }  # fmt: skip
    return " and ".join(name for name, is_given in options.items() if is_given)


def _check_domain(suspect: str, domain: "Domain | None", mark: "Mark") -> None:
    """Raise `BadInput` for a suspect whose inputs are of another domain than a mark's."""
    try:
        if domain is not None:
            domain.check(mark.x[:1].numpy())
    except BadInput as error:
        got, expected, _ = error.args
        raise BadInput(
            f"{suspect}, which takes {expected}", f"a suspect of the mark's {got}", "name a suspect of the same task"
        ) from error


def _check_controls(suspect: str, fingerprint: str, innocents: "Mapping[str, nn.Module]", controls: Path) -> None:
    """Raise `BadInput` for a suspect that is one of the controls itself."""
    from feint import victims

    for name, innocent in innocents.items():
        if fingerprint == victims.fingerprint(innocent):
            raise BadInput(
                f"{suspect}, which is the control {name} of {controls}", "a suspect that is none of them",
                f"take {name} out, or name another suspect",
            )  # fmt: skip
