"""The report: it says what the rows say, in both languages, and keeps victims, missing cells and failures apart."""

import json
import re
import string
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.examples import DOMAINS
from tests.support.problems import LinearOn
from tests.support.report_rows import LABELS, MACHINE, NOISE, cell, rows_of_victim, through

from feint import bench
from feint.data import Split
from feint.defenses.inputs import BitDepth, Discretization
from feint.defenses.outputs import LabelOnly
from feint.errors import MissingData, UnknownName
from feint.evaluation import jsonl
from feint.evaluation.results import Results
from feint.i18n import LANGUAGES, Catalog, texts
from feint.report import ImageExamples, Report, heatmap, images, plots, sentences, tables
from feint.report.plots import spread
from feint.report.section import Section, sections
from feint.service import Defense, Service

ROOM = "feint.report"


def page(tmp_path, language="en", rows=None, **more):
    report = Report(Results(rows or rows_of_victim()), "A title", Catalog(language), **more)
    report.write(tmp_path / "report.html")
    return (tmp_path / "report.html").read_text("utf-8")


def fields(text):
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name)


def test_every_word_is_there_in_every_language():
    for name, said in texts(ROOM).items():
        assert sorted(said) == sorted(LANGUAGES), name
        assert fields(said["en"]) == fields(said["zh"]), name


def test_every_flag_has_words():
    import inspect

    from feint.evaluation import checks

    flags = set(re.findall(r'Flag\(\s*"([a-z-]+)"', inspect.getsource(checks)))
    assert len(flags) > 5
    assert {f"flag {it}" for it in flags} <= set(texts(ROOM))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_flag_is_explained_once_with_the_attacks_that_have_it(tmp_path, language):
    low = [{"explained": share} for share in (0.2, 0.31, 0.4)]
    rows = cell(0.5, provenance=MACHINE)
    slow = [replace(row, scores=row.scores | more) for row, more in zip(rows, low, strict=True)]
    labels = cell(0.5, named=("none", "knockoff, labels"), attack=through(LABELS), scores=low[0], provenance=MACHINE)
    (table,) = tables.flags(Section("", slow + labels), Catalog(language))
    assert table.title == "not-converged"
    assert "85%" in table.note
    assert table.rows == [["none", "1,000", "knockoff (20.0%, 31.0%, 40.0%); knockoff, labels (20.0%)"]]
    text = page(tmp_path, language, slow + labels)
    assert text.count(table.note) == 1
    assert '"not-converged: 31.0%"' in text.replace("&#34;", '"')


def test_an_unknown_language_is_named():
    with pytest.raises(UnknownName, match="did you mean 'en'"):
        Catalog("eng")


class Words(HTMLParser):
    """The words that a reader of the page's own language sees, without what a program said."""

    def __init__(self):
        super().__init__()
        self.found, self.open = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "link", "br", "circle", "line"):
            self.open.append((tag, dict(attrs).get("lang") == "en" or tag in ("style", "script")))

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if not any(foreign for _, foreign in self.open):
            self.found.append(data)


def test_no_english_is_left_on_the_chinese_page(tmp_path):
    reader = Words()
    reader.feed(page(tmp_path, "zh"))
    text = " ".join(reader.found)
    assert "最坏情况" in text
    assert "帕累托前沿" in text
    known = {*re.findall("[A-Za-z]+", "A title none APGP noise knockoff labels broken Feint torch processor t SNE")}
    known |= {*re.findall("[A-Za-z]+", "KL L ECE AUROC MiB FGSM PGD feint bench DIR work docs reference checks md a")}
    known |= {"digits"}
    known |= {word for flag in texts(ROOM) if flag.startswith("flag ") for word in flag.split()[1].split("-")}
    assert {*re.findall("[A-Za-z]+", text)} - known == set()


def test_the_page_leads_with_the_worst_case(tmp_path):
    rows = rows_of_victim()
    table = tables.headline(Section("digits", rows), Catalog())
    shown = {row[0]: row for row in table.rows}
    assert shown["APGP"][1].startswith("75.0 (")
    assert shown["APGP"][2] == "10.0"
    assert shown["APGP"][6] == "knockoff, labels"
    assert shown["none"][1].startswith("80.0 (")
    assert "averaging-missing" in shown["noise"][-1]


