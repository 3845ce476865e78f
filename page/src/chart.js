/** Small charts as SVG: lines, intervals, points. Each is drawn for the width that it has. */
import { h, s } from "./dom.js";

const DASHES = { "-": null, "--": "7 4", "-.": "8 3 2 3", ":": "2 3" };
const FOOT = 36; // pixels below the x axis, for its numbers and title

/** About `count` round numbers from `low` to `high`, at least `least` apart. */
function ticks([low, high], count, least = 0) {
  const rough = Math.max(least, (high - low || 1) / count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) * power;
  const [first, last] = [Math.ceil(low / step - 1e-9), Math.floor(high / step + 1e-9)];
  const values = Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
  return { values, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

/** The smallest and the largest of `values`, with a margin. */
function extent(values, margin = 0.05) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const more = (high - low || Math.abs(high) || 1) * margin;
  return [low - more, high + more];
}

const scale = ([low, high], [from, to]) => (v) => from + ((v - low) / (high - low)) * (to - from);
/** With a minus sign as in the tables. */
const number = (value, digits) => value.toFixed(digits).replace("-", "−");
const signed = (value) => (value < 0 ? "" : "+") + number(value, 2);
/** What is black in the pictures has the text's colour here, which a dark page shows. */
const paint = (color) => (color === "#000000" ? "currentColor" : color);

const line = (x1, y1, x2, y2, attributes) => s("line", { x1, y1, x2, y2, ...attributes });
const dot = (cx, cy, r, attributes) => s("circle", { cx, cy, r, ...attributes });
const text = (x, y, anchor, content, attributes) =>
  s("text", { x, y, "text-anchor": anchor, ...attributes }, content);
const drawing = (width, height, attributes, ...children) => s("svg", {
  width, height, viewBox: `0 0 ${width} ${height}`, role: "img", ...attributes,
}, ...children);

/** A figure whose picture is drawn anew when its width changes. */
function figure(title, draw, ...below) {
  const stage = h("div", { class: "chart" });
  const redraw = () => stage.replaceChildren(draw(Math.max(340, stage.clientWidth)));
  new ResizeObserver(redraw).observe(stage);
  redraw();
  const element = h("figure", {}, h("figcaption", {}, title), stage, ...below);
  return { element, redraw };
}

/** The grid with the numbers of the x axis, and its title. */
function xAxis(x, left, width, height, title, { values, digits }) {
  const bottom = height - FOOT;
  return [
    ...values.map((value) => line(x(value), 6, x(value), bottom, { class: "grid" })),
    ...values.map((value) => text(x(value), bottom + 15, "middle", number(value, digits))),
    text((left + width) / 2, height - 4, "middle", title, { class: "label" }),
  ];
}

/** The same of the y axis. */
function yAxis(y, left, width, { values, digits }) {
  return [
    ...values.map((value) => line(left, y(value), width - 8, y(value), { class: "grid" })),
    ...values.map((value) => text(left - 6, y(value) + 4, "end", number(value, digits))),
  ];
}

/** A short line or a dot as a chart draws it, to name a variant by. */
export function sample([color, style], asDot = false) {
  const dashes = { stroke: paint(color), "stroke-width": 2.5, "stroke-dasharray": DASHES[style] };
  const drawn = asDot ? dot(6, 6, 4.5, { fill: paint(color) }) : line(1, 6, 27, 6, dashes);
  const width = asDot ? 12 : 28;
  return s("svg", { class: "sample", width, height: 12, "aria-hidden": "true" }, drawn);
}

/**
 * Lines over epochs; the values at one epoch (the pointer's, or by the arrow keys) stand below.
 * @param {{title: string, digits: number, series: {name: string, groups: string[],
 *   look: [string, string], x: number[], y: number[]}[]}} chart; a line is shown while all its
 *   groups are
 */
export function lineChart({ title, digits, series }) {
  const epochs = [...new Set(series.flatMap(({ x }) => x))].sort((a, b) => a - b);
  const [first, last] = [epochs[0], epochs.at(-1)];
  let epoch = last;
  let shown = series;
  const readout = h("ul", { class: "readout" });
  const { element, redraw } = figure(title, draw, readout);

  function move(to = epoch) {
    if (to === epoch) return;
    epoch = to;
    redraw();
  }

  function draw(width) {
    const [height, left] = [250, 46];
    const here = shown.map((one) => ({ ...one, value: one.y[one.x.indexOf(epoch)] }))
      .filter(({ value }) => value !== undefined);
    const rows = here.toSorted((a, b) => b.value - a.value).map(({ look, name, value }) =>
      h("li", {}, sample(look), ` ${name} `, h("b", {}, value.toFixed(digits))));
    readout.replaceChildren(h("li", { class: "epoch" }, `epoch ${epoch}`), ...rows);
    const range = extent(shown.length ? shown.flatMap(({ y }) => y) : [0, 1]);
    const x = scale([first, last], [left + 6, width - 14]);
    const y = scale(range, [height - FOOT, 8]);
    const drawn = drawing(width, height, {
      role: "slider", tabindex: 0, "aria-label": `${title}, epoch`, "aria-valuenow": epoch,
      "aria-valuemin": first, "aria-valuemax": last, "aria-valuetext": readout.textContent,
      onpointermove: (event) => {
        const at = event.clientX - drawn.getBoundingClientRect().left;
        move(epochs.toSorted((a, b) => Math.abs(x(a) - at) - Math.abs(x(b) - at))[0]);
      },
      onkeydown: ({ key }) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[key] ?? 0;
        move(epochs[epochs.indexOf(epoch) + step]);
        element.querySelector("[role=slider]").focus();
      },
    },
    ...xAxis(x, left, width, height, "epoch", ticks([first, last], 8, 1)),
    ...yAxis(y, left, width, ticks(range, 7)),
    line(x(epoch), 8, x(epoch), height - FOOT, { class: "rule" }),
    ...shown.map(({ look: [color, style], x: xs, y: ys }) => s("polyline", {
      points: xs.map((v, i) => `${x(v)},${y(ys[i])}`).join(" "), fill: "none",
      stroke: paint(color), "stroke-width": 2, "stroke-dasharray": DASHES[style],
    })),
    ...here.map(({ look, value }) => dot(x(epoch), y(value), 3.5, { fill: paint(look[0]) })));
    return drawn;
  }

  /** Show the lines whose groups are all `on`. */
  function show(on) {
    shown = series.filter(({ groups }) => groups.every((group) => on.has(group)));
    redraw();
  }
  return { element, show };
}

