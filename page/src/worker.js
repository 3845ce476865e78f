/** Photographs and models, apart from the page, which stays alive: photo.js calls the actions. */

import { cutout, greyPicture, maskOf, share } from "./pictures.js";
import { fit, probabilitiesAt, smallCopy } from "./refine.js";
import { resize } from "./resize.js";

const MAX_PIXELS = 100e6; // of a photograph: they take 2 GB

let ort; // the runtime
const sessions = {}; // a model's key -> its session
let photo; // full, small, squares; once something is found, also lines and found
let groundPicture;

const actions = {
  async start({ runtime, wasm }) {
    const script = new Blob([await unpack(runtime)], { type: "text/javascript" });
    ort = await import(URL.createObjectURL(script));
    ort.env.wasm.wasmBinary = await unpack(wasm);
    ort.env.wasm.numThreads = 1; // more need headers, which a file from the disk has not
  },

  async load({ key, packed }) {
    sessions[key] = await ort.InferenceSession.create(await unpack(packed));
  },

  async open({ file }) {
    const full = await decode(file);
    photo = { full, small: smallCopy(full), squares: {} };
    return { bitmap: onCanvas(photo.small).transferToImageBitmap() };
  },

  /** Find the object, in passes at these sizes; `flip`: and of the mirror image. */
  async find({ model, sizes, flip }) {
    const current = photo; // another may be opened meanwhile
    current.lines = fit(await probabilities(current, model, sizes, flip), current.small);
    current.found = probabilitiesAt(current.lines, current.small);
  },

  /** What a network says by one pass, as square as it is. */
  async look({ model }) {
    const start = performance.now();
    const plane = await probabilities(photo, model, [model.image_size], false);
    return { plane, seconds: (performance.now() - start) / 1000 };
  },

  async setGround({ file }) {
    groundPicture = await toBitmap(file);
  },

  draw({ threshold, ground }) {
    const canvas = onGround(cutout(photo.small, photo.found, threshold), ground);
    return { bitmap: canvas.transferToImageBitmap(), share: share(photo.found, threshold) };
  },

  /** A PNG file of the photograph's own size. */
  save({ kind, threshold, ground }) {
    const { full, lines } = photo;
    const found = probabilitiesAt(lines, full);
    const mask = () => maskOf(found, threshold).map((value) => 255 * value);
    const canvas = kind === "mask"
      ? onCanvas(greyPicture(mask(), full.width, full.height))
      : onGround(cutout(full, found, threshold), ground);
    return canvas.convertToBlob({ type: "image/png" });
  },
};

self.onmessage = async ({ data: { id, action, given } }) => {
  try {
    self.postMessage({ id, result: await actions[action](given) });
  } catch (error) {
    self.postMessage({ id, error: error.message });
  }
};

/** @param {string} text base64 of gzip */
async function unpack(text) {
  const packed = await fetch(`data:application/gzip;base64,${text}`);
  const stream = packed.body.pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Upright by its EXIF tag, in the stored colours. */
async function toBitmap(file) {
  const upright = { imageOrientation: "from-image" };
  const asStored = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  try {
    return await createImageBitmap(file, { ...upright, ...asStored });
  } catch {
    throw new Error("is no picture that this browser can read (JPEG, PNG, WebP or GIF)");
  }
}

/**
 * A photograph's pixels; what is transparent becomes white.
 * @returns {Promise<Picture>}
 */
async function decode(file) {
  const bitmap = await toBitmap(file);
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) throw new Error("has more than 100 million pixels");
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, width, height);
}

/** @param {Picture} picture */
function onCanvas({ width, height, data }) {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
  return canvas;
}

/**
 * @param {Picture} drawn
 * @param {string} ground a colour, "picture", or "transparent"
 */
function onGround(drawn, ground) {
  const canvas = new OffscreenCanvas(drawn.width, drawn.height);
  const context = canvas.getContext("2d");
  if (ground === "picture") {
    const { width, height } = groundPicture;
    const factor = Math.max(drawn.width / width, drawn.height / height); // covers all of it
    const [w, h] = [factor * width, factor * height];
    context.imageSmoothingQuality = "high";
    context.drawImage(groundPicture, (drawn.width - w) / 2, (drawn.height - h) / 2, w, h);
  } else {
    context.fillStyle = ground;
    context.fillRect(0, 0, drawn.width, drawn.height);
  }
  context.drawImage(onCanvas(drawn), 0, 0);
  return canvas;
}

/**
 * A model's probabilities, the mean over passes at these sizes.
 * @returns {Promise<Plane>} as large as the square that the model was trained on
 */
async function probabilities({ full, squares }, model, sizes, flip) {
  const side = model.image_size;
  const { data } = (squares[side] ??= resize(full, side, side));
  const channels = [0, 1, 2].map((channel) =>
    Float32Array.from({ length: side * side }, (_, i) => data[4 * i + channel] / 255));
  const mean = new Float32Array(side * side);
  for (const size of sizes) {
    await new Promise((resolve) => setTimeout(resolve)); // lets other actions in: of the slider
    const images = channels.map((plane) =>
      resize({ width: side, height: side, data: plane }, size, size).data);
    const answer = { width: size, height: size, data: await onePass(model, images, size, flip) };
    resize(answer, side, side).data.forEach((value, i) => (mean[i] += value / sizes.length));
  }
  return { width: side, height: side, data: mean };
}

/**
 * The network's answer, of size x size pixels; `flip`: the mean with that of the mirror image.
 * @param {Float32Array[]} channels red, green and blue, from 0 to 1
 */
async function onePass({ key, multiple }, channels, size, flip) {
  const side = Math.ceil(size / multiple) * multiple; // padded by repeating the border
  const mirrors = flip ? [false, true] : [false];
  const column = (x, mirrored) => (mirrored ? size - 1 - x : x);
  const images = new Float32Array(mirrors.length * 3 * side * side);
  let at = 0;
  for (const mirrored of mirrors) {
    for (const channel of channels) {
      for (let y = 0; y < side; y++) {
        const row = Math.min(y, size - 1) * size;
        for (let x = 0; x < side; x++) {
          images[at++] = channel[row + column(Math.min(x, size - 1), mirrored)];
        }
      }
    }
  }
  const input = new ort.Tensor("float32", images, [mirrors.length, 3, side, side]);
  const { data } = (await sessions[key].run({ images: input })).probabilities;
  return Float32Array.from({ length: size * size }, (_, i) => {
    const [x, y] = [i % size, Math.floor(i / size)];
    const answers = mirrors.map((mirrored, n) => data[(n * side + y) * side + column(x, mirrored)]);
    return answers.reduce((a, b) => a + b) / answers.length;
  });
}
