/** Photographs and models, apart from the page, which stays alive: photo.js calls the actions. */

import { cutout, maskOf, maskPicture, share } from "./pictures.js";
import { fit, probabilitiesAt, smallCopy } from "./refine.js";
import { channelOf, resize } from "./resize.js";

const MAX_PIXELS = 64e6; // of a photograph: its cut-out takes 2.5 GB

let ort; // the runtime
const sessions = {}; // a model's key -> its session
let photo; // full, small, squares; once something is found, also lines and found
let opening; // the last file that is being read
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
    opening = file;
    const full = await decode(file);
    const small = smallCopy(full);
    if (opening === file) photo = { full, small, squares: {} };
    return { bitmap: onCanvas(small).transferToImageBitmap() };
  },

  /** Find the object, see {@link probabilities}. */
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
    const bitmap = canvas.transferToImageBitmap();
    return { bitmap, covered: share(maskOf(photo.found, threshold)) };
  },

  /** A PNG file of the photograph's own size. */
  save({ kind, threshold, ground }) {
    const { full, lines } = photo;
    const found = probabilitiesAt(lines, full);
    const canvas = kind === "mask"
      ? onCanvas(maskPicture(found, threshold))
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
function toBitmap(file) {
  const asStored = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  return createImageBitmap(file, { imageOrientation: "from-image", ...asStored }).catch(() => {
    throw new Error("is no picture that this browser can read (JPEG, PNG, WebP or GIF)");
  });
}

/** A photograph as a Picture; what is transparent becomes white. */
async function decode(file) {
  const bitmap = await toBitmap(file);
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) throw new Error("has more than 64 million pixels");
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, width, height);
}

function onCanvas({ width, height, data }) {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
  return canvas;
}

/** A Picture on a ground: a colour, "picture", or "transparent". */
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
 * A model's probabilities, the mean over passes at these sizes, `flip`: and of the mirror image.
 * @returns {Promise<Plane>} as large as the square images that the model was trained on
 */
async function probabilities({ full, squares }, model, sizes, flip) {
  const side = model.image_size;
  const square = (squares[side] ??= resize(full, side, side));
  const channels = [0, 1, 2].map((k) =>
    ({ width: side, height: side, data: channelOf(square, k).map((value) => value / 255) }));
  const answers = [];
  for (const size of sizes) {
    const images = channels.map((plane) => resize(plane, size, size));
    answers.push(await onePass(model, images));
    if (flip) answers.push(mirrored(await onePass(model, images.map(mirrored))));
  }
  const planes = answers.map((answer) => resize(answer, side, side).data);
  const mean = (_, i) => planes.reduce((sum, plane) => sum + plane[i], 0) / planes.length;
  return { width: side, height: side, data: Float32Array.from({ length: side * side }, mean) };
}

function mirrored({ width, height, data }) {
  return { width, height, data: data.map((_, i) => data[i + width - 1 - 2 * (i % width)]) };
}

/**
 * The network's answer to one square image, which is padded by repeating its border.
 * @param {Plane[]} channels red, green and blue, from 0 to 1
 */
async function onePass({ key, multiple }, channels) {
  await new Promise((resolve) => setTimeout(resolve)); // lets other actions in: of the slider
  const size = channels[0].width;
  const side = Math.ceil(size / multiple) * multiple;
  const images = channels.flatMap(({ data }) => Array.from({ length: side * side }, (_, i) => {
    const [x, y] = [i % side, Math.floor(i / side)].map((place) => Math.min(place, size - 1));
    return data[y * size + x];
  }));
  const input = new ort.Tensor("float32", Float32Array.from(images), [1, 3, side, side]);
  const { data } = (await sessions[key].run({ images: input })).probabilities;
  const cropped = (_, i) => data[Math.floor(i / size) * side + (i % size)];
  return { width: size, height: size, data: Float32Array.from({ length: size * size }, cropped) };
}
