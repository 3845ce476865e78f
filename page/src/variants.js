/** The variants' answers to one photograph side by side, and where they disagree. */

import { h } from "./dom.js";
import { maskOf, share } from "./pictures.js";
import { resize } from "./resize.js";

// Colours of probabilities 0, 1/3, 2/3 and 1: cividis, read by its brightness alone; see style.css.
const HEAT = [[0, 32, 76], [87, 92, 109], [166, 157, 117], [255, 233, 69]];

/** A share as text. */
export const percent = (value) => `${(100 * value).toFixed(1)} %`;

/**
 * @param {HTMLElement} element is filled
 * @param {Model[]} models
 * @param {ImageBitmap} photo
 * @param {(model: Model) => Promise<{plane: Plane, seconds: number}>} look
 * @param {() => boolean} stale whether another photograph is shown by now
 */
export async function showVariants(element, models, photo, look, stale) {
  const side = Math.max(...models.map((model) => model.image_size));
  const masks = [];
  for (const model of models) {
    const { key, title, threshold } = model;
    const { plane, seconds } = await look(model);
    if (stale()) return;
    masks.push(maskOf(resize(plane, side, side), threshold));
    const found = `${percent(share(masks.at(-1)))} above ${threshold.toFixed(2)}`;
    const text = `${title}; ${found}; ${seconds.toFixed(2)} s`;
    element.append(figure(plane, heat, photo, key, text));
  }
  if (models.length < 2) return;
  const differ = masks[0].map((value, i) => masks.some((mask) => mask[i] !== value));
  const rules = new Set(models.map(({ boundary }) => boundary));
  const note = rules.size > 1 ? "; they learnt the outline by different rules" : "";
  const text = `${percent(share(differ))} of the photograph, in orange${note}`;
  const plane = { width: side, height: side, data: differ };
  element.append(figure(plane, orange, photo, "Where they disagree", text));
}

/** The colour of a probability. */
function heat(value) {
  const place = value * (HEAT.length - 1);
  const below = Math.min(Math.floor(place), HEAT.length - 2);
  return `rgb(${HEAT[below].map((c, k) => c + (place - below) * (HEAT[below + 1][k] - c))})`;
}

const orange = (value) => (value ? "#d55e00" : "transparent");

/** A plane in colours over the photograph in grey, in the photograph's shape, with its text. */
function figure({ width, height, data }, colour, photo, title, text) {
  const style = `aspect-ratio: ${photo.width} / ${photo.height}`;
  const canvas = h("canvas", { width, height, style, role: "img", "aria-label": title });
  const context = canvas.getContext("2d");
  context.filter = "grayscale(1)";
  context.drawImage(photo, 0, 0, width, height);
  context.filter = "none";
  data.forEach((value, i) => {
    context.fillStyle = colour(value);
    context.fillRect(i % width, Math.floor(i / width), 1, 1);
  });
  return h("figure", {}, canvas, h("figcaption", {}, h("strong", {}, title), `\n${text}`));
}