def test_a_defense_that_was_not_run_as_far_is_judged_where_it_was():
    less = [row for row in rows_of_victim() if row.defense == "none" or (row.defense == "APGP" and row.budget != 1000)]
    reader = next(row for row in rows_of_victim() if (row.defense, row.attack) == ("APGP", "knockoff, labels"))
    less.append(replace(reader, budget=100))
    (sentence,) = (text for text in sentences(Results(less)) if text.startswith("APGP"))
    assert sentence.startswith(
        "APGP, 100 queries: an attacker who takes the answers as they are reaches 10.0%, but the worst case is 75"
    )
    assert not any(text.startswith("APGP, ") for text in sentences(Results(rows_of_victim())))


def test_missing_cells_failed_ones_and_the_worst_are_marked():
    found = heatmap.heat_map(Section("digits", rows_of_victim()), 1000, Catalog())
    kinds = {(name, head): cell.kind for name, cells in found.rows
             for head, cell in zip(found.heads[1:], cells, strict=True)}  # fmt: skip
    assert kinds["knockoff, labels", "APGP"] == "worst"
    assert kinds["knockoff", "APGP"] == ""
    assert kinds["knockoff, labels", "noise"] == "missing"
    assert kinds["broken", "noise"] == "failed"


def test_victims_are_kept_apart_by_name_data_and_weights(tmp_path):
    rows = rows_of_victim("one") + rows_of_victim("two")
    again = [
        replace(row, fingerprint=f"again{i}", recipe={**row.recipe, "victim": "trained elsewhere"})
        for i, row in enumerate(rows_of_victim("two"))
    ]
    found = sections(Results(rows + again))
    assert [section.name for section in found] == ["one", "two two weig", "two trained "]
    assert [len(section.results) for section in found] == [len(rows_of_victim())] * 3
    html = page(tmp_path, rows=rows)
    assert html.count("Victim: one") == 2  # in the table of contents, and above its section
    assert html.count("<h2>") == 2


def test_price_table_holds_the_cost_of_the_queries(tmp_path):
    table = tables.price(Section("digits", rows_of_victim()), 2.5, Catalog())
    assert [row[:2] for row in table.rows] == [["100", "0.25"], ["1,000", "2.50"]]
    assert table.rows[1][3].startswith("75.0")
    assert "Attacker pays" in page(tmp_path, price=2.5)
    assert "Attacker pays" not in page(tmp_path)


def test_published_numbers_stand_beside_measured_ones():
    from feint.bench.schema import ExpectedEntry

    expected = [
        ExpectedEntry("digits", "APGP", "stealer_accuracy", 0.7, "cheng2023apgp", "knockoff, labels", 1000),
        ExpectedEntry("digits", "APGP", "stealer_accuracy", 0.6, "cheng2023apgp", "knockoff, labels", 5000),
        ExpectedEntry("digits", "APGP", "defender_accuracy", 0.95, "cheng2023apgp"),
    ]
    table = tables.published(Section("digits", rows_of_victim()), expected, Catalog())
    assert [row[-1] for row in table.rows] == ["0.75", "", "0.9"]


def test_texts_of_rows_are_escaped_in_html_and_markdown(tmp_path):
    html = page(tmp_path)
    assert "it &lt;broke&gt; | here" in html
    assert "<broke>" not in html
    report = Report(Results(rows_of_victim()), "A title")
    assert r"it <broke> \| here" in report.markdown()
    assert len({line.count("|") - line.count(r"\|") for line in report.markdown().splitlines()
                if line.startswith("| noise") and "broken" in line}) == 1  # fmt: skip


def test_every_row_has_its_recipe(tmp_path):
    import html

    text = page(tmp_path)
    found = [json.loads(html.unescape(it)) for it in re.findall(r"<pre[^>]*>(.*?)</pre>", text, re.DOTALL)]
    assert sorted(json.dumps(it["recipe"], sort_keys=True) for it in found) == sorted(
        json.dumps(row.recipe, sort_keys=True) for row in rows_of_victim()
    )


