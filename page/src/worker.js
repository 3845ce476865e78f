/** Photographs and models, apart from the page, which stays alive: photo.js calls the actions. */

import { cutout, maskPicture, share } from "./pictures.js";
import { fit, probabilitiesAt, smallCopy } from "./refine.js";
import { resizePicture, resizePlane } from "./resize.js";

/**
 * @typedef {import("./resize.js").Picture} Picture
 * @typedef {import("./resize.js").Plane} Plane
 * @typedef {{key: string, image_size: number, multiple: number}} Model
 */

const MAX_PIXELS = 100e6; // of a photograph: they take 2 GB

let ort; // the runtime
const sessions = {}; // model's key -> its session
let photo; // the open photograph: full, small, squares; lines and found once something is found
let groundPicture; // ImageBitmap

const actions = {
  async start({ runtime, wasm }) {
    const script = new Blob([runtime], { type: "text/javascript" });
    ort = await import(URL.createObjectURL(script));
    ort.env.wasm.wasmBinary = wasm;
    ort.env.wasm.numThreads = 1; // more need headers, which a file from the disk has not
  },

  async load({ key, onnx }) {
    sessions[key] = await ort.InferenceSession.create(onnx, { executionProviders: ["wasm"] });
  },

  /** Open a photograph; the answer is a small copy to look at. */
  async open({ file }) {
    const full = await decode(file);
    photo = { full, small: smallCopy(full), squares: {} };
    return { bitmap: onCanvas(photo.small).transferToImageBitmap() };
  },

  /** Find the object: the mean over passes at these sizes, and of the mirror image with `flip`. */
  async find({ model, sizes, flip }) {
    const current = photo; // another may be opened meanwhile
    const square = await probabilities(current, model, sizes, flip);
    current.lines = fit(square, current.small);
    current.found = probabilitiesAt(current.lines, current.small);
  },

  /** One model's answer as the network gives it. */
  async look({ model }) {
    const start = performance.now();
    const plane = await probabilities(photo, model, [model.image_size], false);
    return { plane, seconds: (performance.now() - start) / 1000 };
  },

  async setGround({ file }) {
    groundPicture = await toBitmap(file);
  },

  /** The small cut-out. */
  draw({ threshold, ground }) {
    const drawn = onGround(cutout(photo.small, photo.found, threshold), ground);
    return { bitmap: drawn.transferToImageBitmap(), share: share(photo.found, threshold) };
  },

  /** A PNG file at the photograph's own size. */
  save({ kind, threshold, ground }) {
    const found = probabilitiesAt(photo.lines, photo.full);
    const drawn = kind === "mask"
      ? onCanvas(maskPicture(found, threshold))
      : onGround(cutout(photo.full, found, threshold), ground);
    return drawn.convertToBlob({ type: "image/png" });
  },
};

self.onmessage = async ({ data: { id, action, given } }) => {
  try {
    self.postMessage({ id, result: await actions[action](given) });
  } catch (error) {
    self.postMessage({ id, error: error.message });
  }
};

/** Upright by its EXIF tag, in the stored colours. */
async function toBitmap(file) {
  try {
    return await createImageBitmap(file, {
      imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none",
    });
  } catch {
    throw new Error("is no picture that this browser can read (JPEG, PNG, WebP, GIF: yes)");
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
 * @param {string} ground a colour, "picture", or "" for none
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
  } else if (ground) {
    context.fillStyle = ground;
    context.fillRect(0, 0, drawn.width, drawn.height);
  }
  context.drawImage(onCanvas(drawn), 0, 0);
  return canvas;
}

/**
 * A model's probabilities, as square as it takes photographs.
 * @param {Model} model
 * @returns {Promise<Plane>}
 */
async function probabilities({ full, squares }, model, sizes, flip) {
  const side = model.image_size;
  squares[side] ??= resizePicture(full, side, side, "bilinear");
  const channels = [0, 1, 2].map((channel) => ({
    width: side,
    height: side,
    data: Float32Array.from({ length: side * side }, (_, i) =>
      squares[side].data[4 * i + channel] / 255),
  }));
  const mean = new Float32Array(side * side);
  for (const size of sizes) {
    await new Promise((resolve) => setTimeout(resolve)); // for other actions, as of the slider
    const answer = resizePlane(await onePass(model, channels, size, flip), side, side);
    answer.data.forEach((value, i) => (mean[i] += value / sizes.length));
  }
  return { width: side, height: side, data: mean };
}

/**
 * The network's answer at one size: padded to sides that it takes by repeating the border.
 * @param {Model} model
 * @param {Plane[]} channels red, green and blue, from 0 to 1
 * @returns {Promise<Plane>}
 */
async function onePass({ key, multiple }, channels, size, flip) {
  const side = Math.ceil(size / multiple) * multiple;
  const resized = channels.map((plane) => resizePlane(plane, size, size).data);
  const column = (x, mirrored) => (mirrored ? size - 1 - x : x);
  const images = [];
  for (const mirrored of flip ? [false, true] : [false]) {
    for (const channel of resized) {
      for (let y = 0; y < side; y++) {
        const row = Math.min(y, size - 1) * size;
        for (let x = 0; x < side; x++) {
          images.push(channel[row + column(Math.min(x, size - 1), mirrored)]);
        }
      }
    }
  }
  const count = flip ? 2 : 1;
  const input = new ort.Tensor("float32", Float32Array.from(images), [count, 3, side, side]);
  const { data } = (await sessions[key].run({ images: input })).probabilities;
  const answer = new Float32Array(size * size);
  for (let i = 0; i < size * size; i++) {
    const [x, row] = [i % size, Math.floor(i / size) * side];
    answer[i] = data[row + x];
    if (flip) answer[i] = (answer[i] + data[side * side + row + column(x, true)]) / 2;
  }
  return { width: size, height: size, data: answer };
}
