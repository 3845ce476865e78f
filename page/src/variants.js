/** The variants' answers to one photograph side by side, and where they disagree. */

import { percent } from "./photo.js";
import { share } from "./pictures.js";
import { resizePlane } from "./resize.js";

/**
 * @typedef {import("./photo.js").Model} Model
 * @typedef {import("./resize.js").Plane} Plane
 */

// Colours of probabilities 0, 1/3, 2/3 and 1, told apart by brightness alone, too; as in style.css.
const HEAT = [[0, 32, 76], [87, 92, 109], [166, 157, 117], [255, 233, 69]];
const DISAGREEMENT = [213, 94, 0];

/**
 * @param {HTMLElement} element is filled
 * @param {Model[]} models
 * @param {ImageBitmap} photo
 * @param {(model: Model) => Promise<{plane: Plane, seconds: number}>} look
 * @param {() => boolean} stale whether another photograph is shown by now
 */
export async function showVariants(element, models, photo, look, stale) {
  const planes = [];
  for (const model of models) {
    const { plane, seconds } = await look(model);
    if (stale()) return;
    planes.push(plane);
    const found = `${percent(share(plane, model.threshold))} above ${model.threshold.toFixed(2)}`;
    element.append(figure(
      heatMap(plane), photo, model.key, `${model.title}; ${found}; ${seconds.toFixed(2)} s`,
    ));
  }
  if (models.length < 2) return;
  const { canvas, part } = disagreement(planes, models, photo);
  const rules = new Set(models.map((model) => model.boundary));
  const note = rules.size > 1 ? "; they learnt the outline by different rules" : "";
  element.append(figure(
    canvas, photo, "Where they disagree", `${percent(part)} of the photograph, in orange${note}`,
  ));
}

/** A canvas with its text, in the photograph's shape. */
function figure(canvas, photo, title, text) {
  canvas.style.aspectRatio = `${photo.width} / ${photo.height}`;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${title}: ${text}`);
  const made = document.createElement("figure");
  const caption = document.createElement("figcaption");
  const name = document.createElement("strong");
  name.textContent = title;
  caption.append(name, document.createElement("br"), text);
  made.append(canvas, caption);
  return made;
}

/** @param {Plane} plane */
function heatMap({ width, height, data }) {
  return draw(width, height, (pixels) => {
    data.forEach((value, i) => {
      const below = Math.min(Math.floor(value * (HEAT.length - 1)), HEAT.length - 2);
      const rest = value * (HEAT.length - 1) - below;
      HEAT[below].forEach((c, k) => (pixels[4 * i + k] = c + rest * (HEAT[below + 1][k] - c)));
      pixels[4 * i + 3] = 255;
    });
  });
}

/** The grey photograph, orange where some models see the object and some do not. */
function disagreement(planes, models, photo) {
  const side = Math.max(...planes.map((plane) => plane.width));
  const same = planes.map((plane) => resizePlane(plane, side, side).data);
  let differing = 0;
  const canvas = draw(side, side, (pixels) => {
    for (let i = 0; i < side * side; i++) {
      const votes = same.filter((data, k) => data[i] > models[k].threshold).length;
      const fewer = Math.min(votes, models.length - votes);
      const strength = fewer / Math.floor(models.length / 2);
      if (fewer) differing++;
      const own = pixels.subarray(4 * i, 4 * i + 3);
      const grey = (own[0] + own[1] + own[2]) / 3;
      own.forEach((_, k) => (own[k] = grey + (0.4 + 0.6 * strength) * (fewer > 0) * (DISAGREEMENT[k] - grey)));
    }
  }, photo);
  return { canvas, part: differing / side ** 2 };
}

/** A canvas, with a picture on it if there is one, whose pixels `change` changes. */
function draw(width, height, change, picture) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (picture) context.drawImage(picture, 0, 0, width, height);
  const image = context.getImageData(0, 0, width, height);
  change(image.data);
  context.putImageData(image, 0, 0);
  return canvas;
}
