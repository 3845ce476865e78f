/** The sections that compare experiments, or two revisions of them. */
import { intervalChart, lineChart, pointChart, sample } from "./chart.js";
import { h, section, select } from "./dom.js";
import { table } from "./table.js";

const PANELS = [
  { title: "validation IoU", column: "val_iou", digits: 4 },
  { title: "validation accuracy [%]", column: "val_accuracy", digits: 2, factor: 100 },
];
const SCORES = {
  iou: "IoU", accuracy: "accuracy", boundary_iou: "boundary IoU", iou_per_image: "IoU, mean over images",
};
const COSTS = { parameters: "parameters [million]", gflops: "GFLOP an image", seconds: "minutes of training" };
const UNITS = { parameters: 1e6, gflops: 1, seconds: 60 };
const DASHES = ["-", "--"]; // of the two revisions

/** A row's experiment in its colour. */
const mark = (looks) => ([key]) => (looks[key] ? [sample(looks[key], true), "\u00a0"] : []);

/** The table of scores, and below it the means over seeds. */
export function scores({ table: own, seeds, looks, notes }) {
  section("experiments", "Experiments",
    h("p", {}, "A click on a heading sorts."),
    ...notes.map((note) => h("p", { class: "note" }, note)),
    table({ ...own, caption: "Scores of the models here, one seed each" }, mark(looks)),
    ...(seeds ? [table(seeds, mark(looks))] : []));
}

/** Learning curves in panels, with buttons that switch variants (and revisions) on and off. */
export function curves({ curves: all, looks, revisions = [] }) {
  const kinds = [...new Set(all.map(({ loss }) => loss))].sort();
  const panels = [...PANELS, ...kinds.map((loss) => (
    { title: `${loss} loss, validation`, column: "val_loss", digits: 4, loss }
  ))];
  const charts = panels.map(({ title, column, digits, factor = 1, loss }) => lineChart({
    title, digits, series: all.filter((curve) => !loss || curve.loss === loss).map((curve) => {
      const { key, revision, epoch } = curve;
      const [color, style] = looks[key];
      return {
        name: revision ? `${key}, ${revision}` : key,
        groups: revision ? [key, revision] : [key],
        look: [color, revision ? DASHES[revisions.indexOf(revision)] : style],
        x: epoch,
        y: curve[column].map((value) => factor * value),
      };
    }),
  }));
  const shown = new Map(all.map(({ key, revision }) => [key, revision ? [looks[key][0], "-"] : looks[key]]));
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
  const panels = h("div", { class: "panels three" });
  const choice = select("Differences ", groups.map(({ title }) => title), (i) => {
    const all = groups[i].panels.flatMap(({ rows }) => rows.flatMap(({ low, high }) => [low, high]));
    const range = [Math.min(0, ...all) * 1.08, Math.max(0, ...all) * 1.08];
    panels.replaceChildren(...groups[i].panels.map((panel) => intervalChart({ ...panel, range })));
  });
  section("effects", "What a choice changes",
    h("p", {}, "Differences in points (0.01) with their 95 % intervals over seeds. "
      + "Green: the first is better; red: the second; grey: it cannot be told."),
    choice, panels);
}

/** Scores against what a model costs. */
export function costs({ costs: charts, looks }) {
  const panels = h("div", { class: "panels two" });
  // Variants of the ablation have the colours of its figure.
  const colors = (key) => (looks[key] ? { color: looks[key][0] }
    : { color: key.includes("-ups-") ? "#E69F00" : "#0072B2", hollow: key.endsWith("dice") });
  const chosen = { x: "parameters", y: "iou" };
  const choose = (axis) => (value) => {
    chosen[axis] = value;
    panels.replaceChildren(...charts.map(({ title, points }) => pointChart({
      title: `${SCORES[chosen.y]} [%]: ${title} (${points[0].about})`, xLabel: COSTS[chosen.x],
      points: points.map((p) => ({
        name: p.key, ...colors(p.key), x: p[chosen.x][0] / UNITS[chosen.x],
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
  const shown = (url, title) => (url ? picture(url, title) : h("p", {}, `${title}: there is none.`));
  section("pictures", "Predictions",
    h("p", {}, "Hit blue, miss yellow, false alarm red. A click enlarges."),
    ...all.map(({ title, urls }) => h("div", { class: `panels ${revisions ? "two" : ""}` },
      ...urls.map((url, i) => shown(url, revisions ? `${title}: ${revisions[i]}` : title)))));
}

/** Masks that trained models contradict. */
export function suspects({ suspects: found }) {
  section("suspects", "Suspect labels",
    h("p", {}, "Masks that models contradict most which did not see them: these masks may be wrong."),
    picture(found.picture, "The first of them: mask yellow, prediction red"),
    h("details", {}, h("summary", {}, found.caption), table(found)));
}

/** The params in which two revisions differ, and the change of each score. */
export function changes({ params, table: found, looks, notes, revisions: [a, b] }) {
  section("params", "Params that differ",
    params ? table(params) : h("p", {}, "None: the two have the same params."));
  section("experiments", "Scores",
    h("p", {}, `${b} minus ${a}, and below it the scores of both. A click on a heading sorts.`),
    ...notes.map((note) => h("p", { class: "note" }, note)),
    table(found, mark(looks)));
}

/** A picture with a caption, which a click shows at its own size. */
function picture(url, caption) {
  const large = h("dialog", { "aria-label": caption, onclick: () => large.close() },
    h("img", { src: url, alt: caption }));
  const small = h("button", {
    type: "button", class: "picture", "aria-label": `Enlarge: ${caption}`, onclick: () => large.showModal(),
  }, h("img", { src: url, alt: "", loading: "lazy" }));
  return h("figure", {}, small, h("figcaption", {}, caption), large);
}
