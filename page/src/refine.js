/** The guided filter, in colour, as in unet/inference/refine.py, which names the papers. */

import { resize } from "./resize.js";

const FIT_SIDE = 768; // pixels of the longer side of the copy that the filter is fitted on
const LEAST_SIDE = 64; // of its shorter side, of panoramas
const RADIUS = 0.03; // of the window, in diagonals of the photograph
const EPSILON = 1e-4; // of the fit, for colours in [0, 1]: how little contrast still makes an edge

/**
 * The copy of a photograph that the filter is fitted on.
 * @param {Picture} photo
 * @returns {Picture}
 */
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
 * @returns {Plane[]} slopes of red, green and blue, and an offset, at the copy's size; see
 *   {@link probabilitiesAt}
 */
export function fit(square, copy) {
  const { width, height } = copy;
  const reach = Math.round(RADIUS * Math.hypot(width, height));
  const mean = (plane) => windowMeans(plane, width, height, reach);
  const values = resize(square, width, height).data;
  const x = [...[0, 1, 2].map((channel) => colours(copy, channel)), Float64Array.from(values)];
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
  return lines.map((line) => ({ width, height, data: Float32Array.from(mean(line)) }));
}

/** Which channels a covariance is of; the three colours, then the values. */
const PAIRS = [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2], [0, 3], [1, 3], [2, 3]];

/** One channel, centred: from -0.5 to 0.5. */
function colours({ data }, channel) {
  return Float64Array.from({ length: data.length / 4 }, (_, i) => data[4 * i + channel] / 255 - 0.5);
}

/** The three unknowns of a symmetric system, [[a, b, c], [b, d, e], [c, e, f]] s = [x, y, z]. */
function solve(a, b, c, d, e, f, x, y, z) {
  const [A, B, C] = [d * f - e * e, c * e - b * f, b * e - c * d]; // the cofactors
  const [D, E, F] = [a * f - c * c, b * c - a * e, a * d - b * b];
  const determinant = a * A + b * B + c * C;
  return [A * x + B * y + C * z, B * x + D * y + E * z, C * x + E * y + F * z]
    .map((sum) => sum / determinant);
}

/**
 * The mean over each pixel's window, `reach` pixels to each side, without what lies outside.
 * @param {Float64Array | Uint8Array} plane
 * @returns {Float64Array}
 */
export function windowMeans(plane, width, height, reach) {
  return meansAlong(meansAlong(plane, height, width, 1, reach), 1, height, width, reach);
}

/** The same along one axis of an array of shape (outer, size, inner), by running sums. */
function meansAlong(data, outer, size, inner, reach) {
  const means = new Float64Array(data.length);
  for (let o = 0; o < outer; o++) {
    const start = (position) => (o * size + position) * inner;
    const sums = new Float64Array(inner);
    for (let position = -reach; position < size; position++) {
      const [enters, left] = [position + reach, position - reach - 1];
      if (enters < size) for (let i = 0; i < inner; i++) sums[i] += data[start(enters) + i];
      if (left >= 0) for (let i = 0; i < inner; i++) sums[i] -= data[start(left) + i];
      const count = Math.min(enters, size - 1) - Math.max(left, -1);
      const to = start(position);
      if (position >= 0) for (let i = 0; i < inner; i++) means[to + i] = sums[i] / count;
    }
  }
  return means;
}

/**
 * Probabilities, from 0 to 1, of the photograph at the size that `photo` has here.
 * @param {Plane[]} lines
 * @param {Picture} photo
 * @returns {Plane}
 */
export function probabilitiesAt(lines, photo) {
  const { width, height } = photo;
  const [red, green, blue, offset] = lines.map((line) => resize(line, width, height).data);
  const data = offset.map((value, i) => {
    const [r, g, b] = [0, 1, 2].map((channel) => photo.data[4 * i + channel] / 255 - 0.5);
    return Math.min(1, Math.max(0, red[i] * r + green[i] * g + blue[i] * b + value));
  });
  return { width, height, data };
}
