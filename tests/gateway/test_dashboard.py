"""The operator's page, over HTTP and in a real browser."""

import asyncio
import base64
import re
import time
from contextlib import contextmanager
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import httpx2
import numpy as np
import pytest
from tests.support.gateways import Straight, running

from feint.defenses.access import Budget
from feint.errors import StoreLost
from feint.gateway.app import Gateway
from feint.gateway.auth import keys
from feint.gateway.auth.keyfile import Keys
from feint.gateway.dashboard.data import Catalog, language, pace
from feint.gateway.dashboard.page import routes
from feint.gateway.endpoint import FACTS, ModelEndpoint
from feint.gateway.ledger_session import LedgerSession
from feint.gateway.routes import app
from feint.gateway.stores.memory import MemoryStore
from feint.gateway.telemetry.observers import Telemetry
from feint.i18n import texts
from feint.openinference.model_spec import ModelSpec
from feint.signature import Pixels, Tensor

PIXELS = Tensor("pixels", "FP32", (1, 2, 2))

ROOM = "feint.gateway.dashboard"
CHROMIUM = Path("/usr/bin/chromium")


class Watched(Straight):
    """Evidence is the mean of what a client sends, and a budget of 50 queries."""

    rules = (Budget(50),)

    def admit(self, asked, account):
        self.rules[0].admit(asked, account)

    async def answer(self, asked, computed, account, record, *, shadow):
        account.add("evidence", 0.0, floor=float(asked.x.mean()))
        record.evidence = account.total("evidence")
        record.rung = int(record.evidence >= 1)
        account.add("rung", 0.0, floor=record.rung)
        record.applied = 0 if shadow else record.rung
        return computed


class Site:
    """A gateway of two models with a page, keys and an audit log."""

    def __init__(self, folder, **how):
        file = Keys(folder / "keys.db", new=True)
        self.file = file
        self.admin, self.admin_key = file.add("root", roles=("infer", "admin"))
        self.reader, _ = file.add("prometheus", roles=("metrics",))
        self.clients = {name: file.add(name)[0] for name in ("ann", "mallory")}
        self.operator = Telemetry(audit_log=folder / "audit.jsonl")
        self.endpoints = {
            name: ModelEndpoint(
                ModelSpec(name, Pixels((1, 2, 2)), "p", 3, (PIXELS,)), Watched(), LedgerSession(MemoryStore()),
                observer=self.operator, shadow=True,
            )
            for name in ("digits", "a b")
        }  # fmt: skip
        self.gateway = Gateway(self.endpoints, keys.open(file.path))
        self.app = app(self.gateway, routes=routes(self.gateway, self.operator, **how))

    def ask(self, url, client, level, times=1, rows=2):
        data = np.full((rows, 1, 2, 2), level, np.float32)
        body = {"inputs": [{"name": "pixels", "shape": data.shape, "datatype": "FP32", "data": data.ravel().tolist()}]}
        for _ in range(times):
            head = {"Authorization": f"Bearer {self.clients[client]}"}
            httpx2.post(f"{url}/v2/models/digits/infer", json=body, headers=head)


@pytest.fixture
def site(tmp_path):
    it = Site(tmp_path)
    with running(it.gateway, it.app) as it.url:
        yield it
    it.operator.close()


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def get(site, path, **headers):
    return httpx2.get(site.url + path, headers=headers)


def basic(key):
    return {"Authorization": f"Basic {base64.b64encode(f'anyone:{key}'.encode()).decode()}"}


@pytest.mark.slow
def test_only_an_admins_key_opens_the_page(site):
    for headers in (
        {}, bearer(site.clients["ann"]), basic(site.clients["ann"]), bearer("nonsense"), basic("nonsense"), basic(""),
        bearer(site.reader), basic(site.reader), {"Authorization": "Basic !"}, {"Authorization": "Basic //8="},
        {"Authorization": f"Digest {site.admin}"}, {"Cookie": f"feint_operator={site.admin}"},
    ):  # fmt: skip
        page = get(site, "/ui", **headers)
        assert page.status_code == 401
        assert page.headers["www-authenticate"].startswith("Basic realm=")
        assert "digits" not in page.text
    assert get(site, f"/ui?key={site.admin}").status_code == 401
    for headers in (bearer(site.admin), basic(site.admin)):
        assert "digits" in get(site, "/ui", **headers).text


def test_the_metrics_take_a_bearer_key(site):
    for headers in ({}, bearer(site.clients["ann"]), basic(site.admin), bearer("nonsense")):
        assert get(site, "/metrics", **headers).status_code in (401, 403)
    assert get(site, "/metrics", **bearer(site.admin)).text.startswith("# HELP feint_")


