"use strict";
// Tables with the class `sortable`: each heading becomes a button. Numbers sort by value, words by the alphabet.
for (const table of document.querySelectorAll("table.sortable")) {
  // A table of one body sorts its lines; one of several bodies sorts these by their first lines.
  const several = table.tBodies.length > 1;
  const parts = several ? table : table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const valueOf = (row, at) => {
    const cell = row.cells[at];
    const given = cell.dataset.value;
    const text = given !== undefined ? given : cell.textContent.trim().replace("−", "-").replaceAll(",", "");
    const number = parseFloat(text);
    return text === "" || text === "–" ? null : Number.isNaN(number) ? text.toLowerCase() : number;
  };
  heads.forEach((head, at) => {
    if ("plain" in head.dataset) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const first = at === 0 || head.classList.contains("text") ? "ascending" : "descending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      for (const one of heads) one.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      table.classList.add("sorted");
      const all = several ? [...table.tBodies] : [...parts.rows];
      const rows = all.map((row, place) => ({ row, place, value: valueOf(several ? row.rows[0] : row, at) }));
      rows.sort((a, b) => {
        if (a.value === null || b.value === null) return (a.value === null) - (b.value === null) || a.place - b.place;
        const less = a.value < b.value ? -1 : a.value > b.value ? 1 : 0;
        return (order === "ascending" ? less : -less) || a.place - b.place;
      });
      parts.append(...rows.map((one) => one.row));
    });
  });
}
