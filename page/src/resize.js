/**
 * Resizing as Pillow and torch do it, to the same pixels: a canvas resizes otherwise, and the
 * network would see another picture than in Python.
 *
 * @typedef {{width: number, height: number, data: Uint8ClampedArray}} Picture RGBA, row by row
 * @typedef {{width: number, height: number, data: Float32Array}} Plane one value a pixel
 */

const BITS = 22; // of the fraction, in Pillow's whole-number weights

/** Filter -> its reach in pixels, and its weight at a distance from its centre. */
const FILTERS = {
  box: { reach: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { reach: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
};

/**
 * Which pixels of a line make each pixel of the resized line, and with what weights. Where the line
 * becomes shorter the filter becomes wider ("antialias").
 * @param {number} from pixels of the line
 * @param {number} to pixels of the resized line
 * @param {"box" | "bilinear"} filter
 * @returns {{first: number, weights: Float64Array}[]} for each resized pixel; weights sum to 1
 */
export function lineWeights(from, to, filter) {
  const { reach, weight } = FILTERS[filter];
  const scale = from / to;
  const width = Math.max(1, scale);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach * width + 0.5));
    const end = Math.min(from, Math.trunc(centre + reach * width + 0.5));
    const weights = Float64Array.from({ length: end - first }, (_, k) =>
      weight((first + k - centre + 0.5) / width));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((value) => value / sum) };
  });
}

/** Weights as whole numbers of 2 ** -BITS. */
function inWholeNumbers(lines) {
  return lines.map(({ first, weights }) =>
    ({ first, weights: weights.map((value) => Math.trunc(value * 2 ** BITS + 0.5)) }));
}

/**
 * Resize one axis of an array of shape (outer, from, inner); `lines` are for that axis. Arrays of
 * bytes take weights in whole numbers.
 */
function resizeAxis(data, outer, from, inner, lines) {
  const resized = new data.constructor(outer * lines.length * inner);
  const half = 2 ** (BITS - 1);
  const bytes = data instanceof Uint8ClampedArray;
  let out = 0;
  for (let o = 0; o < outer; o++) {
    for (const { first, weights } of lines) {
      const start = (o * from + first) * inner;
      for (let i = 0; i < inner; i++) {
        let sum = 0;
        for (let k = 0, at = start + i; k < weights.length; k++, at += inner) {
          sum += weights[k] * data[at];
        }
        resized[out++] = bytes ? (sum + half) >> BITS : sum;
      }
    }
  }
  return resized;
}

/**
 * As Pillow's `resize`: first the rows, rounded to 8 bits, then the columns.
 * @param {Picture} picture
 * @param {number} width
 * @param {number} height
 * @param {"box" | "bilinear"} filter
 * @returns {Picture}
 */
export function resizePicture(picture, width, height, filter) {
  let { data } = picture;
  if (width !== picture.width) {
    const lines = inWholeNumbers(lineWeights(picture.width, width, filter));
    data = resizeAxis(data, picture.height, picture.width, 4, lines);
  }
  if (height !== picture.height) {
    const lines = inWholeNumbers(lineWeights(picture.height, height, filter));
    data = resizeAxis(data, 1, picture.height, 4 * width, lines);
  }
  return { width, height, data };
}

/**
 * As torch's `interpolate(mode="bilinear", antialias=True)`.
 * @param {Plane} plane
 * @param {number} width
 * @param {number} height
 * @returns {Plane}
 */
export function resizePlane(plane, width, height) {
  if (width === plane.width && height === plane.height) return plane;
  const across = lineWeights(plane.width, width, "bilinear");
  const down = lineWeights(plane.height, height, "bilinear");
  const rows = resizeAxis(plane.data, plane.height, plane.width, 1, across);
  return { width, height, data: resizeAxis(rows, 1, plane.height, width, down) };
}