def test_markdown_has_the_tables_of_the_page(tmp_path):
    for language in LANGUAGES:
        say = Catalog(language)
        said = Report(Results(rows_of_victim()), "A title", say).markdown()
        for word in ("robust title", "matrix title", "utility title", "cost title", "thefts title", "flags title"):
            assert f"### {say(word)}" in said
        assert "0.25" not in said.split(f"### {say('springboard title')}")[0]
        assert "25.0" in said.split(f"### {say('springboard title')}")[1]


def test_scores_that_some_rows_lack_are_empty_there_and_have_no_column_where_all_lack_them():
    say, rows = Catalog("en"), rows_of_victim()
    (plain,) = sections(Results(rows))
    assert "AUC" not in tables.thefts(plain, say).heads
    scored = [
        replace(row, scores={**row.scores, "stealer_auc": 0.8764, "rate_agreement": 0.9}) if row.attack == "knockoff"
        else row for row in rows
    ]  # fmt: skip
    (section,) = sections(Results(scored))
    table = tables.thefts(section, say)
    auc, rate = (table.heads.index(head) for head in ("AUC", "Agreement at 1% FPR"))
    for row in table.rows:
        assert row[auc] == ("0.876" if row[1] == "knockoff" else "")
        assert row[rate].startswith("90.0 (") if row[1] == "knockoff" else not row[rate]


@pytest.mark.slow
def test_figures_of_a_table_with_missing_values():
    domain = DOMAINS["Columns"]
    model = LinearOn(domain).eval()
    test = Split.of(domain.sample(40, 1), np.zeros(40, np.int64), domain=domain)
    same, grid = (Service(model, Defense(inputs=[Discretization(grid)])) for grid in (0, 0.5))
    examples = ImageExamples({"none": Service(model), "same": same, "grid": grid}, test)
    titles = [figure.title for figure in images.pictures(examples, Catalog("en"))]
    assert len(titles) == 2  # the answers behind each; a linear model has no features
    assert not images._changes(same, test.inputs())
    assert images._changes(grid, test.inputs())


@pytest.mark.slow
def test_pictures_of_answers_and_of_input_features(tmp_path, victim, digits):
    lines = {"": Defense(), "APGP": Defense(outputs=[LabelOnly()]), "bits": Defense(inputs=[BitDepth(bits=1)])}
    examples = ImageExamples({name: Service(victim, it) for name, it in lines.items()}, digits.test.share(0, 12))
    html = page(tmp_path, examples={"digits": examples})
    titles = re.findall(r"<h3[^>]*>((?:Answers|Input features) [^<]*)</h3>", html)
    assert titles == [
        "Answers before and after: APGP",
        "Answers before and after: bits",
        "Input features before and after: bits",
    ]
    assert "need the victim and the defenses" not in html
    assert "need the victim and the defenses" in page(tmp_path)


def test_defenses_that_the_pareto_figure_omits_are_named(tmp_path):
    rows = rows_of_victim()
    assert "Not shown" not in page(tmp_path, rows=[row for row in rows if row.defense != "noise"])
    few = cell(0.2, defense=NOISE, named=("few", "knockoff"), budget=100, victim="digits", provenance=MACHINE)
    few = [replace(row, recipe={**row.recipe, "victim": "digits weights"}) for row in few]
    assert "no worst case is known at this budget: noise, few." in page(tmp_path, rows=rows + few)


def test_defenses_are_compared_at_the_largest_budget_that_most_of_them_have():
    more = cell(0.9, named=("none", "knockoff"), budget=10_000, victim="digits", provenance=MACHINE)
    rows = rows_of_victim()
    section = Section("digits", [*rows, *(replace(row, recipe=rows[0].recipe) for row in more)])
    assert section.budgets[-1] == 10_000
    assert section.places() == Section("digits", rows).places()


def test_the_pareto_front_is_what_no_other_beats():
    section = Section("digits", rows_of_victim())
    places = section.places()
    beaten = {
        a for a, (kept, stolen) in places.items() for k, s in places.values()
        if k >= kept and s <= stolen and (k > kept or s < stolen)
    }  # fmt: skip
    assert section.pareto() == set(places) - beaten == {"none", "APGP"}


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_labels_are_spread_in_order(heights):
    placed = spread(np.array(heights))
    order = np.argsort(heights, kind="stable")
    gap = min(5.0, 100 / len(heights))
    assert (np.diff(placed[order]) >= gap - 1e-9).all()
    assert -1e-9 <= placed.min() <= placed.max() <= 100 + 1e-9