/**
 * Estimates in points with their intervals, a row each: green where they lie above 0, red below.
 * @param {{title: string, range: [number, number],
 *   rows: {label: string, estimate: number, low: number, high: number}[]}} chart
 */
export function intervalChart({ title, range, rows }) {
  const say = ({ label, estimate, low, high }) =>
    `${label}: ${signed(estimate)} (${signed(low)} to ${signed(high)})`;
  return figure(title, (width) => {
    const [height, left] = [rows.length * 26 + 48, Math.min(172, width / 2)];
    const x = scale(range, [left + 6, width - 12]);
    return drawing(width, height, { "aria-label": `${title}. ${rows.map(say).join("; ")}` },
      ...xAxis(x, left, width, height, "points", ticks(range, 4)),
      line(x(0), 6, x(0), height - FOOT, { class: "zero" }),
      ...rows.map((row, i) => {
        const y = 20 + i * 26;
        const side = row.low > 0 ? "above" : row.high < 0 ? "below" : "unclear";
        return s("g", { class: side }, s("title", {}, say(row)),
          s("rect", { x: 0, y: y - 13, width, height: 26, fill: "transparent", stroke: "none" }),
          text(left - 4, y + 4, "end", row.label),
          line(x(row.low), y, x(row.high), y, { "stroke-width": 3 }),
          dot(x(row.estimate), y, 4.5, { stroke: "none" }));
      }));
  }).element;
}

/**
 * Named points, with a bar of one deviation either way.
 * @param {{title: string, xLabel: string,
 *   points: {name: string, color: string, x: number, y: number, spread: number}[]}} chart
 */
export function pointChart({ title, xLabel, points }) {
  const say = (p) =>
    `${p.name}: ${p.y.toFixed(2)} ± ${p.spread.toFixed(2)} at ${xLabel} ${p.x.toPrecision(3)}`;
  const [xRange, yRange] = [extent(points.map((p) => p.x), 0.12),
    extent(points.flatMap((p) => [p.y - p.spread, p.y + p.spread]))];
  return figure(title, (width) => {
    const [height, left] = [300, 42];
    const [x, y] = [scale(xRange, [left, width - 12]), scale(yRange, [height - FOOT, 8])];
    const labels = []; // those that would overlap move down
    return drawing(width, height, { "aria-label": `${title}. ${points.map(say).join("; ")}` },
      ...xAxis(x, left, width, height, xLabel, ticks(xRange, 5)),
      ...yAxis(y, left, width, ticks(yRange, 5)),
      ...points.toSorted((a, b) => b.y - a.y).map((p) => {
        const half = 3.4 * p.name.length; // of the label's width, about
        const middle = x(p.x) + (x(p.x) > width * 0.62 ? -1 : 1) * (10 + half);
        const near = labels.filter((other) => Math.abs(other.middle - middle) < other.half + half);
        const at = Math.max(y(p.y) + 4, ...near.map((other) => other.at + 14));
        labels.push({ middle, at, half });
        return s("g", { color: paint(p.color), stroke: "currentColor" }, s("title", {}, say(p)),
          line(x(p.x), y(p.y - p.spread), x(p.x), y(p.y + p.spread), { "stroke-width": 1.5 }),
          dot(x(p.x), y(p.y), 5, { fill: "currentColor" }),
          text(middle, at, "middle", p.name));
      }));
  }).element;
}
