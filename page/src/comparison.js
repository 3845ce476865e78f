/** The sections that compare experiments, or two revisions of them. */
import { intervalChart, lineChart, pointChart, sample } from "./chart.js";
import { h, section, select } from "./dom.js";
import { table } from "./table.js";

const PANELS = [
  { title: "validation IoU", column: "val_iou", digits: 4 },
  { title: "validation accuracy [%]", column: "val_accuracy", digits: 2, factor: 100 },
];
const SCORES = {
  iou: "IoU", accuracy: "accuracy", boundary_iou: "boundary IoU",
  iou_per_image: "IoU, mean over images",
};
const COSTS = {
  parameters: "parameters [million]", gflops: "GFLOP an image", seconds: "minutes of training",
};
const UNITS = { parameters: 1e6, gflops: 1, seconds: 60 };
const DASHES = ["-", "--"]; // of the two revisions

/** The params in which two revisions differ. */
export function params({ params: found }) {
  section("params", "Params that differ",
    found ? table(found) : h("p", {}, "None: the two have the same params."));
}

/** The table of scores, of two revisions of their changes, and below it the means over seeds. */
export function scores({ table: own, seeds, looks, notes, revisions }) {
  const about = revisions
    ? `${revisions[1]} minus ${revisions[0]}, and below it the scores of both. ` : "";
  const mark = ([key]) => (looks[key] ? [sample(looks[key], true), "\u00a0"] : []);
  section("experiments", "Experiments",
    h("p", {}, `${about}A click on a heading sorts.`),
    ...notes.map((note) => h("p", { class: "note" }, note)),
    ...[own, seeds].filter(Boolean).map((each) => table(each, mark)));
}

/** Learning curves in panels, with buttons that switch variants (and revisions) on and off. */
export function curves({ curves: all, looks, revisions = [] }) {
  const kinds = [...new Set(all.map(({ loss }) => loss))].sort();
  const panels = [...PANELS, ...kinds.map((loss) => (
    { title: `${loss} loss, validation`, column: "val_loss", digits: 4, loss }
  ))];
  const lines = all.map((curve) => {
    const groups = [curve.key, curve.revision].filter(Boolean);
    const [color, style] = looks[curve.key];
    const look = [color, DASHES[revisions.indexOf(curve.revision)] ?? style];
    return { ...curve, groups, name: groups.join(", "), look };
  });
  const charts = panels.map(({ title, column, digits, factor = 1, loss }) => lineChart({
    title, digits, series: lines.filter((curve) => !loss || curve.loss === loss).map((curve) => (
      { ...curve, x: curve.epoch, y: curve[column].map((value) => factor * value) }
    )),
  }));
  const shown = new Map(lines.map(({ key, revision, look: [color, style] }) =>
    [key, [color, revision ? "-" : style]]));
  revisions.forEach((name, i) => shown.set(name, ["#000000", DASHES[i]]));
  const on = new Set(shown.keys());
  const buttons = [...shown].map(([key, look]) => {
    const button = h("button", { type: "button", "aria-pressed": "true", onclick: () => {
      if (!on.delete(key)) on.add(key);
      button.setAttribute("aria-pressed", on.has(key));
      for (const chart of charts) chart.show(on);
    } }, sample(look), ` ${key}`);
    return button;
  });
  section("curves", "Learning curves",
    h("p", {}, "Point at a chart, or use the arrow keys on it, to read the values of an epoch. "
      + "The losses of different kinds do not compare."),
    h("div", { class: "toggles", role: "group", "aria-label": "Lines shown" }, ...buttons),
    h("div", { class: "panels two" }, ...charts.map(({ element }) => element)));
}

/** What a choice changes, with 95 % intervals over seeds. */
export function effects({ effects: groups }) {
  section("effects", "What a choice changes",
    h("p", {}, "Differences in points (0.01) with their 95 % intervals over seeds. "
      + "Green: the first is better; red: the second; grey: it cannot be told."),
    ...groups.flatMap(({ title, panels }) => {
      const ends = panels.flatMap(({ rows }) => rows.flatMap(({ low, high }) => [low, high]));
      const range = [Math.min(0, ...ends) * 1.08, Math.max(0, ...ends) * 1.08];
      const charts = panels.map((panel) => intervalChart({ ...panel, range }));
      return [h("h3", {}, title), h("div", { class: "panels three" }, ...charts)];
    }));
}

/** Scores against what a model costs. */
export function costs({ costs: charts, looks }) {
  const panels = h("div", { class: "panels two" });
  // Variants of the ablation have the colours of its figure.
  const color = (key) => looks[key]?.[0] ?? (key.includes("-ups-") ? "#E69F00" : "#0072B2");
  const chosen = { x: "parameters", y: "iou" };
  const choose = (axis) => (value) => {
    chosen[axis] = value;
    panels.replaceChildren(...charts.map(({ title, points }) => pointChart({
      title: `${SCORES[chosen.y]} [%]: ${title} (${points[0].about})`, xLabel: COSTS[chosen.x],
      points: points.map((p) => ({
        name: p.key, color: color(p.key), x: p[chosen.x][0] / UNITS[chosen.x],
        y: 100 * p[chosen.y][0], spread: 100 * p[chosen.y][1],
      })),
    })));
  };
  section("cost", "Quality against cost",
    h("p", {}, "Of several seeds the mean, with a bar of one standard deviation either way."),
    h("div", { class: "toggles" },
      select("Score ", SCORES, choose("y")),
      select("Cost ", COSTS, choose("x"))),
    panels);
}

/** The pictures of plots/; of two revisions, each beside its counterpart. */
export function pictures({ pictures: all, revisions }) {
  const shown = (url, title) => (url ? picture(url, title) : h("p", {}, `${title}: none.`));
  section("pictures", "Predictions",
    h("p", {}, "Hit blue, miss yellow, false alarm red. A click enlarges."),
    ...all.map(({ title, urls }) => h("div", { class: `panels ${revisions ? "two" : ""}` },
      ...urls.map((url, i) => shown(url, revisions ? `${title}: ${revisions[i]}` : title)))));
}

/** Masks that trained models contradict. */
export function suspects({ suspects: found }) {
  section("suspects", "Suspect labels",
    h("p", {}, "Masks that models contradict most which did not see them: they may be wrong."),
    picture(found.picture, "The first of them: mask yellow, prediction red"),
    h("details", {}, h("summary", {}, found.caption), table(found)));
}

/** A picture with a caption, which a click shows at its own size. */
function picture(src, caption) {
  const large = h("dialog", { "aria-label": caption, onclick: () => large.close() },
    h("img", { src, alt: caption }));
  const name = { class: "picture", "aria-label": `Enlarge: ${caption}` };
  const small = h("button", { type: "button", ...name, onclick: () => large.showModal() },
    h("img", { src, alt: "", loading: "lazy" }));
  return h("figure", {}, small, h("figcaption", {}, caption), large);
}