def test_rows_without_an_undefended_victim_or_a_utility_have_a_report(tmp_path):
    rows = [row for row in rows_of_victim() if row.defense == "APGP" and row.attack]
    html = page(tmp_path, rows=rows)
    assert "75.0 (" in html
    failed = [row for row in rows_of_victim() if row.error]
    assert "it &lt;broke&gt;" in page(tmp_path, rows=failed)


def test_the_command_merges_folders_and_prints_markdown(run_cli, tmp_path):
    for name, rows in (("one", rows_of_victim("a")[:8]), ("two", rows_of_victim("a"))):
        results = Results()
        for row in rows:
            results.add(row, tmp_path / name)
    code, out, err = run_cli("report one two --lang zh --price-per-1000 2")
    assert code == 0, err
    assert out.count("### 鲁棒窃取准确率") == 1
    assert (tmp_path / "one/report.html").read_text("utf-8").count('<details class="recipe">') == len(rows_of_victim())
    assert err == "\none/report.html\n"


def test_a_file_of_lines_is_of_the_suite_of_its_name_only_where_its_victims_are(run_cli, tmp_path):
    root = Path(__file__).parents[2]
    code, out, err = run_cli(f"report {root}/results/apgp2023_table1.jsonl --out page.html")
    assert code == 0
    assert err == "\npage.html\n"
    assert out.startswith(f"# {bench.load('apgp2023_table1').title}\n")
    assert "published" in out.lower()
    for row in rows_of_victim("another victim"):
        Results().add(row, tmp_path / "gtsrb")
    jsonl.collect(tmp_path / "gtsrb")
    code, out, err = run_cli("report gtsrb.jsonl")
    assert code == 0
    assert err == "\ngtsrb.html\n"
    assert out.startswith("# gtsrb\n")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("report empty", "without a row"),
        ("report nowhere", "without a row"),
        ("report nowhere.jsonl", "which does not exist"),
        ("report rows --lang cn", "one of en, zh"),
        ("report rows --price-per-1000 -1", "0 or more"),
        ("report broken", "broken/cut.json"),
        ("report newer", "format 99"),
    ],
)
def test_a_mistake_is_one_line(run_cli, tmp_path, line, says):
    row = rows_of_victim()[0]
    for name in ("empty", "rows", "broken", "newer"):
        (tmp_path / name).mkdir()
    text = json.dumps(asdict(row))
    (tmp_path / "rows/row.json").write_text(text)
    (tmp_path / "broken/cut.json").write_text(text[:100])
    (tmp_path / "newer/row.json").write_text(json.dumps(asdict(replace(row, format=99))))
    code, out, err = run_cli(line)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert says in err
    assert not list(tmp_path.glob("*/report.html"))


def test_a_missing_package_is_said_before_anything_is_run(monkeypatch):
    import importlib.util

    from feint import report

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingData, match=r'pip install "feint\[report\]"'):
        report.check()


def test_the_documented_example_runs(tmp_path, monkeypatch, capsys):
    root = Path(__file__).parents[2]
    (tmp_path / "results").symlink_to(root / "results")
    monkeypatch.chdir(tmp_path)
    page = root / "docs" / "guides" / "report.md"
    [code] = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    exec(compile(code, "docs/guides/report.md", "exec"), {})
    assert "| APGP top-1 |" in capsys.readouterr().out
    assert "受害模型" in Path("report.html").read_text("utf-8")


def test_figures_show_budgets_and_numbers_and_are_the_same_each_time():
    section, say = Section("digits", rows_of_victim()), Catalog("en")
    curve, pareto = plots.curve(section, "APGP", say), plots.pareto(section, say)
    texts = [re.findall(r"<text[^>]*>([^<]*)</text>", it) for it in (curve, pareto)]
    assert {f"{budget:,}" for budget in section.budgets} <= set(texts[0])
    assert {str(number) for number in range(1, len(section.places()) + 1)} <= set(texts[1])
    assert curve == plots.curve(section, "APGP", say)
    assert pareto == plots.pareto(section, say)
