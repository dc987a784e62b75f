"""The operator's page, over HTTP and in a real browser."""

import contextlib
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import httpx2
import numpy as np
import pytest
from tests.gateways import Straight, running

from feint.defenses.access import Budget
from feint.errors import StoreLost
from feint.gateway.door import keys
from feint.gateway.door.keyfile import Keys
from feint.gateway.drafts import Drafts
from feint.gateway.endpoint import ModelEndpoint
from feint.gateway.gateway import Gateway
from feint.gateway.operator.audit import verify
from feint.gateway.operator.board import Catalog, language, pace
from feint.gateway.operator.page import routes
from feint.gateway.operator.recording import Operator
from feint.gateway.routes import app
from feint.gateway.stores.memory import MemoryStore
from feint.i18n import texts
from feint.openinference.model_spec import ModelSpec

ROOM = "feint.gateway.operator"
CHROMIUM = Path("/usr/bin/chromium")


class Watched(Straight):
    """Evidence is the mean of what a client sends, and a budget of 50 queries."""

    rules = (Budget(50),)

    def admit(self, asked, account):
        self.rules[0].admit(asked, account)

    async def answer(self, asked, computed, account, decision, *, shadow):
        account.add("evidence", 0.0, floor=float(asked.x.mean()))
        decision.evidence = account.total("evidence")
        decision.rung = int(decision.evidence >= 1)
        account.add("rung", 0.0, floor=decision.rung)
        decision.applied = 0 if shadow else decision.rung
        return computed


class Site:
    """A gateway of two models with a page, keys and an audit log."""

    def __init__(self, folder, **how):
        file = Keys(folder / "keys.db", new=True)
        self.file = file
        self.admin, self.admin_key = file.add("root", roles=("infer", "admin"))
        self.reader, _ = file.add("prometheus", roles=("metrics",))
        self.clients = {name: file.add(name)[0] for name in ("ann", "mallory")}
        self.operator = Operator(audit_log=folder / "audit.jsonl")
        self.operator.seen.gap = 0.0
        self.desks = {
            name: ModelEndpoint(
                ModelSpec(name, "pixels", (1, 2, 2), "p", 3), Watched(), Drafts(MemoryStore()), record=self.operator,
                shadow=True,
            )
            for name in ("digits", "a b")
        }  # fmt: skip
        self.gateway = Gateway(self.desks, keys.open(file.path))
        self.app = app(self.gateway, routes=routes(self.gateway, self.operator, **how))
        self.audit, self.browsing = folder / "audit.jsonl", contextlib.ExitStack()

    def ask(self, url, client, level, times=1, rows=2):
        data = np.full((rows, 1, 2, 2), level, np.float32)
        body = {"inputs": [{"name": "pixels", "shape": data.shape, "datatype": "FP32", "data": data.ravel().tolist()}]}
        for _ in range(times):
            head = {"Authorization": f"Bearer {self.clients[client]}"}
            httpx2.post(f"{url}/v2/models/digits/infer", json=body, headers=head)


@pytest.fixture
def site(tmp_path):
    it = Site(tmp_path)
    with running(it.gateway, it.app) as it.url, it.browsing:
        yield it
    it.operator.close()


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def get(site, path, **headers):
    return httpx2.get(site.url + path, headers=headers)


def actions(site):
    return [json.loads(it)["action"] for it in site.audit.read_text().splitlines()]


def signed_in(site):
    client = site.browsing.enter_context(httpx2.Client(base_url=site.url, follow_redirects=True))
    page = client.post("/ui/session", data={"key": site.admin})
    assert page.status_code == 200
    return client, re.search(r'name="form" value="([^"]+)"', page.text)[1]


@pytest.mark.slow
def test_nobody_but_an_admin_sees_anything(site):
    for headers in ({}, bearer(site.clients["ann"]), bearer("nonsense"), {"Cookie": "feint_operator=x"}):
        page = get(site, "/ui", **headers)
        assert (page.status_code, 'type="password"' in page.text, "digits" in page.text) == (401, True, False)
        assert get(site, "/metrics", **headers).status_code in (401, 403)
        switched = httpx2.post(f"{site.url}/ui/models/digits", headers=headers, data={"mode": "enforce", "sure": "yes"})
        assert switched.status_code in (401, 403)
    for key in (site.clients["ann"], "nonsense", ""):
        page = httpx2.post(f"{site.url}/ui/session", data={"key": key})
        assert page.status_code in (401, 403)
        assert "set-cookie" not in page.headers
    assert site.desks["digits"].shadow
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


