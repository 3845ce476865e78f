/** Mask and cut-out of probabilities, as in unet/inference/pictures.py. */

import { windowMeans } from "./refine.js";
import { resize } from "./resize.js";

const RAMP = 0.15; // of a cut-out's edge: this far from the threshold, alpha is 0 or 255
const NEAR = 0.01; // diagonals around the mask: the reach of a cut-out's soft edge
const SPECK = 0.1; // of the largest part's area: smaller parts are left out of cut-outs
const BLUR = 0.02; // diagonals: the window of the colours at edges
const BLUR_SIDE = 1024; // pixels of the longer side that these colours are taken at

/**
 * 1 where the object is, else 0.
 * @param {Plane} probabilities
 * @param {number} threshold
 */
export function maskOf({ data }, threshold) {
  return Uint8Array.from(data, (value) => (value > threshold ? 1 : 0));
}

/** The share of a mask's pixels that are 1. */
export function share(mask) {
  return mask.reduce((sum, value) => sum + value, 0) / mask.length;
}

/**
 * An opaque grey picture.
 * @param {ArrayLike<number>} values from 0 to 255
 * @returns {Picture}
 */
export function greyPicture(values, width, height) {
  const data = new Uint8ClampedArray(4 * values.length).fill(255);
  for (let i = 0; i < values.length; i++) data.fill(values[i], 4 * i, 4 * i + 3);
  return { width, height, data };
}

/**
 * The object with a soft edge, transparent around it.
 * @param {Picture} photo
 * @param {Plane} probabilities at the photo's size
 * @param {number} threshold
 * @returns {Picture}
 */
export function cutout(photo, probabilities, threshold) {
  const mask = maskOf(probabilities, threshold);
  const alpha = softMask(probabilities, threshold);
  dropHaze(alpha, mask, photo);
  dropSpecks(alpha, mask, photo);
  return { width: photo.width, height: photo.height, data: ownColours(photo, alpha) };
}

/** Alpha rises from 0 to 255 around the threshold as 3 x^2 - 2 x^3. */
function softMask({ data }, threshold) {
  const reach = Math.min(RAMP, threshold, 1 - threshold);
  return Uint8ClampedArray.from(data, (value) => {
    const x = Math.min(1, Math.max(0, (value - threshold + reach) / (2 * reach)));
    return 255 * x * x * (3 - 2 * x);
  });
}

/** Far from the mask, where the model is merely unsure, alpha becomes 0. */
function dropHaze(alpha, mask, { width, height }) {
  const near = windowMeans(mask, width, height, Math.round(NEAR * Math.hypot(width, height)) + 1);
  const least = 0.5 / alpha.length; // less than one pixel in any window
  for (let i = 0; i < alpha.length; i++) if (near[i] < least) alpha[i] = 0;
}

/** Alpha becomes 0 in connected parts whose mask is small beside that of the largest. */
function dropSpecks(alpha, mask, { width }) {
  const part = new Int32Array(alpha.length); // its number, from 1 on
  const areas = [0];
  const reached = [];
  const reach = (at) => {
    if (!alpha[at] || part[at]) return; // also outside of the picture
    part[at] = areas.length - 1;
    reached.push(at);
  };
  for (let seed = 0; seed < alpha.length; seed++) {
    if (!alpha[seed] || part[seed]) continue;
    areas.push(0);
    reach(seed);
    while (reached.length) {
      const at = reached.pop();
      areas[part[at]] += mask[at];
      reach(at - width);
      reach(at + width);
      if (at % width) reach(at - 1);
      if ((at + 1) % width) reach(at + 1);
    }
  }
  const least = Math.max(1, SPECK * areas.reduce((a, b) => Math.max(a, b)));
  for (let i = 0; i < alpha.length; i++) if (areas[part[i]] < least) alpha[i] = 0;
}

/**
 * The photo's pixels with this alpha; where it is partial, the background's share is taken out of
 * the colour, by the local mean colours of object and background.
 */
function ownColours(photo, alpha) {
  const { width, height } = photo;
  const factor = Math.min(1, BLUR_SIDE / Math.max(width, height));
  const [w, h] = [width, height].map((side) => Math.max(1, Math.round(factor * side)));
  const small = resize(photo, w, h, "box");
  const shares = resize(greyPicture(alpha, width, height), w, h, "box").data;
  const own = localColours(small, (i) => shares[4 * i] / 255, photo);
  const ground = localColours(small, (i) => 1 - shares[4 * i] / 255, photo);
  return photo.data.map((value, i) => {
    const [level, channel] = [alpha[i >> 2], i & 3];
    if (channel === 3 || level === 0) return level;
    if (level === 255) return value;
    const a = level / 255;
    return own[i] + a * (value - (a * own[i] + (1 - a) * ground[i]));
  });
}

/** The weighted mean colours around each pixel of `small`, at the photo's size. */
function localColours({ width, height, data }, weightOf, photo) {
  const reach = Math.round(BLUR * Math.hypot(width, height));
  const sums = (of) =>
    windowMeans(Float64Array.from({ length: width * height }, (_, i) => of(i)), width, height, reach);
  const weights = sums(weightOf);
  const channels = [0, 1, 2].map((channel) => sums((i) => weightOf(i) * data[4 * i + channel]));
  const means = data.map((_, i) =>
    (i & 3) === 3 ? 255 : channels[i & 3][i >> 2] / Math.max(weights[i >> 2], 1e-3));
  return resize({ width, height, data: means }, photo.width, photo.height).data;
}
