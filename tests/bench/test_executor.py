"""The bench: every cell run once, whoever shares the folder, and nothing that was finished is lost."""

import dataclasses
import errno
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.support import jobs
from tests.support.waiting import eventually

from feint import Defense, Matrix, Query, Service, Training
from feint.attacks import HardLabels, KnockoffNets
from feint.bench import executor
from feint.bench.cache import CachedService, is_cacheable
from feint.bench.locks import Leases
from feint.defense import Ladder
from feint.defenses.access import Budget
from feint.defenses.outputs import APGPClosedForm
from feint.errors import DamagedFile, NotWritten
from feint.evaluation.results import FORMAT, Results, read
from feint.models.cache import cached_in
from feint.progress import ProgressCallback


@pytest.fixture
def toy(tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "failing").touch()
    return jobs.Toy(notes)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "rows"


SHARING = """
import sys
from pathlib import Path
from tests.support import jobs
from feint.bench import executor
results = executor.run([jobs.Toy(Path(sys.argv[1]), count=12, seconds=0.1)], folder=sys.argv[2])
print(len(results), sum(not row.error for row in results))
"""


@pytest.fixture
def another(toy, folder):
    """Another process with a bench on the same folder."""

    def start():
        paths = [str(Path(jobs.__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        command = [sys.executable, "-c", SHARING, toy.notes, folder]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    return start


@pytest.mark.slow
def test_two_benches_on_one_folder_run_every_cell_once(toy, folder, another):
    with another() as one, another() as two:
        assert one.communicate()[0] == two.communicate()[0] == "12 12\n"
    assert toy.begun() == dict.fromkeys(range(12), 1)
    assert len({it.name.split("-")[1] for it in toy.notes.glob("*-*")}) == 2  # both had a part in it
    assert len(list(folder.glob("*.json"))) == 12
    assert not (folder / ".leases").exists()


@pytest.mark.slow
def test_the_cells_of_a_killed_bench_are_taken_over(toy, folder, another):
    with another() as one:
        eventually(lambda: len(list(folder.glob("*.json"))) >= 2)
        one.kill()  # nearly always in the middle of a cell, whose lease it leaves
    begun, finished = set(toy.begun()), {it.stem for it in folder.glob("*.json")}
    results = executor.run([dataclasses.replace(toy, count=12)], folder=folder)
    assert len(results) == 12
    assert sum(toy.begun().values()) == 12 + len(begun) - len(finished)
    left = {it.stem[:8] for it in folder.glob(".leases/*")}  # of a row that was written, and killed before letting go
    assert left <= {name.rpartition("-")[2] for name in finished}


@pytest.mark.slow
def test_a_lease_is_taken_over_only_from_the_dead(tmp_path):
    with Leases(tmp_path, beat=0.05, patience=2.0) as one, Leases(tmp_path, beat=0.05, patience=2.0) as two:
        assert one.claim("cell")
        end = time.monotonic() + 4.0
        while time.monotonic() < end:  # alive far beyond the patience: its heart beats
            assert not two.claim("cell")
            time.sleep(0.02)
        one.release("cell")
        assert two.claim("cell")
        assert not one.claim("cell")


def test_lease_without_heartbeat_is_taken_over_after_its_patience(tmp_path):
    with Leases(tmp_path, beat=60, patience=0.4) as silent, Leases(tmp_path, beat=0.05, patience=0.4) as other:
        assert silent.claim("cell")
        assert not other.claim("cell")
        started = time.monotonic()
        eventually(lambda: other.claim("cell"))
        assert time.monotonic() - started > 0.3
        assert not silent.claim("cell")  # of the two, one has it
        silent.release("cell")  # it wakes up, and takes nothing away from the other
        assert not Leases(tmp_path).claim("cell")
        third = Leases(tmp_path, patience=0.2)
        other._over.set()  # its heart stops as well
        eventually(lambda: third.claim("cell"), seconds=5)


def test_folder_that_goes_while_it_is_read_has_no_lease(tmp_path, monkeypatch):
    def gone(path, pattern):
        raise FileNotFoundError(path)

    with Leases(tmp_path / "leases") as leases:
        monkeypatch.setattr(Path, "glob", gone)
        assert leases.claim("cell")


def test_a_lease_of_a_process_that_ended_here_is_free_at_once(tmp_path):
    with Leases(tmp_path) as leases:
        assert leases.claim("cell")
        lease = next(tmp_path.iterdir())
        owner = json.loads(lease.read_text())
        with subprocess.Popen(["true"]) as ended:
            pass
        lease.write_text(json.dumps(owner | {"process": ended.pid}))
        other = Leases(tmp_path)
        lease.write_text(json.dumps(owner | {"process": ended.pid, "host": "elsewhere"}))
        assert not other.claim("cell")  # a process of another machine is not looked for here
        lease.write_text(json.dumps(owner | {"process": ended.pid}))
        assert other.claim("cell")


def test_a_failed_cell_is_a_row_and_is_run_again_by_the_next_call(toy, folder):
    (toy.notes / "failing").write_text("1 4")
    results = executor.run([toy], folder=folder)
    assert len(results) == 6
    assert {row.seed: row.error for row in results.failed} == dict.fromkeys((1, 4), "ValueError: no luck with this one")
    assert all(row.scores == {} for row in results.failed)
    assert len(results.lines()) == 1
    assert results.lines()[0].seeds == 4
    (toy.notes / "failing").write_text("4")
    again = executor.run([toy], folder=folder)
    assert toy.begun() == {0: 1, 1: 2, 2: 1, 3: 1, 4: 2, 5: 1}
    assert [row.seed for row in again.failed] == [4]
    assert [row.seed for row in Results.load(folder).failed] == [4]
    assert len(list(folder.glob("*.json"))) == 6


def test_a_good_row_is_never_overwritten(toy, folder):
    good, bad = toy.row(toy.cells()[1]), toy.failed(toy.cells()[1], "late")
    other = dataclasses.replace(good, asked=7)
    results = Results()
    for row, kept in [(bad, bad), (good, good), (other, good), (bad, good)]:
        results.add(row, folder)
        assert list(results) == list(Results.load(folder)) == [kept]
    late = Results()
    late.add(other, folder)  # who has not seen the row that is there
    assert list(late) == [good]


def test_results_merge(toy):
    good, bad = toy.row(toy.cells()[1]), toy.failed(toy.cells()[1], "late")
    more, other = toy.row(toy.cells()[2]), dataclasses.replace(good, asked=7)
    assert list(Results([bad]).merge([good, more])) == [good, more]
    assert list(Results([good]).merge([bad, other])) == [good]
    assert list(Results([good, bad])) == list(Results([bad, good])) == [good]
    assert list(Results().merge([])) == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text[: len(text) // 2], "a row of results"),
        (lambda text: "", "a row of results"),
        (lambda text: "[]", "a row of results"),
        (lambda text: text.replace('"asked"', '"spent"'), "spent"),
        (lambda text: text.replace(f'"format": {FORMAT}', f'"format": {FORMAT + 1}'), "a row in format .* by Feint 0"),
    ],
    ids=["truncated", "empty", "a list", "unknown field", "newer"],
)  # fmt: skip
def test_a_row_that_cannot_be_read_is_named_and_nothing_is_run(toy, folder, spoil, said):
    executor.run([toy], folder=folder)
    file = sorted(folder.glob("*.json"))[2]
    file.write_text(spoil(file.read_text()))
    with pytest.raises(DamagedFile, match=said) as error:
        executor.run([dataclasses.replace(toy, count=9)], folder=folder)
    assert file.name in str(error.value)
    assert sum(toy.begun().values()) == 6


def test_a_full_disk_loses_nothing_that_was_finished(toy, folder, monkeypatch):
    write = Path.write_text

    def full(path, *args, **more):
        if path.suffix == ".json" and len(list(folder.glob("*.json"))) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(NotWritten, match="No space left"):
            executor.run([toy], folder=folder)
    assert len(Results.load(folder)) == 3
    assert {it.name for it in folder.iterdir() if it.suffix != ".json"} == set()  # no half row, no lease
    assert len(executor.run([toy], folder=folder)) == 6
    assert sum(toy.begun().values()) == 7


def test_a_folder_that_cannot_be_written_is_told_so(toy, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotWritten, match="file"):
        executor.run([toy], folder=tmp_path / "file" / "rows")
    assert not toy.begun()


class Counted(torch.nn.Module):
    """A model that counts the batches that it answers."""

    batches = 0

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        Counted.batches += 1
        return self.model(x)


@pytest.fixture
def knockoffs(victim, network, digits):
    knockoff = KnockoffNets(digits.pool, network, Training(epochs=1))
    attacks = {"knockoff": knockoff, "labels": knockoff.through(HardLabels())}
    defenses = {"closed": Defense(outputs=[APGPClosedForm(top=1)])}
    return Matrix(Counted(victim), digits.test, attacks=attacks, defenses=defenses, budgets=[256, 512], seeds=[0])


@pytest.mark.slow
def test_kept_answers_are_asked_once_and_change_no_row(knockoffs, tmp_path):
    def thefts(**more):
        before = Counted.batches
        rows = {(it.attack, it.budget): (it.scores, it.asked) for it in knockoffs.run(**more) if it.attack}
        return rows, Counted.batches - before

    thefts()  # what the matrix works out once
    asked, often = thefts()
    with cached_in(tmp_path):
        kept, once = thefts()
        again, never = thefts()
    assert asked == kept == again
    assert all(asked == budget for (_, budget), (_, asked) in kept.items())
    utility = often - 6  # each attack asks one batch with the small budget, and two with the large one
    assert once == utility + 2  # the first batch of all is the same
    assert never == utility
    assert len(list((tmp_path / "answers").glob("*/*.npy"))) == 2


def test_answers_are_bit_for_bit_those_of_the_service_and_are_billed(victim, digits, tmp_path):
    x = digits.test.inputs()[:40]
    defense = Defense(outputs=[APGPClosedForm(top=1)])
    plain, service = Service(victim, defense), Service(victim, defense)
    kept = CachedService(service, tmp_path)
    for _ in range(2):
        assert torch.equal(kept(Query(x, "thief")).p, plain(Query(x, "thief")).p)
    assert service.ledger["thief"].queries == plain.ledger["thief"].queries == 80
    assert torch.equal(kept(Query(x[:5])).p, plain(Query(x[:5])).p)
    assert len(list(tmp_path.glob("*/*.npy"))) == 1  # a few inputs are worth no file
    file = next(tmp_path.glob("*/*.npy"))
    other = CachedService(Service(victim), tmp_path)
    assert not torch.equal(other(Query(x)).p, plain(Query(x)).p)
    assert len(list(tmp_path.glob("*/*.npy"))) == 2
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DamagedFile, match=file.name):
        kept(Query(x))


def test_what_remembers_its_clients_is_never_kept(victim):
    assert is_cacheable(Service(victim, Defense(outputs=[APGPClosedForm(top=1)])))
    assert not is_cacheable(Service(victim, Defense(access=[Budget(30)])))
    assert not is_cacheable(Service(victim, Ladder([], [Defense(), Defense()])))


def test_rows_say_their_format(toy, folder):
    executor.run([toy], folder=folder)
    assert {read(it).format for it in folder.glob("*.json")} == {FORMAT}


class Noisy(ProgressCallback):
    def __reduce__(self):
        raise TypeError("a worker has no screen")


def test_job_carries_the_cache_directory_into_workers_and_no_progress(tmp_path):
    with cached_in(tmp_path):
        job = executor.CellJob({}, Noisy())
    worker = pickle.loads(pickle.dumps(job))
    assert worker.cache == tmp_path
    assert worker.progress is not job.progress
    assert type(worker.progress) is ProgressCallback
