/** The guided filter, in colour, as in unet/inference/refine.py, which has the sources. */

import { lineWeights, resizePicture, resizePlane } from "./resize.js";

/**
 * @typedef {import("./resize.js").Picture} Picture
 * @typedef {import("./resize.js").Plane} Plane
 * @typedef {{width: number, height: number, data: Float32Array[]}} Lines slopes of red, green and
 *   blue, and an offset, each one value a pixel
 */

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
  const factor = Math.min(1, Math.max(FIT_SIDE / Math.max(...sides), LEAST_SIDE / Math.min(...sides)));
  const [width, height] = sides.map((side) => Math.max(1, Math.round(factor * side)));
  return resizePicture(photo, width, height, "box");
}

/**
 * Fit the probabilities to the photograph's colours.
 * @param {Plane} square probabilities of the whole photograph at any size
 * @param {Picture} copy
 * @returns {Lines} at the copy's size; {@link probabilitiesAt} applies them at any size
 */
export function fit(square, copy) {
  const { width, height } = copy;
  const values = Float64Array.from(resizePlane(square, width, height).data);
  const reach = Math.round(RADIUS * Math.hypot(width, height));

  const mean = (plane) => windowMeans(plane, width, height, reach);
  const meanOfProduct = (a, b) => mean(a.map((value, i) => value * b[i]));
  const colours = [0, 1, 2].map((channel) => colourPlane(copy.data, channel));
  const means = [...colours, values].map(mean);
  const products = PAIRS.map(([i, j]) => meanOfProduct(colours[i], colours[j]));
  const withValues = colours.map((colour) => meanOfProduct(colour, values));

  const lines = [0, 1, 2, 3].map(() => new Float64Array(width * height));
  for (let at = 0; at < width * height; at++) {
    const m = means.map((plane) => plane[at]);
    const covariance = PAIRS.map(([i, j], k) =>
      products[k][at] - m[i] * m[j] + (i === j ? EPSILON : 0));
    const slopes = solve(covariance, withValues.map((plane, i) => plane[at] - m[i] * m[3]));
    lines[3][at] = m[3] - slopes[0] * m[0] - slopes[1] * m[1] - slopes[2] * m[2];
    for (let i = 0; i < 3; i++) lines[i][at] = slopes[i];
  }
  return { width, height, data: lines.map((line) => Float32Array.from(mean(line))) };
}

/** Rows and columns of the entries of a symmetric 3 x 3 matrix. */
const PAIRS = [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]];

/** Colours centred: from -0.5 to 0.5. */
function colourPlane(pixels, channel) {
  return Float64Array.from({ length: pixels.length / 4 }, (_, i) =>
    pixels[4 * i + channel] / 255 - 0.5);
}

/** The solution x of A x = b, by Cramer's rule; A symmetric, its entries in the order of PAIRS. */
function solve([a, b, c, d, e, f], [x, y, z]) {
  const [A, B, C] = [d * f - e * e, c * e - b * f, b * e - c * d]; // A's inverse x its determinant
  const [D, E, F] = [a * f - c * c, b * c - a * e, a * d - b * b];
  const determinant = a * A + b * B + c * C;
  return [
    (A * x + B * y + C * z) / determinant,
    (B * x + D * y + E * z) / determinant,
    (C * x + E * y + F * z) / determinant,
  ];
}

/**
 * The mean over each pixel's window, `reach` pixels to each side, without what lies outside.
 * @param {Float64Array | Float32Array | Uint8Array} plane
 * @returns {Float64Array}
 */
export function windowMeans(plane, width, height, reach) {
  return meansAlong(meansAlong(plane, height, width, 1, reach), 1, height, width, reach);
}

/** The same along one axis of an array of shape (outer, size, inner), by running sums. */
function meansAlong(data, outer, size, inner, reach) {
  const means = new Float64Array(data.length);
  for (let o = 0; o < outer; o++) {
    const row = (position) => (o * size + position) * inner;
    const sums = new Float64Array(inner);
    for (let position = -reach; position < size; position++) {
      const [enters, leaves] = [position + reach, position - reach - 1];
      if (enters < size) for (let i = 0; i < inner; i++) sums[i] += data[row(enters) + i];
      if (leaves >= 0) for (let i = 0; i < inner; i++) sums[i] -= data[row(leaves) + i];
      if (position < 0) continue;
      const count = Math.min(enters, size - 1) - Math.max(leaves, -1);
      for (let i = 0; i < inner; i++) means[row(position) + i] = sums[i] / count;
    }
  }
  return means;
}

/**
 * Probabilities, from 0 to 1, of the photograph at the size that `photo` has here.
 * @param {Lines} lines
 * @param {Picture} photo
 * @returns {Plane}
 */
export function probabilitiesAt(lines, photo) {
  const { width, height } = photo;
  const across = lineWeights(lines.width, width, "bilinear");
  const data = new Float32Array(width * height);
  let at = 0;
  for (const { first, weights } of lineWeights(lines.height, height, "bilinear")) {
    const row = lines.data.map((line) => mix(line, first * lines.width, weights, lines.width));
    for (let x = 0; x < width; x++, at++) {
      const taps = across[x];
      let sum = 0;
      for (let k = 0; k < taps.weights.length; k++) {
        const from = taps.first + k;
        const value = row[0][from] * (photo.data[4 * at] / 255 - 0.5)
          + row[1][from] * (photo.data[4 * at + 1] / 255 - 0.5)
          + row[2][from] * (photo.data[4 * at + 2] / 255 - 0.5)
          + row[3][from];
        sum += taps.weights[k] * value;
      }
      data[at] = Math.min(1, Math.max(0, sum));
    }
  }
  return { width, height, data };
}

/** The weighted sum of the rows of `plane` from `start` on. */
function mix(plane, start, weights, width) {
  const sum = new Float64Array(width);
  weights.forEach((weight, k) => {
    for (let x = 0; x < width; x++) sum[x] += weight * plane[start + k * width + x];
  });
  return sum;
}
