// Sorts tables by a click on a column's head and filters the cohort by name; without it the pages are whole.
"use strict";
for (const table of document.querySelectorAll("table[data-sort]")) {
  const body = table.tBodies[0];
  table.tHead.rows[0].querySelectorAll("th").forEach((head, column) => {
    if (head.hasAttribute("data-fixed")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      table.tHead.querySelectorAll("th").forEach((h) => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => {
        const text = row.cells[column].textContent.trim();
        const value = parseFloat(text.replace("%", ""));
        return head.classList.contains("n") ? (isNaN(value) ? -1 : value) : text.toLowerCase();
      };
      const rows = Array.from(body.rows, (row) => [key(row), row]);
      rows.sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0) * (up ? 1 : -1));
      body.append(...rows.map((pair) => pair[1]));
    });
  });
}
for (const input of document.querySelectorAll("input[data-filter]")) {
  input.parentElement.hidden = false;
  const rows = document.getElementById(input.dataset.filter).tBodies[0].rows;
  const said = document.getElementById("found");
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
      shown += !row.hidden;
    }
    said.textContent = wanted ? `${shown} found` : "";
  });
}
if (location.hash) {
  const place = document.getElementById(location.hash.slice(1));
  if (place instanceof HTMLDetailsElement) place.open = true;
}