def test_a_key_for_the_metrics_opens_nothing_else_and_they_name_nobody(site):
    reader = bearer(site.reader)
    site.ask(site.url, "ann", 0.3)
    text = get(site, "/metrics", **reader).text
    assert 'feint_requests_total{model="digits",outcome="answered"} 1.0' in text
    assert "ann" not in re.sub(r"# .*", "", text)
    assert get(site, "/ui", **reader).status_code == 401
    body = {"inputs": [{"name": "pixels", "shape": [1, 1, 2, 2], "datatype": "FP32", "data": [0, 0, 0, 0]}]}
    assert httpx2.post(f"{site.url}/v2/models/digits/infer", json=body, headers=reader).status_code == 403


def test_without_a_page_there_is_none(tmp_path):
    site = Site(tmp_path, ui=False)
    with running(site.gateway, site.app) as url:
        assert httpx2.get(f"{url}/ui", headers=bearer(site.admin)).status_code == 404
    site.operator.close()


def test_the_page_changes_nothing_and_runs_no_script(site):
    page = get(site, "/ui", **bearer(site.admin))
    assert "set-cookie" not in page.headers
    assert page.headers["cache-control"] == "no-store"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy
    assert not re.search(r"<script|<form|<input|<button|https?://|//cdn|javascript:| on\w+=", page.text)
    for path in ("/ui", "/ui/session", "/ui/session/end", "/ui/models/digits"):
        sent = httpx2.post(site.url + path, headers=bearer(site.admin), data={"mode": "enforce", "sure": "yes"})
        assert sent.status_code in (404, 405)
    assert site.endpoints["digits"].shadow


def test_revoked_key_is_refused(site):
    assert get(site, "/ui", **basic(site.admin)).status_code == 200
    site.file.revoke(site.admin_key.id)
    time.sleep(keys.FRESH)
    assert get(site, "/ui", **basic(site.admin)).status_code == 401


