"""Pages with tables between marks, and the pictures beside them."""

import re
from collections.abc import Callable
from pathlib import Path

from docs.tables import (
    campaigns,
    claims,
    code,
    evidence,
    gateway,
    headline,
    load,
    matrices,
    ownership,
    published,
    speed,
    thefts,
)
from docs.tables.rows import results_of

from feint.report import figures

ROOT = Path(__file__).parents[2]
MARK = "<!-- table: "
PAGES = [
    "README.md",
    "README.zh.md",
    *sorted(
        f"{page.relative_to(ROOT)}"
        for page in (ROOT / "docs").rglob("*.md")
        if "_build" not in page.parts and MARK in page.read_text()
    ),
]
CHINESE = {
    "Defense": "防御",
    "Naive attacker": "轻信的攻击者",
    "Worst case": "最坏情况",
    "Accuracy for honest clients": "正常客户得到的准确率",
    "Answers moved (L1)": "回答的偏移(L1)",
}
ROOMS = (
    campaigns, claims, code, evidence, gateway, headline, load, matrices, ownership, published, speed, thefts,
)  # fmt: skip
TABLES: dict[str, Callable[[], str]] = {name: table for room in ROOMS for name, table in room.TABLES.items()}


def filled(page: str) -> str:
    """Return the text of `page` with every table made anew."""

    def table(match: re.Match[str]) -> str:
        text = TABLES[match[1]]()
        if page.endswith(".zh.md"):
            head, rest = text.split("\n", 1)
            text = "| " + " | ".join(CHINESE[cell.strip()] for cell in head.strip("|").split("|")) + " |\n" + rest
        return f"<!-- table: {match[1]} -->\n\n{text}\n\n<!-- /table -->"

    return re.sub(r"<!-- table: (\w+) -->.*?<!-- /table -->", table, (ROOT / page).read_text(), flags=re.DOTALL)


def main() -> None:
    """Fill the tables of all pages, and draw the curves."""
    for page in PAGES:
        (ROOT / page).write_text(filled(page))
    (ROOT / "docs" / "images").mkdir(exist_ok=True)
    pictures = {
        "claim": headline.figure(headline.SUITE, "Fashion-MNIST", headline.DEFENSES),
        "cifar10": headline.figure("cifar10", "CIFAR-10"),
        "digits": figures.budget_curve(results_of("demo_digits")),
        "ownership": ownership.picture(),
    }
    for name, picture in pictures.items():
        (ROOT / "docs" / "images" / f"{name}.svg").write_text(figures.svg(picture))
