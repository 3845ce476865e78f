/** The variants' answers to one photograph side by side, and where they disagree. */

import { h } from "./dom.js";
import { percent } from "./photo.js";
import { maskOf, share } from "./pictures.js";
import { resize } from "./resize.js";

// Colours of probabilities 0, 1/3, 2/3 and 1: cividis, read by its brightness alone; see style.css.
const HEAT = [[0, 32, 76], [87, 92, 109], [166, 157, 117], [255, 233, 69]];
const ORANGE = [213, 94, 0];

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
    element.append(figure(heatMap(plane), photo, key, `${title}; ${found}; ${seconds.toFixed(2)} s`));
  }
  if (models.length < 2) return;
  const differ = masks[0].map((value, i) => masks.some((mask) => mask[i] !== value));
  const rules = new Set(models.map(({ boundary }) => boundary));
  const note = rules.size > 1 ? "; they learnt the outline by different rules" : "";
  const text = `${percent(share(differ))} of the photograph, in orange${note}`;
  element.append(figure(orangeWhere(differ, side, photo), photo, "Where they disagree", text));
}

/** A canvas with its text, in the photograph's shape. */
function figure(canvas, photo, title, text) {
  canvas.style.aspectRatio = `${photo.width} / ${photo.height}`;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", title);
  return h("figure", {}, canvas, h("figcaption", {}, h("strong", {}, title), `\n${text}`));
}

/** @param {Plane} plane */
function heatMap({ width, height, data }) {
  return changed(width, height, null, (pixels) => data.forEach((value, i) => {
    const place = value * (HEAT.length - 1);
    const below = Math.min(Math.floor(place), HEAT.length - 2);
    const colour = HEAT[below].map((c, k) => c + (place - below) * (HEAT[below + 1][k] - c));
    pixels.set([...colour, 255], 4 * i);
  }));
}

/** The photograph in grey, orange where `differ` is 1. */
function orangeWhere(differ, side, photo) {
  return changed(side, side, photo, (pixels) => differ.forEach((value, i) => {
    const [red, green, blue] = pixels.subarray(4 * i);
    const grey = (red + green + blue) / 3;
    pixels.set(value ? ORANGE : [grey, grey, grey], 4 * i);
  }));
}

/** A canvas of a picture, or an empty one, whose pixels `change` has changed. */
function changed(width, height, picture, change) {
  const canvas = h("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (picture) context.drawImage(picture, 0, 0, width, height);
  const image = context.getImageData(0, 0, width, height);
  change(image.data);
  context.putImageData(image, 0, 0);
  return canvas;
}
