"""What an operator is told of decisions: metrics, logs, traces, and no more than their cost."""

import io
import json
import logging
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from tests.support.gateways import STAGES, gateway, record

from feint import __version__
from feint.errors import MissingData
from feint.gateway.request_context import RequestContext, continue_trace
from feint.gateway.settings import OperatorSettings
from feint.gateway.telemetry.client_gauges import ClientGauges
from feint.gateway.telemetry.logs import Handler, Logs
from feint.gateway.telemetry.metrics import Metrics
from feint.gateway.telemetry.observers import Telemetry, start_telemetry
from feint.gateway.telemetry.throttle import Throttle
from feint.gateway.telemetry.traces import Traces


def samples(metrics):
    found = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for it in family.samples:
            if it.name.endswith("_created"):
                continue
            found[it.name, *sorted(it.labels.values())] = it.value
    return found


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 5e-5, 6e-5, 0.3, 30.0, 31.0]), st.integers(1, 5)), min_size=1, max_size=5)
)
def test_requests_that_are_decided_together_are_counted_as_if_alone(turns):
    together, alone = Metrics(), Metrics()
    for seconds, count in turns:
        common = {"model": seconds}
        together([record(seconds=common) for _ in range(count)])
        for _ in range(count):
            alone([record(seconds={"model": seconds})])
    found = {name: value for name, value in samples(together).items() if name[0].startswith("feint_stage_seconds")}
    assert found == pytest.approx({name: samples(alone)[name] for name in found})
    assert found["feint_stage_seconds_count", "digits", "model"] == sum(count for _, count in turns)


def test_metrics_count_what_was_decided():
    metrics = Metrics()
    for it in [
        record(evidence=0.3, moved=0.4, conflicts=2),
        record("bob", evidence=1.5, rung=1, moved=0.8, campaign=True),
        record("bob", "refused", "OverBudget", seconds={"access": 1e-5}),
        record("", "refused", "NoKey", queries=0, seconds={}),
    ]:
        metrics([it])
    found = samples(metrics)
    assert found["feint_requests_total", "answered", "digits"] == 2
    assert found["feint_requests_total", "digits", "refused"] == 2
    assert found["feint_queries_total", "answered", "digits"] == 8
    assert (
        found["feint_refusals_total", "OverBudget", "digits"] == found["feint_refusals_total", "NoKey", "digits"] == 1
    )
    assert found["feint_conflicts_total", "digits"] == 2
    assert found["feint_campaign_alarm", "digits"] == 1
    assert found["feint_stage_seconds_count", "access", "digits"] == 3
    assert found["feint_stage_seconds_sum", "digits", "model"] == pytest.approx(6e-4)
    assert (
        found["feint_clients_by_evidence", "0.25", "digits"] == found["feint_clients_by_evidence", "1", "digits"] == 1
    )
    assert found["feint_clients_by_rung", "0", "digits"] == found["feint_clients_by_rung", "1", "digits"] == 1


def test_moved_requests_are_counted_by_the_hundred_and_never_added_up():
    metrics = Metrics()
    for i in range(199):
        metrics([record(moved=i % 2)])
        assert samples(metrics).get(("feint_moved_count", "digits"), 0) == (i + 1) // 100 * 100
    found = samples(metrics)
    assert found["feint_moved_bucket", "0.001", "digits"] == 50
    assert found["feint_moved_bucket", "+Inf", "digits"] == 100
    assert ("feint_moved_sum", "digits") not in found


def everything_shown(folder, **values):
    """Return what every observer shows of one request."""
    line, spans = Line(), []
    traces = Traces(SpanKeeper(spans), share=1.0)
    telemetry = Telemetry(audit_log=folder / "audit.jsonl", logs=Logs("debug", to=line.to), traces=traces)
    for outcome, reason, rung in (("answered", "", 1), ("refused", "OverBudget", 1), ("failed", "Failed", 2)):
        context = RequestContext(trace=continue_trace("", "", traces.share))
        telemetry(record("bob", outcome, reason, time=1e9, rung=rung, context=context, **values))
    metrics = {key: value for key, value in samples(telemetry.metrics).items() if not key[0].startswith("process_")}
    pages = [metrics, repr(telemetry.metrics.clients.clients)]
    telemetry.close()
    audit = [json.loads(entry) for entry in (folder / "audit.jsonl").read_text().splitlines()]
    hidden = {"time", "before", "hash", "trace", "@timestamp"}  # which are never the same twice
    lines = [{name: value for name, value in entry.items() if name not in hidden} for entry in audit + line.said]
    for entry in lines:
        entry.get("feint", {}).get("audit", {}).pop("hash", None)
    return pages, lines, spans


