/** The guided filter, in colour, as in unet/inference/refine.py, which names the papers. */

import { channelOf, resize } from "./resize.js";

const FIT_SIDE = 768; // pixels of the longer side of the copy that the filter is fitted on
const LEAST_SIDE = 64; // of its shorter side, of panoramas
const RADIUS = 0.03; // of the window, in diagonals of the photograph
const EPSILON = 1e-4; // of the fit, for colours in [0, 1]: how little contrast still makes an edge

/** The copy of a Picture that the filter is fitted on. */
export function smallCopy(photo) {
  const sides = [photo.width, photo.height];
  const wanted = Math.max(FIT_SIDE / Math.max(...sides), LEAST_SIDE / Math.min(...sides));
  const scaled = sides.map((side) => Math.max(1, Math.round(Math.min(1, wanted) * side)));
  return resize(photo, ...scaled, "box");
}

/**
 * Fit the probabilities to the photograph's colours.
 * @param {Plane} square probabilities of the whole photograph at any size
 * @param {Picture} copy
 * @returns {Plane[]} slopes of red, green and blue, and an offset, at the copy's size
 */
export function fit(square, copy) {
  const { width, height } = copy;
  const reach = Math.round(RADIUS * Math.hypot(width, height));
  const mean = (plane) => windowMeans(plane, width, height, reach);
  const values = resize(square, width, height).data;
  const colours = [0, 1, 2].map((k) => channelOf(copy, k).map((value) => value / 255 - 0.5));
  const x = [...colours, new Float64Array(values)];
  const means = x.map(mean);
  const covariances = PAIRS.map(([i, j]) => {
    const ofProducts = mean(x[i].map((value, at) => value * x[j][at]));
    const regular = i === j ? EPSILON : 0;
    return ofProducts.map((value, at) => value - means[i][at] * means[j][at] + regular);
  });
  const lines = x.map((plane) => new Float64Array(plane.length));
  for (let at = 0; at < values.length; at++) {
    const slopes = solve(...covariances.map((plane) => plane[at]));
    lines[3][at] = means[3][at];
    slopes.forEach((slope, i) => {
      lines[i][at] = slope;
      lines[3][at] -= slope * means[i][at];
    });
  }
  return lines.map((line) => ({ width, height, data: new Float32Array(mean(line)) }));
}

/** Which channels a covariance is of; the three colours, then the values. */
const PAIRS = [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2], [0, 3], [1, 3], [2, 3]];

/** The three unknowns of a symmetric system, [[a, b, c], [b, d, e], [c, e, f]] s = [x, y, z]. */
function solve(a, b, c, d, e, f, x, y, z) {
  const [A, B, C] = [d * f - e * e, c * e - b * f, b * e - c * d]; // the cofactors
  const [D, E, F] = [a * f - c * c, b * c - a * e, a * d - b * b];
  const determinant = a * A + b * B + c * C;
  return [A * x + B * y + C * z, B * x + D * y + E * z, C * x + E * y + F * z]
    .map((sum) => sum / determinant);
}

/** The mean over each pixel's window, `reach` pixels to each side, without what lies outside. */
export function windowMeans(plane, width, height, reach) {
  const rows = meansAlong(plane, { lines: height, step: width, size: width, stride: 1 }, reach);
  return meansAlong(rows, { lines: width, step: 1, size: height, stride: width }, reach);
}

/** The same along lines of `size` values, `stride` apart, by running sums. */
function meansAlong(data, { lines, step, size, stride }, reach) {
  const means = new Float64Array(data.length);
  for (let line = 0; line < lines; line++) {
    const start = line * step;
    let sum = 0;
    for (let i = 0; i < Math.min(reach, size); i++) sum += data[start + i * stride];
    for (let i = 0; i < size; i++) {
      if (i + reach < size) sum += data[start + (i + reach) * stride];
      if (i > reach) sum -= data[start + (i - reach - 1) * stride];
      const count = Math.min(i + reach, size - 1) - Math.max(i - reach, 0) + 1;
      means[start + i * stride] = sum / count;
    }
  }
  return means;
}

/**
 * Probabilities, from 0 to 1, of the photograph at the size that `photo` has here.
 * @param {Plane[]} lines of {@link fit}
 * @param {Picture} photo
 * @returns {Plane}
 */
export function probabilitiesAt(lines, photo) {
  const { width, height } = photo;
  const [red, green, blue, offset] = lines.map((line) => resize(line, width, height).data);
  const data = offset.map((value, i) => value
    + red[i] * (photo.data[4 * i] / 255 - 0.5)
    + green[i] * (photo.data[4 * i + 1] / 255 - 0.5)
    + blue[i] * (photo.data[4 * i + 2] / 255 - 0.5));
  return { width, height, data: data.map((value) => Math.min(1, Math.max(0, value))) };
}
