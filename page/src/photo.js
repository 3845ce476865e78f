/** The section "Your photo": its markup is in template.html, its work is done in worker.js. */

import { unpack } from "./data.js";
import { showVariants } from "./variants.js";

/**
 * @typedef {object} Model
 * @property {string} key
 * @property {string} title
 * @property {number} threshold
 * @property {number} image_size of the square images that it takes, in pixels
 * @property {number[]} tta_sizes
 * @property {number} multiple of which the sides that the network takes must be
 * @property {string} boundary
 * @property {boolean} default whether it is the one for photographs
 */

/**
 * @param {HTMLElement} element the section
 * @param {{models: Model[], examples: {name: string, url: string}[]}} data
 */
export function photoSection(element, { models, examples }) {
  const part = (name) => element.querySelector(`#photo-${name}`);
  const model = models.find((each) => each.default) ?? models[0];
  const variants = models.filter((each) => each !== model);
  const call = startWorker();
  const load = loader(call);

  let turn = 0; // counts photographs: what an earlier one has found is not shown any more
  let name = "";
  let threshold = model.threshold;
  let bitmaps = {}; // the small photograph and its cut-out

  const ground = () => element.querySelector("[name=ground]:checked").value;
  const say = (state, text) => {
    element.dataset.state = state;
    part("status").textContent = text;
  };
  const paint = (bitmap) => {
    const canvas = part("canvas");
    [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
  };

  /** Draw the cut-out; while that takes, only the last of further calls counts. */
  const draw = lastOnly(async () => {
    const mine = turn;
    const { bitmap, share } = await call("draw", { threshold, ground: ground() });
    if (mine !== turn) return;
    bitmaps.cutout = bitmap;
    paint(bitmap);
    part("share").textContent = share
      ? `${threshold.toFixed(2)}: ${percent(share)} of the photograph`
      : `${threshold.toFixed(2)}: nothing found, a lower one finds more`;
  });

  async function open(file) {
    const mine = ++turn;
    const stale = () => mine !== turn;
    const start = performance.now();
    const seconds = () => `${((performance.now() - start) / 1000).toFixed(1)} s`;
    name = file.name || "photograph";
    say("reading", `Reading ${name} …`);
    try {
      const { bitmap } = await call("open", { file });
      if (stale()) return;
      bitmaps = { photo: bitmap };
      part("result").hidden = false;
      part("variants").replaceChildren();
      part("share").textContent = "";
      part("canvas").setAttribute("aria-label", `What was cut out of ${name}`);
      paint(bitmap);
      say("looking", "Looking for the animal …");
      await load(model);
      await call("find", { model, sizes: [model.image_size], flip: false });
      if (stale()) return;
      await draw();
      say("first", `First answer after ${seconds()}; the mean of six passes follows.`);
      await call("find", { model, sizes: model.tta_sizes, flip: true });
      if (stale()) return;
      await draw();
      say("ready", `Ready: the mean of six passes, after ${seconds()}.`);
      const look = async (variant) => {
        await load(variant);
        return call("look", { model: variant });
      };
      await showVariants(part("variants"), variants, bitmap, look, stale);
    } catch (error) {
      if (!stale()) say("failed", `${name}: ${error.message}`);
    }
  }

  async function save(kind) {
    try {
      const blob = await call("save", { kind, threshold, ground: ground() });
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = `${name.replace(/\.[^.]*$/, "")}_${kind}.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    } catch (error) {
      say("failed", `${name}: ${error.message}`);
    }
  }

  takeFiles(element, part("file"), open);
  for (const { name: title, url } of examples) {
    const button = document.createElement("button");
    const image = Object.assign(new Image(), { src: url, alt: `Example: ${title}` });
    button.append(image);
    button.onclick = async () => {
      const blob = await (await fetch(url)).blob();
      open(new File([blob], title, { type: blob.type }));
    };
    part("examples").append(button);
  }

  part("threshold").value = threshold;
  part("threshold").oninput = (event) => {
    threshold = event.target.valueAsNumber;
    draw();
  };
  element.querySelectorAll("[name=ground]").forEach((radio) => (radio.onchange = draw));
  part("ground").onchange = async ({ target }) => {
    try {
      await call("setGround", { file: target.files[0] });
      Object.assign(part("ground-picture"), { disabled: false, checked: true });
      draw();
    } catch (error) {
      say(element.dataset.state, `${target.files[0].name}: ${error.message}`);
    }
  };
  whileHeld(part("hold"), (held) => paint(held ? bitmaps.photo : bitmaps.cutout ?? bitmaps.photo));
  part("save-cutout").onclick = () => save("cutout");
  part("save-mask").onclick = () => save("mask");
}

/** @param {number} share */
export const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** The worker's actions as one function: call(action, given) -> what it answers. */
function startWorker() {
  const script = new Blob([WORKER], { type: "text/javascript" }); // WORKER: see build.mjs
  const worker = new Worker(URL.createObjectURL(script));
  const waiting = new Map();
  worker.onmessage = ({ data: { id, result, error } }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(result);
    else reject(new Error(error));
  };
  let id = 0;
  return (action, given) => new Promise((resolve, reject) => {
    waiting.set(++id, { resolve, reject });
    worker.postMessage({ id, action, given });
  });
}

/** A function that brings a model into the worker, once; with the first one the runtime. */
function loader(call) {
  const loading = {};
  const start = async () => {
    const [runtime, wasm] = await Promise.all([unpack("ort-js"), unpack("ort-wasm")]);
    await call("start", { runtime, wasm });
  };
  return ({ key }) => (loading[key] ??= (async () => {
    await (loading[""] ??= start());
    await call("load", { key, onnx: await unpack(`model-${key}`) });
  })());
}

/** Run `work`, and once more at the end if it was called meanwhile. */
function lastOnly(work) {
  let running = null;
  let again = false;
  const run = async () => {
    do {
      again = false;
      await work();
    } while (again);
    running = null;
  };
  return () => {
    again = true;
    return (running ??= run());
  };
}

/** Call `open` with the picture that is chosen, dropped or pasted. */
function takeFiles(element, input, open) {
  const take = (files) => files.length && open(files[0]);
  input.onchange = () => take(input.files);
  addEventListener("paste", (event) => take(event.clipboardData.files));
  addEventListener("dragover", (event) => {
    event.preventDefault();
    element.classList.add("dragged");
  });
  addEventListener("dragleave", () => element.classList.remove("dragged"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    element.classList.remove("dragged");
    take(event.dataTransfer.files);
  });
}

/** Tell `show` whether the button is held down, by pointer or keyboard. */
function whileHeld(button, show) {
  const hold = (held) => () => {
    button.setAttribute("aria-pressed", held);
    show(held);
  };
  const key = (then) => (event) => {
    if (event.key === " " || event.key === "Enter") then();
  };
  button.onpointerdown = hold(true);
  button.onpointerup = button.onpointerleave = button.onblur = hold(false);
  button.onkeydown = key(hold(true));
  button.onkeyup = key(hold(false));
}