@pytest.mark.parametrize("name", ["moved", "evidence"])
def test_no_observer_shows_an_undefended_number(tmp_path, name):
    """Whatever is shown of a request is the same for another one whose undefended answer was another."""
    pytest.importorskip("opentelemetry.sdk.trace")
    shown = []
    for number, value in enumerate((0.26, 0.49)):
        folder = tmp_path / str(number)
        folder.mkdir()
        shown.append(everything_shown(folder, **{"evidence": 0.3, "moved": 0.3, name: value}))
    assert shown[0] == shown[1]


def test_labels_are_as_many_whoever_asks():
    metrics = Metrics()
    sizes = []
    for start in (0, 5000):
        for i in range(start, start + 5000):
            it = record(f"client-{i}", evidence=i % 7 / 3, rung=i % 3)
            metrics([it])
        sizes.append(len(samples(metrics)))
    assert sizes[0] == sizes[1] < 150
    assert b"client-" not in metrics.text()


def test_a_page_of_metrics_that_promtool_would_read():
    metrics = Metrics()
    metrics.attach(gateway())
    metrics([record()])
    names = re.findall(r"^# TYPE (\S+) (\w+)$", metrics.text().decode(), re.MULTILINE)
    assert all(name.startswith(("feint_", "process_")) for name, _ in names)
    assert all(name.endswith("_total") for name, kind in names if kind == "counter")


def test_counters_begin_at_zero():
    metrics = Metrics()
    metrics.attach(gateway())
    values = samples(metrics)
    assert all(values["feint_requests_total", outcome, "toy"] == 0 for outcome in ("refused", "failed"))
    assert values["feint_refusals_total", "StoreLost", "toy"] == values["feint_refusals_total", "", "NoKey"] == 0
    assert values["feint_conflicts_total", "toy"] == 0


def test_no_series_is_written_for_the_time_of_creation():
    metrics = Metrics()
    metrics([record()])
    assert "_created" not in metrics.text().decode()


def test_process_and_version_are_exported():
    values = samples(Metrics())
    assert values["feint_build_info", __version__] == 1
    assert values["process_resident_memory_bytes",] > 0
    assert values["process_open_fds",] > 0


def test_state_of_a_gateway_is_exported():
    metrics, both = Metrics(), gateway(names=("toy", "far"))
    metrics.attach(both)
    both.upstreams, both.endpoints["toy"].shadow = frozenset({"far"}), True
    values = samples(metrics)
    assert values["feint_ready",] == values["feint_ledger_up",] == values["feint_upstream_up", "far"] == 1
    assert (values["feint_shadow", "toy"], values["feint_shadow", "far"]) == (1, 0)
    assert ("feint_upstream_up", "toy") not in values
    both.endpoints["far"].ready, both.ledger_lost, both.ledger_needed = False, True, False
    with both.endpoints["toy"].in_use():
        values = samples(metrics)
    assert values["feint_ready",] == values["feint_ledger_up",] == values["feint_upstream_up", "far"] == 0
    assert (values["feint_model_ready", "toy"], values["feint_model_ready", "far"]) == (1, 0)
    assert (values["feint_requests_in_flight", "toy"], values["feint_requests_in_flight", "far"]) == (1, 0)