def test_the_cookie_is_for_this_page_and_no_script(site):
    told = httpx2.post(f"{site.url}/ui/session", data={"key": site.admin})
    assert (told.status_code, told.headers["location"]) == (303, "../ui?lang=en")
    cookie = told.headers["set-cookie"]
    assert all(it in cookie for it in ("HttpOnly", "SameSite=strict", "Path=/ui", "Max-Age=28800"))
    assert site.admin not in cookie
    assert "Secure" not in cookie
    behind = httpx2.post(f"{site.url}/ui/session", data={"key": site.admin}, headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in behind.headers["set-cookie"]
    page = get(site, "/ui", **bearer(site.admin))
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy
    assert page.headers["cache-control"] == "no-store"
    assert not re.search(r"<script|https?://|//cdn|javascript:| on\w+=", page.text)


def test_a_switch_takes_a_form_of_this_session_and_is_entered_before_it_is_done(site):
    client, token = signed_in(site)
    form = {"mode": "enforce", "sure": "yes", "form": token}
    for wrong in ({"form": "x"}, {"form": ""}, {"sure": ""}, {"mode": "off"}):
        assert client.post("/ui/models/digits", data=form | wrong).status_code in (400, 403)
    assert site.desks["digits"].shadow
    assert "mode enforce" not in actions(site)
    assert client.post("/ui/models/digits", data=form).status_code == 200
    assert (site.desks["digits"].shadow, site.desks["a b"].shadow) == (False, True)
    assert client.post("/ui/models/a%20b", data=form).status_code == 200
    assert client.post("/ui/models/none", data=form).status_code == 404
    back = httpx2.post(
        f"{site.url}/ui/models/digits", headers=bearer(site.admin), data={"mode": "shadow", "sure": "yes"}
    )
    assert (back.status_code, site.desks["digits"].shadow) == (303, True)
    last = json.loads(site.audit.read_text().splitlines()[-1])
    assert (last["action"], last["model"], last["by"]) == ("mode shadow", "digits", "root")
    assert verify([site.audit]).lines == 3


def test_what_cannot_be_entered_is_not_done(site, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("feint.gateway.operator.audit.os.write", full)
    data = {"mode": "enforce", "sure": "yes"}
    told = httpx2.post(f"{site.url}/ui/models/digits", headers=bearer(site.admin), data=data)
    assert (told.status_code, site.desks["digits"].shadow) == (500, True)
    assert "could not be written" in get(site, "/ui", **bearer(site.admin)).text


def test_a_session_ends_when_its_key_is_revoked_or_its_admin_leaves(site):
    client, token = signed_in(site)
    other, _ = signed_in(site)
    assert client.post("/ui/session/end", data={"form": "x"}).status_code == 403
    assert client.post("/ui/session/end", data={"form": token}).status_code == 401
    assert (client.get("/ui").status_code, other.get("/ui").status_code) == (401, 200)
    site.file.revoke(site.admin_key.id)
    time.sleep(keys.FRESH)
    assert other.get("/ui").status_code == 401


def test_forms_that_are_none(site):
    assert httpx2.post(f"{site.url}/ui/session", content=b"key=" + b"x" * 5000).status_code == 413
    for content in (b"\xff\xfe", b"&&&=", b"a" * 30, "=".join(["a&b"] * 40).encode(), b""):
        assert httpx2.post(f"{site.url}/ui/session", content=content).status_code in (400, 401)


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
        site.ask(site.url, "ann", level / 10)
    site.ask(site.url, "mallory", 0.2, rows=50)  # more than is left
    page = Shape(get(site, "/ui", **bearer(site.admin)).text)
    assert page.open == []
    rows = {row[0]: row for row in page.rows if len(row) == 7}
    assert list(rows) == ["client", "mallory", "ann"]
    assert rows["mallory"][1:6] == ["1.00", "", "1", "15", "35"]
    assert rows["ann"][1:6] == ["0.10", "", "0", "6", "44"]
    small = {}
    for row in page.rows:
        small.setdefault(row[0], row[1:])  # the first model's come first
    assert (small["answered"], small["refused"], small["OverBudget"]) == (["6"], ["1"], ["1"])
    assert float(small["model"][0]) >= 0


def test_names_are_text(site):
    site.operator.seen(_decision("<b>&\"'"))
    site.desks["digits"].drafts.store = Told([("<img src=x onerror=alert(1)>", {"evidence": 1.0})])
    page = get(site, "/ui", **bearer(site.admin)).text
    assert "<img" not in page
    assert "&lt;img" in page


def _decision(client):
    from feint.gateway.decision import Decision

    return Decision("digits", client, 1, time.time(), outcome="answered")


class Told:
    def __init__(self, rows=None):
        self.rows = rows

    async def clients(self, most=100):
        if self.rows is None:
            raise StoreLost("x", "y", "z")
        return self.rows

    async def commit(self, *_):
        raise StoreLost("x", "y", "z")

    async def close(self):
        pass


def test_without_its_ledger_the_page_shows_what_was_seen(site):
    site.ask(site.url, "ann", 0.5)
    site.desks["digits"].drafts.store = Told()
    page = get(site, "/ui", **bearer(site.admin)).text
    assert "The ledger cannot be read now" in page
    assert ">ann<" in page


def test_every_word_is_there_in_both_languages():
    found = texts(ROOM)
    used = (Path(__file__).parents[1] / "src/feint/gateway/operator/page.html").read_text()
    used += (Path(__file__).parents[1] / "src/feint/gateway/operator/board.py").read_text()
    for word, said in found.items():
        assert set(said) == {"en", "zh"}
        assert sorted(re.findall(r"{\w+}", said["en"])) == sorted(re.findall(r"{\w+}", said["zh"]))
        assert f'"{word}"' in used or f"'{word}'" in used or word.split()[0] in ("stage", "outcome")


def test_the_language_and_the_pace():
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
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    asked, wrong = [], []
    page.on("request", lambda it: asked.append(it.url))
    page.on("console", lambda it: wrong.append(it.text))
    page.on("pageerror", lambda it: wrong.append(str(it)))
    page.goto(f"{site.url}/ui")
    wrong.clear()  # Chromium notes the 401 of the page that asks for a key
    page.get_by_label("API key").fill(site.admin)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="off", exact=True).click()
    assert page.locator("section").count() == 2
    assert page.locator("section").first.locator("svg.curve").count() == 2
    assert page.locator("section").first.locator("table.clients tbody tr").first.locator("th").inner_text() == "mallory"
    digits = page.locator("section").first
    digits.get_by_role("button", name="Enforce").click()
    assert site.desks["digits"].shadow  # the box is not ticked, so the browser sends nothing
    digits.get_by_label("I mean the model digits").check()
    digits.get_by_role("button", name="Enforce").click()
    page.get_by_role("button", name="Back to shadow").wait_for()
    assert not site.desks["digits"].shadow
    for size in ((1100, 900), (360, 740)):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.get_by_role("link", name="中文").click()
    page.get_by_role("heading", name="网关").wait_for()
    assert page.locator("html").get_attribute("lang") == "zh"
    assert all(it.startswith((site.url, "data:")) for it in asked)
    assert not any(site.admin in it for it in asked)
    assert wrong == []
    page.get_by_role("button", name="退出").click()
    page.get_by_role("button", name="登录").wait_for()


@pytest.mark.slow
@pytest.mark.browser
def test_another_site_cannot_press_a_button(site, browser, tmp_path):
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{site.url}/ui")
    page.get_by_label("API key").fill(site.admin)
    page.get_by_role("button", name="Sign in").click()
    page.locator("section").first.wait_for()
    evil = tmp_path / "evil.html"
    target = f"{site.url}/ui/models/digits"
    evil.write_text(
        f'<form id="f" method="post" action="{target}"><input name="mode" value="enforce">'
        '<input name="sure" value="yes"></form><script>document.getElementById("f").submit()</script>'
    )
    page.goto(evil.as_uri())
    page.wait_for_url(target)
    assert site.desks["digits"].shadow
    context.close()
