/**
 * Resizing as Pillow and torch do it, to the same pixels: a canvas resizes otherwise, and the
 * network would see another picture than in Python.
 *
 * @typedef {{width: number, height: number, data: Uint8ClampedArray}} Picture RGBA, row by row
 * @typedef {{width: number, height: number, data: Float32Array}} Plane one value a pixel
 */

/** Filter -> its reach in pixels, and its weight at a distance from its centre. */
const FILTERS = {
  box: { reach: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { reach: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
};
const UNIT = 2 ** -22; // Pillow's weights of 8-bit pixels are multiples of it

/**
 * As Pillow's `resize` (a Picture: rounded to 8 bits after each axis), and torch's `interpolate`
 * with `antialias=True` (a Plane).
 * @template {Picture | Plane} Image
 * @param {Image} image
 * @param {"box" | "bilinear"} filter
 * @returns {Image} of the size `width` x `height`
 */
export function resize(image, width, height, filter = "bilinear") {
  const channels = image.data.length / (image.width * image.height);
  const [columns, rows] = [lineWeights(image.width, width, filter),
    lineWeights(image.height, height, filter)];
  const across = ({ width: w, height: h, data }) =>
    ({ width, height: h, data: resizeAxis(data, h, w, channels, columns) });
  const down = ({ width: w, height: h, data }) =>
    ({ width: w, height, data: resizeAxis(data, 1, h, w * channels, rows) });
  const shorter = image.height - height;
  const columnsFirst = shorter > 0 && shorter > 2 * (image.width - width); // as Pillow 13 does
  return columnsFirst ? across(down(image)) : down(across(image));
}

/**
 * Which pixels of a line make each pixel of the resized line, and with what weights. Where the line
 * becomes shorter, the filter becomes wider.
 * @param {number} from pixels of the line
 * @param {number} to pixels of the resized line
 * @returns {{first: number, weights: Float64Array}[]} for each resized pixel; weights sum to 1
 */
function lineWeights(from, to, filter) {
  const { reach, weight } = FILTERS[filter];
  const scale = from / to;
  const stretch = Math.max(1, scale);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach * stretch + 0.5));
    const end = Math.min(from, Math.trunc(centre + reach * stretch + 0.5));
    const weights = Float64Array.from({ length: end - first }, (_, k) =>
      weight((first + k - centre + 0.5) / stretch));
    const sum = weights.reduce((a, b) => a + b);
    return { first, weights: weights.map((value) => value / sum) };
  });
}

/** One channel of a Picture, from 0 to 255. */
export function channelOf({ width, height, data }, channel) {
  return Float64Array.from({ length: width * height }, (_, i) => data[4 * i + channel]);
}

/** Resize one axis, of `size` pixels, of an array of shape (outer, size, inner). */
function resizeAxis(data, outer, size, inner, lines) {
  if (lines.length === size) return data;
  const bytes = data instanceof Uint8ClampedArray;
  const taps = lines.map(({ first, weights }) =>
    ({ first, weights: bytes ? weights.map((w) => Math.round(w / UNIT) * UNIT) : weights }));
  const resized = new data.constructor(outer * lines.length * inner);
  let to = 0;
  for (let o = 0; o < outer; o++) {
    for (const { first, weights } of taps) {
      for (let i = 0; i < inner; i++, to++) {
        let sum = 0;
        let from = (o * size + first) * inner + i;
        for (let k = 0; k < weights.length; k++, from += inner) sum += weights[k] * data[from];
        resized[to] = bytes ? Math.round(sum) : sum;
      }
    }
  }
  return resized;
}
