/** Mask and cut-out of probabilities, as in unet/inference/pictures.py. */

import { windowMeans } from "./refine.js";

const RAMP = 0.15; // of a cut-out's edge: this far from the threshold, alpha is 0 or 255
const NEAR = 0.01; // diagonals around the mask: the reach of a cut-out's soft edge
const SPECK = 0.1; // of the largest part's area: smaller parts are left out of cut-outs

/** 1 where the object is by the probabilities of a Plane, else 0. */
export function maskOf({ data }, threshold) {
  return Uint8Array.from(data, (value) => (value > threshold ? 1 : 0));
}

/** The share of a mask's pixels that are 1. */
export function share(mask) {
  return mask.reduce((sum, value) => sum + value, 0) / mask.length;
}

/** The same mask as a Picture, white on black. */
export function maskPicture({ width, height, data: values }, threshold) {
  const data = new Uint8ClampedArray(4 * values.length);
  for (let i = 0; i < data.length; i++) {
    data[i] = (i & 3) === 3 || values[i >> 2] > threshold ? 255 : 0;
  }
  return { width, height, data };
}

/**
 * The object with a soft edge, in the photograph's colours (unet-predict also takes the
 * background's share out of those along the edge), transparent around it.
 * @param {Picture} photo
 * @param {Plane} probabilities at the photo's size
 * @returns {Picture}
 */
export function cutout(photo, probabilities, threshold) {
  const mask = maskOf(probabilities, threshold);
  const alpha = softMask(probabilities, threshold);
  dropHaze(alpha, mask, photo);
  dropSpecks(alpha, mask, photo);
  const data = photo.data.map((value, i) => ((i & 3) === 3 ? alpha[i >> 2] : value));
  return { width: photo.width, height: photo.height, data };
}

/** Alpha rises from 0 to 255 around the threshold as 3 x^2 - 2 x^3. */
function softMask({ data }, threshold) {
  const reach = Math.min(RAMP, threshold, 1 - threshold);
  return new Uint8ClampedArray(data.map((value) => {
    const x = Math.min(1, Math.max(0, (value - threshold + reach) / (2 * reach)));
    return 255 * x * x * (3 - 2 * x);
  }));
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
