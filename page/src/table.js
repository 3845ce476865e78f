import { h } from "./dom.js";

/** The number that a text begins with ("+0.12 (…)", "1.94 M", "3,669"), or NaN. */
const leading = (text) => Number.parseFloat(text.replaceAll(",", "").replace("−", "-"));

/** Compare two cells: numbers by size, other text by name; what has no number comes last. */
function compare(first, second, numeric, direction) {
  if (!numeric) return direction * first.localeCompare(second, "en", { numeric: true });
  const [a, b] = [leading(first), leading(second)];
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
  return direction * (a - b);
}

/**
 * A table that is sorted by a click on a column's heading.
 * @param {{caption: string, columns: string[], rows: string[][]}} data
 * @param {(row: string[]) => (Node|string)[]} before what to put before a row's first cell
 */
export function table({ caption, columns, rows }, before = () => []) {
  const numeric = columns.map((_, i) =>
    rows.some((row) => row[i]) && rows.every((row) => !row[i] || !Number.isNaN(leading(row[i]))));
  const body = h("tbody");
  const headings = columns.map((title, i) => {
    const button = h("button", { type: "button", onclick: () => sort(i) }, title);
    return h("th", { scope: "col", class: numeric[i] && "number" }, button);
  });

  function show(shown) {
    body.replaceChildren(...shown.map((row) => h("tr", {}, ...row.map((text, i) =>
      i === 0
        ? h("th", { scope: "row" }, ...before(row), text)
        : h("td", { class: numeric[i] && "number" }, text)))));
  }

  function sort(column) {
    const heading = headings[column];
    const orders = ["ascending", "descending"];
    if (numeric[column]) orders.reverse(); // first from the largest on
    const order = orders[heading.getAttribute("aria-sort") === orders[0] ? 1 : 0];
    for (const other of headings) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", order);
    const direction = order === "ascending" ? 1 : -1;
    show(rows.toSorted((a, b) => compare(a[column], b[column], numeric[column], direction)));
  }

  show(rows);
  const inner = h("table", {}, h("thead", {}, h("tr", {}, ...headings)), body);
  if (caption) inner.prepend(h("caption", {}, caption));
  // Wide tables scroll by themselves, by keyboard, too; the page does not.
  const label = caption || columns.join(", ");
  return h("div", { class: "table", tabindex: 0, role: "region", "aria-label": label }, inner);
}
