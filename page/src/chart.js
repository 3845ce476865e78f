/** Small charts as SVG: lines, intervals, points. Each is drawn for the width that it has. */
import { h, s } from "./dom.js";

const DASHES = { "-": null, "--": "7 4", "-.": "8 3 2 3", ":": "2 3" };

/** About `count` round numbers from `low` to `high`, at least `least` apart. */
function ticks(low, high, count, least = 0) {
  const rough = Math.max(least, (high - low || 1) / count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) * power;
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(i * step);
  return { values: found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

/** The smallest and the largest of `values`, with a margin. */
function extent(values, margin = 0.05) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const more = (high - low || Math.abs(high) || 1) * margin;
  return [low - more, high + more];
}

const scale = ([low, high], [from, to]) => (v) => from + ((v - low) / (high - low)) * (to - from);

/** A figure whose picture is drawn anew when its width changes. */
function figure(title, draw, ...below) {
  const stage = h("div", { class: "chart" });
  const redraw = () => stage.replaceChildren(draw(Math.max(340, stage.clientWidth)));
  new ResizeObserver(redraw).observe(stage);
  redraw();
  const element = h("figure", {}, h("figcaption", {}, title), stage, ...below);
  return { element, redraw };
}

/** Grid lines, numbers and titles of both axes; `y` is null where rows have names instead. */
function axes({ width, height, left, x, y, xLabel, yLabel, xTicks, yTicks }) {
  const bottom = height - 36;
  const parts = [];
  for (const value of xTicks.values) {
    parts.push(s("line", { class: "grid", x1: x(value), x2: x(value), y1: 6, y2: bottom }),
      s("text", { x: x(value), y: bottom + 15, "text-anchor": "middle" }, number(value, xTicks.digits)));
  }
  for (const value of yTicks?.values ?? []) {
    parts.push(s("line", { class: "grid", x1: left, x2: width - 8, y1: y(value), y2: y(value) }),
      s("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, number(value, yTicks.digits)));
  }
  parts.push(s("text", { class: "label", x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, xLabel));
  if (yLabel) parts.push(s("text", { class: "label", x: 0, y: 0, transform: `translate(11 ${bottom / 2}) rotate(-90)`, "text-anchor": "middle" }, yLabel));
  return parts;
}

/** A short line as it is drawn, to name a variant by. */
export function sample([color, style], mark = "line") {
  const drawn = mark === "line"
    ? s("line", { x1: 1, x2: 27, y1: 6, y2: 6, stroke: paint(color), "stroke-width": 2.5, "stroke-dasharray": DASHES[style] })
    : s("circle", { cx: 6, cy: 6, r: 4.5, fill: paint(color) });
  return s("svg", { class: "sample", width: mark === "line" ? 28 : 12, height: 12, "aria-hidden": "true" }, drawn);
}

/** With a minus sign as in the tables. */
const number = (value, digits) => value.toFixed(digits).replace("-", "−");

/** Black lines of the pictures are the text's colour here, which a dark page shows. */
const paint = (color) => (color === "#000000" ? "currentColor" : color);

/**
 * Lines over epochs; the values at one epoch (the pointer's, or by the arrow keys) stand below.
 * @param {{title: string, digits: number, series: {name: string, groups: string[],
 *   look: [string, string], x: number[], y: number[]}[]}} chart; a line is shown while all its
 *   groups are
 */
export function lineChart({ title, digits, series }) {
  let shown = series;
  let epoch = Math.max(...series.flatMap(({ x }) => x));
  const epochs = [...new Set(series.flatMap(({ x }) => x))].sort((a, b) => a - b);
  const readout = h("ul", { class: "readout" });
  const { element, redraw } = figure(title, draw, readout);

  function read() {
    const rows = shown
      .map((line) => ({ ...line, value: line.y[line.x.indexOf(epoch)] }))
      .filter(({ value }) => value !== undefined)
      .sort((a, b) => b.value - a.value)
      .map(({ look, name, value }) => h("li", {}, sample(look), ` ${name} `, h("b", {}, value.toFixed(digits))));
    readout.replaceChildren(h("li", { class: "epoch" }, `epoch ${epoch}`), ...rows);
  }

  function move(to) {
    if (to === undefined || to === epoch) return;
    epoch = to;
    redraw();
  }

  function draw(width) {
    read();
    const [height, left] = [250, 46];
    const x = scale([epochs[0], epochs.at(-1)], [left + 6, width - 14]);
    const range = extent(shown.length ? shown.flatMap(({ y }) => y) : [0, 1]);
    const y = scale(range, [height - 36, 8]);
    const lines = shown.map(({ look: [color, style], x: xs, y: ys }) =>
      s("polyline", { points: xs.map((v, i) => `${x(v)},${y(ys[i])}`).join(" "), fill: "none", stroke: paint(color), "stroke-width": 2, "stroke-dasharray": DASHES[style], "stroke-linejoin": "round" }));
    const marks = shown.filter(({ x: xs }) => xs.includes(epoch)).map(({ look: [color], x: xs, y: ys }) =>
      s("circle", { cx: x(epoch), cy: y(ys[xs.indexOf(epoch)]), r: 3.5, fill: paint(color) }));
    const drawn = s("svg", {
      width, height, viewBox: `0 0 ${width} ${height}`, tabindex: 0,
      role: "slider", "aria-label": `${title}, epoch`, "aria-valuemin": epochs[0],
      "aria-valuemax": epochs.at(-1), "aria-valuenow": epoch, "aria-valuetext": readout.innerText,
      onpointermove: (event) => {
        const at = event.clientX - drawn.getBoundingClientRect().left;
        move(epochs.toSorted((a, b) => Math.abs(x(a) - at) - Math.abs(x(b) - at))[0]);
      },
      onkeydown: ({ key }) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
        if (step) move(epochs[epochs.indexOf(epoch) + step]);
        if (step) element.querySelector("svg[role]").focus();
      },
    }, ...axes({ width, height, left, x, y, xLabel: "epoch", xTicks: ticks(epochs[0], epochs.at(-1), 8, 1), yTicks: ticks(...range, 7) }),
    s("line", { class: "rule", x1: x(epoch), x2: x(epoch), y1: 8, y2: height - 36 }), ...lines, ...marks);
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
 * Estimates with their intervals, a row each: green where they lie above 0, red where below.
 * @param {{title: string, xLabel: string, range: [number, number],
 *   rows: {label: string, estimate: number, low: number, high: number}[]}} chart
 */
export function intervalChart({ title, xLabel, range, rows }) {
  const text = ({ label, estimate, low, high }) => `${label}: ${signed(estimate)} (${signed(low)} to ${signed(high)})`;
  return figure(title, (width) => {
    const [height, left] = [rows.length * 26 + 48, Math.min(172, width / 2)];
    const x = scale(range, [left + 6, width - 12]);
    const drawn = rows.map((row, i) => {
      const at = 20 + i * 26;
      const side = row.low > 0 ? "above" : row.high < 0 ? "below" : "unclear";
      return s("g", { class: side }, s("title", {}, text(row)),
        s("rect", { x: 0, y: at - 13, width, height: 26, fill: "transparent", stroke: "none" }),
        s("text", { x: left - 4, y: at + 4, "text-anchor": "end" }, row.label),
        s("line", { x1: x(row.low), x2: x(row.high), y1: at, y2: at, "stroke-width": 3 }),
        s("circle", { cx: x(row.estimate), cy: at, r: 4.5, stroke: "none" }));
    });
    return s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}. ${rows.map(text).join("; ")}` },
      ...axes({ width, height, left, x, xLabel, xTicks: ticks(...range, 4) }),
      s("line", { class: "zero", x1: x(0), x2: x(0), y1: 6, y2: height - 36 }), ...drawn);
  }).element;
}

const signed = (value) => (value < 0 ? "" : "+") + number(value, 2);

/**
 * Named points, with a bar of one deviation either way.
 * @param {{title: string, xLabel: string, yLabel: string, points: {name: string,
 *   color: string, hollow: boolean, x: number, y: number, spread: number}[]}} chart
 */
export function pointChart({ title, xLabel, yLabel, points }) {
  return figure(title, (width) => {
    const [height, left] = [300, 54];
    const xRange = extent(points.map((p) => p.x), 0.12);
    const yRange = extent(points.flatMap((p) => [p.y - p.spread, p.y + p.spread]));
    const [x, y] = [scale(xRange, [left, width - 12]), scale(yRange, [height - 36, 8])];
    const text = (p) => `${p.name}: ${yLabel} ${p.y.toFixed(2)} ± ${p.spread.toFixed(2)}, ${xLabel} ${p.x.toPrecision(3)}`;
    const labels = []; // those that would overlap move down
    const drawn = points.toSorted((a, b) => b.y - a.y).map((p) => {
      const toLeft = x(p.x) > width * 0.62;
      const middle = x(p.x) + (toLeft ? -1 : 1) * (10 + p.name.length * 3.4);
      const near = labels.filter((other) => Math.abs(other.middle - middle) < (other.length + p.name.length) * 3.4);
      const at = Math.max(y(p.y) + 4, ...near.map((other) => other.at + 14));
      labels.push({ middle, at, length: p.name.length });
      return s("g", { color: paint(p.color) }, s("title", {}, text(p)),
        s("line", { x1: x(p.x), x2: x(p.x), y1: y(p.y - p.spread), y2: y(p.y + p.spread), stroke: "currentColor", "stroke-width": 1.5 }),
        s("circle", { class: p.hollow && "hollow", cx: x(p.x), cy: y(p.y), r: 5, fill: "currentColor", stroke: "currentColor", "stroke-width": 2 }),
        s("text", { x: middle, y: at, "text-anchor": "middle" }, p.name));
    });
    return s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}. ${points.map(text).join("; ")}` },
      ...axes({ width, height, left, x, y, xLabel, yLabel, xTicks: ticks(...xRange, 5), yTicks: ticks(...yRange, 5) }), ...drawn);
  }).element;
}