class Shape(HTMLParser):
    """What a page is made of, and whether it closes what it opens."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.cell = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "link", "input", "line", "path"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        if tag not in ("meta", "link", "input", "line", "path"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_clients_stand_by_evidence_with_budget_and_rung(site):
    for level in (0.1, 0.4, 1.0):
        site.ask(site.url, "mallory", level, rows=5)
        site.ask(site.url, "ann", level / 1.6)
    site.ask(site.url, "mallory", 0.2, rows=50)  # more than is left
    page = Shape(get(site, "/ui", **bearer(site.admin)).text)
    assert page.open == []
    rows = {row[0]: row for row in page.rows}
    assert list(rows) == ["client", "mallory", "ann"]
    assert rows["mallory"][1:] == ["1.00", "1", "15", "35"]
    assert rows["ann"][1:] == ["0.50", "0", "6", "44"]


@contextmanager
def replica_of(site):
    """Another process of the same gateway, from the same stores."""
    endpoints = {
        name: ModelEndpoint(endpoint.spec, endpoint.pipeline, LedgerSession(endpoint.session.store), shadow=True)
        for name, endpoint in site.endpoints.items()
    }
    gateway, operator = Gateway(endpoints, keys.open(site.file.path)), Telemetry()
    with running(gateway, app(gateway, routes=routes(gateway, operator))) as url:
        yield url


def test_all_replicas_show_the_same_page(site, monkeypatch):
    """Whichever of them answered the clients, and whichever lost lines of its audit log."""
    monkeypatch.setattr("feint.gateway.dashboard.data.datetime", SimpleNamespace(now=lambda zone: datetime(2026, 1, 1)))
    site.ask(site.url, "mallory", 1.0, times=3)
    site.ask(site.url, "ann", 0.2, rows=51)  # more than the budget
    with replica_of(site) as url:
        pages = [httpx2.get(f"{at}/ui", headers=bearer(site.admin)).text for at in (site.url, url)]
    assert "mallory" in pages[0]
    assert pages[0] == pages[1]


def test_names_on_the_page_are_escaped(site):
    site.endpoints["digits"].session.store = Told([("<img src=x onerror=alert(1)>", {"evidence": 1.0})])
    page = get(site, "/ui", **bearer(site.admin)).text
    assert "<img" not in page
    assert "&lt;img" in page


def test_groups_of_linked_clients_stand_by_evidence(site):
    session = site.endpoints["digits"].session

    async def accuse():
        for group, evidence in (("card-1", 0.3), ("card-2", 1.2)):
            transaction = session.begin(f"of {group}", group)
            transaction.accuse(evidence)
            assert await session.commit(transaction)

    asyncio.run(accuse())
    page = Shape(get(site, "/ui", **bearer(site.admin)).text)
    rows = [row for row in page.rows if row[0].startswith(("group", "card"))]
    assert rows == [["group", "evidence"], ["card-2", "1.00"], ["card-1", "0.25"]]


class Alarm:
    """A campaign whose alarm is a total of the account that all clients share."""

    def alarmed(self, query, account):
        return query.time < account.shared.peek("until")


@pytest.mark.parametrize("seconds", [-60, 60])
def test_a_campaign_alarm_of_the_ledger_is_on_the_page_while_it_lasts(site, seconds):
    endpoint = site.endpoints["digits"]
    endpoint.pipeline.campaign = Alarm()
    transaction = endpoint.session.begin("ann")
    transaction.shared.add("until", time.time() + seconds)
    assert asyncio.run(endpoint.session.commit(transaction))
    assert ("Campaign alarm" in get(site, "/ui", **bearer(site.admin)).text) is (seconds > 0)


def test_what_replicas_differ_in_is_on_the_page(site):
    assert "otherwise" not in get(site, "/ui", **bearer(site.admin)).text
    site.endpoints["digits"].replicas_differ = "mode", "keys"
    assert "from the same ledger otherwise: mode, API keys." in get(site, "/ui", **bearer(site.admin)).text
    assert "：模式, API 密钥。" in get(site, "/ui?lang=zh", **bearer(site.admin)).text


class Told:
    def __init__(self, rows=None):
        self.rows = rows

    async def clients(self, most=100, *, kind="client"):
        if self.rows is None:
            raise StoreLost("x", "y", "z")
        return self.rows

    async def commit(self, *_):
        raise StoreLost("x", "y", "z")

    async def close(self):
        pass


def test_without_its_ledger_the_page_says_so(site):
    site.ask(site.url, "ann", 0.5)
    site.endpoints["digits"].session.store = Told()
    page = get(site, "/ui", **bearer(site.admin)).text
    assert "The ledger cannot be read now" in page
    assert "Nobody has asked yet" in page  # of the other model
    assert ">ann<" not in page


def test_every_word_is_there_in_both_languages():
    found = texts(ROOM)
    used = (Path(__file__).parents[2] / "src/feint/gateway/dashboard/page.html").read_text()
    used += (Path(__file__).parents[2] / "src/feint/gateway/dashboard/data.py").read_text()
    for word, said in found.items():
        assert set(said) == {"en", "zh"}
        assert sorted(re.findall(r"{\w+}", said["en"])) == sorted(re.findall(r"{\w+}", said["zh"]))
        assert f'"{word}"' in used or f"'{word}'" in used or word in {f"fact {what}" for what in FACTS}


def test_page_language_and_refresh_interval_are_parsed():
    assert [language("", it).name for it in (["zh-CN", "en"], ["de", "zh;q=0.5"], ["*"], [])] == [
        "zh",
        "zh",
        "en",
        "en",
    ]
    assert language("zh", ["en"]).name == "zh"
    assert isinstance(language("xx", []), Catalog)
    assert [pace(it) for it in ("", "0", "5", "6", "30", "9" * 50, "-1", "x", "²")] == [
        30,
        0,
        5,
        30,
        30,
        30,
        30,
        30,
        30,
    ]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip("no /usr/bin/chromium")
    with playwright.sync_playwright() as it:
        chromium = it.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.slow
@pytest.mark.browser
def test_in_a_browser(site, browser, tmp_path):
    for i in range(8):
        site.ask(site.url, "mallory", i / 6, rows=3)
        site.ask(site.url, "ann", 0.2 + i / 100)
    context = browser.new_context(
        viewport={"width": 1100, "height": 900}, http_credentials={"username": "", "password": site.admin}
    )
    page = context.new_page()
    asked, wrong = [], []
    page.on("request", lambda it: asked.append(it.url))
    page.on("console", lambda it: wrong.append(it.text))
    page.on("pageerror", lambda it: wrong.append(str(it)))
    page.goto(f"{site.url}/ui")
    page.get_by_role("link", name="off", exact=True).click()
    page.wait_for_url("**every=0*")  # and for its load: a click alone may leave the next page half read
    assert page.locator("section").count() == 2
    assert page.locator("section").first.locator("table.clients tbody tr").first.locator("th").inner_text() == "mallory"
    for size in ((1100, 900), (360, 740)):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.get_by_role("link", name="中文").click()
    page.get_by_role("heading", name="网关").wait_for()
    assert page.locator("html").get_attribute("lang") == "zh"
    assert all(it.startswith((site.url, "data:")) for it in asked)
    assert not any(site.admin in it for it in asked)
    assert wrong == []
    context.close()
