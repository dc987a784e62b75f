"""Runners: what Python's own map makes of the items, whatever becomes of the processes."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support import jobs
from tests.support.waiting import eventually

from feint import Defense, Matrix, Service, Training, runners
from feint.attacks import HardLabels, KnockoffNets
from feint.defenses.outputs import APGPClosedForm
from feint.errors import BadInput, Unreachable

pytestmark = pytest.mark.slow

TWO = functools.partial(runners.processes, workers=2)


@pytest.fixture(scope="module")
def matrix(victim, network, digits):
    knockoff = KnockoffNets(digits.pool, network, Training(epochs=4))
    return Matrix(
        victim,
        digits.test,
        attacks={"knockoff": knockoff, "labels": knockoff.through(HardLabels())},
        defenses={"none": Defense(), "service": Service(victim, Defense(outputs=[APGPClosedForm(top=1)]))},
        budgets=[50],
        seeds=[0],
    )


@pytest.fixture(scope="module")
def alone(matrix):
    return plain(matrix.run())


def plain(results):
    """What of the rows must not depend on who ran them: all but time and memory."""
    return {
        row.fingerprint: (
            row.recipe,
            row.asked,
            row.error,
            {k: v for k, v in row.scores.items() if not k.startswith("added_")},
        )
        for row in results
    }


def alive(process):
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def test_processes_make_the_same_rows(matrix, alone, tmp_path):
    assert plain(matrix.run(map=TWO, folder=tmp_path)) == alone
    assert len(list(tmp_path.glob("*.json"))) == len(alone)


def test_results_come_from_processes_of_one_thread_that_load_the_job_once(tmp_path):
    threads = list(TWO(jobs.Threads(), range(4)))
    assert {record[:2] for record in threads} == {(1, "1")}
    assert os.getpid() not in {process for *_, process in threads}
    assert sorted(TWO(jobs.Loaded(tmp_path), range(20))) == list(range(20))
    assert len(list(tmp_path.iterdir())) <= 2


def test_items_are_taken_when_there_is_room_for_them():
    taken = []
    results = TWO(jobs.Double(), (taken.append(item) or item for item in range(6)))
    assert not taken
    for finished, _ in enumerate(results, start=1):
        assert len(taken) <= finished + 1
    assert len(taken) == 6
    assert list(TWO(jobs.Double(), [])) == []


def test_a_killed_process_costs_no_item(tmp_path):
    items = [("fine", 0), ("once", 1), ("too", 0), ("always", 9), ("last", 0)]
    *names, lost = sorted(TWO(jobs.Dies(tmp_path), items), key=lambda result: isinstance(result, jobs.Lost))
    assert sorted(names) == ["fine", "last", "once", "too"]
    assert lost == jobs.Lost(("always", 9), "its process ended with signal 9 (out of memory?), twice")
    assert sorted(file.name for file in tmp_path.glob("always*")) == ["always-0", "always-1"]
    assert len(list(tmp_path.glob("fine*"))) == 1


def test_closing_ends_its_own_processes_and_no_others():
    with subprocess.Popen(["sleep", "60"]) as other:
        results = TWO(jobs.Sleeps(), [0, 0, 60, 60])
        workers = {next(results)[1], next(results)[1]}
        assert any(map(alive, workers))
        started = time.monotonic()
        results.close()
        assert time.monotonic() - started < 50  # they would sleep for 60
        assert not any(map(alive, workers))
        assert other.poll() is None
        other.kill()


def test_a_job_that_cannot_travel_is_named():
    with pytest.raises(BadInput, match="cannot be sent"):
        list(TWO(lambda item: item, [1]))
    with pytest.raises(BadInput, match="could not start"):
        list(TWO(jobs.Raises(), [1]))


SCRIPT = """
import sys
from tests.support import jobs
from feint import runners

def main():
    for seconds, process in runners.processes(jobs.Sleeps(), [0, 0, 60, 60], workers=2):
        print(process, flush=True)

{main}
"""


@pytest.fixture
def script(tmp_path):
    """A script that sleeps in two processes, started as the first of its process group."""

    def start(main="if __name__ == '__main__':\n    main()"):
        file = tmp_path / "script.py"
        file.write_text(SCRIPT.format(main=main))
        paths = [str(Path(jobs.__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        return subprocess.Popen([sys.executable, file], **streams, start_new_session=True, env=environment)

    return start


def test_ctrl_c_ends_all_and_only_the_first_complains(script):
    with script() as process:
        workers = {int(process.stdout.readline()), int(process.stdout.readline())}
        time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        _, complaints = process.communicate(timeout=60)
    assert complaints.count("KeyboardInterrupt") == 1
    assert not any(map(alive, workers))


def test_workers_end_with_a_parent_that_was_killed(script):
    with script() as process:
        workers = {int(process.stdout.readline()), int(process.stdout.readline())}
        process.kill()
        eventually(lambda: not any(map(alive, workers)))


def test_an_unguarded_script_is_told_so(script):
    with script("main()") as process:
        output, complaints = process.communicate(timeout=60)
    assert output == ""
    assert "__main__" in complaints.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def two_nodes():
    """A Ray cluster of two nodes of one core each, on this machine, whose workers find the tests' jobs."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "PYTHONPATH", os.pathsep.join([str(Path(jobs.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        )
        cluster = cluster_utils.Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
        try:
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


def test_ray_makes_the_same_rows(two_nodes, matrix, alone):
    assert plain(matrix.run(map=runners.ray)) == alone


def test_ray_loads_the_job_once_a_worker_and_has_its_threads(two_nodes, tmp_path):
    assert sorted(runners.ray(jobs.Loaded(tmp_path), range(30), cpus=0.5)) == list(range(30))
    assert 1 <= len(list(tmp_path.iterdir())) <= 8
    assert {record[:2] for record in runners.ray(jobs.Threads(), range(2))} == {(1, "1")}


def test_what_ray_cannot_run_is_named_or_lost(two_nodes, tmp_path):
    with pytest.raises(BadInput, match="GPU"):
        list(runners.ray(jobs.Double(), [1], gpus=0.5))
    with pytest.raises(Unreachable, match="no such module there"):
        list(runners.ray(jobs.Raises(), [1]))
    fine, lost = sorted(runners.ray(jobs.Dies(tmp_path), [("fine", 0), ("always", 9)]), key=str, reverse=True)
    assert fine == "fine"
    assert lost.item == ("always", 9)
    assert "died 4 times on Ray (WorkerCrashedError)" in lost.reason


def test_a_node_may_die_and_another_join(two_nodes, matrix, alone, tmp_path):
    import ray

    notes = tmp_path / "notes"
    notes.mkdir()
    head = ray.get_runtime_context().get_node_id()
    (doomed,) = {node["NodeID"] for node in ray.nodes() if node["Alive"]} - {head}

    def changing(job, items):
        """The second node dies in the middle of its first cell; another one joins."""
        rows = runners.ray(jobs.EndlessThere(job, notes, doomed), items)
        yield next(rows)
        eventually(lambda: any(notes.glob(f"{doomed}-*")))
        two_nodes.remove_node(two_nodes.worker_nodes.copy().pop(), allow_graceful=False)
        yield next(rows)
        two_nodes.add_node(num_cpus=1)
        yield from rows

    assert plain(matrix.run(map=changing, folder=tmp_path / "rows")) == alone
    assert len(list(notes.iterdir())) == len(alone) + 1  # what was running there was begun once more
