/** Mask and cut-out of probabilities, as in unet/inference/pictures.py. */

import { windowMeans } from "./refine.js";
import { resizePicture } from "./resize.js";

/**
 * @typedef {import("./resize.js").Picture} Picture
 * @typedef {import("./resize.js").Plane} Plane
 */

const RAMP = 0.15; // of a cut-out's edge: this far from the threshold, alpha is 0 or 255
const NEAR = 0.01; // diagonals around the mask: the reach of a cut-out's soft edge
const SPECK = 0.1; // of the largest part's area: smaller parts are left out of cut-outs
const BLUR = 0.02; // diagonals: the window of the colours at edges
const BLUR_SIDE = 1024; // pixels of the longer side that these colours are taken at

/**
 * The mask, white on black.
 * @param {Plane} probabilities
 * @param {number} threshold
 * @returns {Picture}
 */
export function maskPicture(probabilities, threshold) {
  const { width, height, data } = probabilities;
  const pixels = new Uint8ClampedArray(4 * data.length);
  for (let i = 0; i < data.length; i++) {
    pixels.fill(data[i] > threshold ? 255 : 0, 4 * i, 4 * i + 3);
    pixels[4 * i + 3] = 255;
  }
  return { width, height, data: pixels };
}

/**
 * The share of the photograph that the mask covers, from 0 to 1.
 * @param {Plane} probabilities
 * @param {number} threshold
 */
export function share({ data }, threshold) {
  return data.reduce((sum, value) => sum + (value > threshold), 0) / data.length;
}

/**
 * The object with a soft edge, transparent around it, without the background's colour in its edge.
 * @param {Picture} photo
 * @param {Plane} probabilities at the photo's size
 * @param {number} threshold
 * @returns {Picture}
 */
export function cutout(photo, probabilities, threshold) {
  const mask = Uint8Array.from(probabilities.data, (value) => (value > threshold ? 1 : 0));
  const alpha = softMask(probabilities, threshold);
  dropHaze(alpha, mask, photo);
  dropSpecks(alpha, mask, photo);
  return { width: photo.width, height: photo.height, data: ownColours(photo, alpha) };
}

/** Alpha rises from 0 to 255 around the threshold as 3 x^2 - 2 x^3. */
function softMask({ data }, threshold) {
  const reach = Math.min(RAMP, threshold, 1 - threshold);
  return Uint8ClampedArray.from(data, (value) => {
    const x = Math.min(1, Math.max(0, (value - (threshold - reach)) / (2 * reach)));
    return 255 * x * x * (3 - 2 * x);
  });
}

/** Far from the mask, where the model is merely unsure, alpha becomes 0. */
function dropHaze(alpha, mask, { width, height }) {
  const near = windowMeans(mask, width, height, Math.round(NEAR * Math.hypot(width, height)) + 1);
  const least = 0.5 / (width * height); // less than one pixel of any window
  for (let i = 0; i < alpha.length; i++) if (near[i] < least) alpha[i] = 0;
}

/** Alpha becomes 0 in the connected parts whose mask is small beside the largest part's. */
function dropSpecks(alpha, mask, { width, height }) {
  const part = new Int32Array(alpha.length); // its number; 0: not visited
  const areas = [0];
  const waiting = [];
  const visit = (at) => {
    if (alpha[at] && !part[at]) {
      part[at] = areas.length - 1;
      waiting.push(at);
    }
  };
  for (let seed = 0; seed < alpha.length; seed++) {
    if (!alpha[seed] || part[seed]) continue;
    areas.push(0);
    visit(seed);
    while (waiting.length) {
      const at = waiting.pop();
      const x = at % width;
      areas[areas.length - 1] += mask[at];
      if (x > 0) visit(at - 1);
      if (x < width - 1) visit(at + 1);
      if (at >= width) visit(at - width);
      if (at < width * (height - 1)) visit(at + width);
    }
  }
  const largest = areas.reduce((a, b) => Math.max(a, b));
  const least = Math.max(1, SPECK * largest);
  for (let i = 0; i < alpha.length; i++) if (areas[part[i]] < least) alpha[i] = 0;
}

/**
 * The photo's pixels with this alpha; where it is partial, the background's share is taken out of
 * the colour, by the local mean colours of object and background (blur fusion, see pictures.py).
 */
function ownColours(photo, alpha) {
  const { width, height } = photo;
  const factor = Math.min(1, BLUR_SIDE / Math.max(width, height));
  const smaller = (side) => Math.max(1, Math.round(factor * side));
  const shares = { width, height, data: new Uint8ClampedArray(4 * alpha.length) };
  alpha.forEach((value, i) => shares.data.fill(value, 4 * i, 4 * i + 4));
  const small = resizePicture(photo, smaller(width), smaller(height), "box");
  const share = resizePicture(shares, small.width, small.height, "box");
  const own = localColours(small, share, (value) => value, photo);
  const ground = localColours(small, share, (value) => 255 - value, photo);

  const pixels = new Uint8ClampedArray(photo.data.length);
  for (let i = 0; i < alpha.length; i++) {
    if (!alpha[i]) continue;
    const a = alpha[i] / 255;
    for (let c = 4 * i; c < 4 * i + 3; c++) {
      const mixed = a * own.data[c] + (1 - a) * ground.data[c];
      pixels[c] = a === 1 ? photo.data[c] : own.data[c] + a * (photo.data[c] - mixed);
    }
    pixels[4 * i + 3] = alpha[i];
  }
  return pixels;
}

/** The mean colours, weighted, of a window around each pixel of `small`, resized to `photo`. */
function localColours(small, share, weightOf, photo) {
  const { width, height, data } = small;
  const reach = Math.round(BLUR * Math.hypot(width, height));
  const mean = (plane) => windowMeans(plane, width, height, reach);
  const weights = Float64Array.from({ length: width * height }, (_, i) =>
    weightOf(share.data[4 * i]) / 255);
  const sums = mean(weights);
  const pixels = new Uint8ClampedArray(data.length);
  for (let channel = 0; channel < 3; channel++) {
    mean(weights.map((weight, i) => weight * data[4 * i + channel])).forEach((sum, i) => {
      pixels[4 * i + channel] = sum / Math.max(sums[i], 1e-3);
    });
  }
  return resizePicture({ width, height, data: pixels }, photo.width, photo.height, "bilinear");
}
