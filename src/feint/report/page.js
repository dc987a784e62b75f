"use strict";
const copy = %(copy)s, copied = %(copied)s;
for (const recipe of document.querySelectorAll("details.recipe")) {
  const text = recipe.querySelector("pre"), button = document.createElement("button");
  button.type = "button";
  button.textContent = copy;
  button.addEventListener("click", () => {
    const chosen = getSelection();
    chosen.selectAllChildren(text); // a selection can be copied from a file too, where pages have no clipboard
    document.execCommand("copy");
    chosen.removeAllRanges();
    button.textContent = copied;
    setTimeout(() => { button.textContent = copy; }, 2000);
  });
  recipe.insertBefore(button, text);
}
// What is folded is printed, but for the recipes; a link into what is folded unfolds it.
addEventListener("beforeprint", () => document.querySelectorAll("details:not(.recipe)").forEach((it) => { it.open = true; }));