def test_lines_of_one_kind_are_throttled_and_counted(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    line = Line()
    logs = Logs("info", to=line.to)
    for _ in range(500):
        logs(record("", "refused", "NoKey"))
        logs.say("error", "OperationalError at\n  File", 0.0)
    logs(record("bob", "refused", "OverBudget"))
    assert len(line.said) == 41
    now[0] = 10.0
    logs(record("", "refused", "NoKey"))
    refusals, messages, last = line.said[41:]
    assert refusals["message"] == "480 more lines in a short time: requests, digits, NoKey"
    assert messages["message"].startswith("480 more lines in a short time: messages, OperationalError at")
    assert last["event"]["reason"] == "NoKey"


def test_what_was_left_out_is_written_at_the_end():
    line = Line()
    logs = Logs("info", to=line.to)
    operator = Telemetry(logs=logs)
    for _ in range(25):
        operator(record("bob", "refused", "OverBudget"))
    operator.close()
    assert line.said[-1]["message"] == "5 more lines in a short time: requests, digits, bob, OverBudget"


def test_at_debug_every_request_has_its_line():
    line = Line()
    logs = Logs("debug", to=line.to)
    for _ in range(50):
        logs(record("bob", "refused", "OverBudget"))
    assert len(line.said) == 50


def test_kinds_of_lines_that_are_remembered_are_bounded():
    throttle = Throttle(most=1, kinds=10)
    for i in range(1000):
        list(throttle.over(0.0))
        throttle.admits(i, 0.0)
    assert len(throttle._counts) <= 11


class SpanKeeper:
    """Exporter that keeps names and attributes of spans."""

    def __init__(self, spans):
        self.spans = spans

    def export(self, batch):
        self.spans += [(span.name, span.end_time - span.start_time, dict(span.attributes)) for span in batch]

    def shutdown(self):
        pass


class Line:
    def __init__(self):
        self.to = io.StringIO()

    @property
    def said(self):
        return [json.loads(it) for it in self.to.getvalue().split("\n")[:-1]]


@pytest.mark.parametrize(
    ("outcome", "reason", "status"),
    [("answered", "", 200), ("answered", "StoreLost", 200), ("refused", "OverBudget", 429), ("failed", "Failed", 500),
     ("cancelled", "ClientGone", 499)],
)  # fmt: skip
def test_the_status_of_a_log_line(outcome, reason, status):
    """Who goes away is no failure of this side: it was logged as 500."""
    line = Line()
    Logs("debug", to=line.to)(record("bob", outcome, reason))
    assert [said["http"]["response"]["status_code"] for said in line.said] == [status]


def test_a_log_line_has_the_fields_of_the_elastic_common_schema():
    line = Line()
    logs = Logs("info", version="1.2", to=line.to)
    logs(record())
    logs(record("bob", "refused", "OverBudget", time=1.7e9, rung=2, evidence=1.23456))
    (said,) = line.said
    assert said["@timestamp"] == "2023-11-14T22:13:20.000Z"
    assert said["event"] == {
        "action": "infer", "kind": "event", "category": ["api"], "outcome": "failure", "duration": 430_000,
        "reason": "OverBudget",
    }  # fmt: skip
    assert said["user"] == {"name": "bob"}
    assert said["service"] == {"name": "feint", "version": "1.2"}
    assert said["log"] == {"level": "info"}
    assert said["http"] == {"response": {"status_code": 429}}
    assert said["feint"]["rung"] == 2
    assert said["feint"]["evidence"] == 1.0
    assert said["ecs"]["version"]


def test_levels():
    kinds = [record(), record(outcome="refused", reason="NoKey"), record(outcome="failed", reason="Failed")]
    for level, lines in {"debug": 3, "info": 2, "warning": 1, "error": 1}.items():
        line = Line()
        for it in kinds:
            Logs(level, to=line.to)(it)
        assert len(line.said) == lines


def test_log_messages_of_the_gateway_have_the_format_of_decisions():
    line = Line()
    speaker = logging.getLogger("feint.gateway.test")
    speaker.propagate, speaker.handlers = False, [Handler(Logs("info", to=line.to))]
    speaker.error('a "quoted"\nline')
    (said,) = line.said
    assert said["message"] == 'a "quoted"\nline'
    assert said["log"]["level"] == "error"


@pytest.mark.slow
@given(client=st.text(max_size=20), reason=st.text(max_size=20), evidence=st.floats())
def test_any_decision_is_one_line_of_json(client, reason, evidence):
    line = Line()
    Logs("debug", to=line.to)(record(client, "refused", reason, evidence=evidence))
    assert len(line.said) == 1


def test_traces_are_spans_of_the_stages_one_after_the_other():
    exported = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter").InMemorySpanExporter()
    traces = Traces(exported, share=1.0, version="1.2")
    context = RequestContext(trace=continue_trace("", "", 1.0))
    told = record("bob", "failed", "Unreachable", time=100.0, context=context)
    traces(told)
    traces.close()
    *stages, whole = exported.get_finished_spans()
    assert [it.name for it in stages] == list(STAGES)
    assert all(it.parent.span_id == whole.context.span_id for it in stages)
    assert whole.start_time == stages[0].start_time == 100_000_000_000
    assert [it.end_time for it in stages[:-1]] == [it.start_time for it in stages[1:]]
    assert whole.end_time - whole.start_time == pytest.approx(430_000, abs=5)
    assert whole.attributes["error.type"] == "Unreachable"
    assert not whole.status.is_ok
    assert context.trace.trace == f"{whole.context.trace_id:032x}"
    assert context.trace.span == f"{whole.context.span_id:016x}"
    assert whole.parent is None
    assert "bob" not in str(whole.to_json())


def test_a_span_is_a_part_of_the_callers_trace():
    exported = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter").InMemorySpanExporter()
    traces = Traces(exported)
    trace = continue_trace(f"00-{'a' * 32}-{'b' * 16}-01", "", 0.0)
    traces(record(seconds={}, context=RequestContext(trace=trace)))
    traces(record("", "refused", "NoKey", seconds={}, context=RequestContext(trace=trace)))  # a stranger's header
    traces.close()
    (span,) = exported.get_finished_spans()
    assert f"{span.context.trace_id:032x}" == "a" * 32
    assert f"{span.parent.span_id:016x}" == "b" * 16
    assert f"{span.context.span_id:016x}" == trace.span


def test_traces_are_sampled():
    exported = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter").InMemorySpanExporter()
    traces = Traces(exported, share=0.1)
    for _ in range(2000):
        traces(record(seconds={}, context=RequestContext(trace=continue_trace("", "", traces.share))))
    traces.close()
    assert 120 < len(exported.get_finished_spans()) < 290  # 200 ± 6 standard errors


def test_as_many_clients_are_remembered_as_asked_last(monkeypatch):
    monkeypatch.setattr("feint.gateway.telemetry.client_gauges.CLIENTS", 100)
    gauges = ClientGauges()
    for i in range(300):
        gauges([record("first"), record(f"client-{i}")])
    assert len(gauges.clients) == 100
    assert ("digits", "first") in gauges.clients


def test_record_without_evidence_keeps_the_last_evidence():
    gauges = ClientGauges()
    gauges([record(evidence=1.5, rung=2), record(outcome="refused", reason="OverBudget")])
    assert gauges.clients["digits", "ann"] == (1.5, 2)


def test_one_record_that_fails_fails_no_request_and_is_said_once(caplog):
    operator = Telemetry(metrics=True)
    operator._observers.insert(0, lambda it: 1 / 0)
    with caplog.at_level(logging.ERROR, "feint.gateway"):
        operator(record())
        operator(record())
    assert samples(operator.metrics)["feint_requests_total", "answered", "digits"] == 2
    assert len(caplog.records) == 1
    operator.close()


def test_opened_as_the_settings_say(tmp_path, capsys, monkeypatch):
    speaker = logging.getLogger("feint.gateway")
    kept = speaker.handlers, speaker.propagate, speaker.level
    try:
        (tmp_path / "key").write_text("0" * 32)
        operator = start_telemetry(
            OperatorSettings(
                metrics=False, audit_log=tmp_path / "audit.jsonl", audit_key_file=tmp_path / "key", log="info"
            )
        )
        operator(record("bob", "refused", "OverBudget"))
        operator.enter("mode enforce", model="digits", by="root")
        operator.close()
    finally:
        speaker.handlers, speaker.propagate, speaker.level = kept
    assert operator.metrics is None
    assert [it["action"] for it in map(json.loads, (tmp_path / "audit.jsonl").read_text().splitlines())] == [
        "refused",
        "mode enforce",
    ]
    shipped, refused, shipped_later, entered = map(json.loads, capsys.readouterr().out.splitlines())
    assert [line["feint"]["audit"]["number"] for line in (shipped, shipped_later)] == [0, 1]
    assert refused["event"]["reason"] == "OverBudget"
    assert entered["message"] == "mode enforce: model digits, by root"


def test_an_audit_log_without_its_key_is_not_opened(tmp_path):
    with pytest.raises(MissingData, match="no variable NO_SUCH_KEY"):
        start_telemetry(OperatorSettings(audit_log=tmp_path / "audit.jsonl", audit_key_env="NO_SUCH_KEY"))
    assert not (tmp_path / "audit.jsonl").exists()


@pytest.mark.slow
def test_neither_the_gateways_page_nor_its_records_import_torch():
    modules = "feint.gateway.dashboard.page, feint.gateway.telemetry.observers"
    code = f"import sys; sys.modules['torch'] = None; import {modules}; print('fine')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "fine\n"
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["another.library", "feint.gateway.parts"])
def test_exceptions_in_messages_of_other_libraries_are_named_by_their_class(name):
    line = io.StringIO()
    error = OSError("url: /v1/traces/s3cr3t")
    Handler(Logs("info", to=line)).emit(
        logging.LogRecord(name, logging.WARNING, "", 0, "an error %s after %.1f s", (error, 2.0), None)
    )
    assert ("an error OSError after 2.0 s" in line.getvalue()) == (name == "another.library")


class FullDisk(io.StringIO):
    """A stream on a disk that is full until there is `room`."""

    room = False

    def flush(self):
        if not self.room:
            self.seek(0)
            self.truncate()
            raise OSError(28, "No space left on device")


def test_a_gateway_goes_on_where_its_log_cannot_be_written(tmp_path):
    disk = FullDisk()
    operator = Telemetry(audit_log=tmp_path / "audit.jsonl", logs=Logs("info", to=disk))
    operator(record("ann", "refused", "NoKey"))
    operator.enter("mode enforce", model="digits")
    operator.note("gateway started")
    operator.close()
    disk.room = True
    operator(record("ann", "refused", "NoKey"))
    lines = [json.loads(line) for line in disk.getvalue().splitlines()]
    assert [line.get("message", line.get("event", {}).get("reason")) for line in lines] == [
        "4 lines could not be written",
        "NoKey",
    ]
