/** The section "Your photo": its markup is in template.html, its work is done in worker.js. */

import { packed } from "./data.js";
import { h } from "./dom.js";
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
  const model = models.find((each) => each.default);
  const call = startWorker();
  const load = loader(call);

  let turn = 0; // counts photographs: what an earlier one leads to is not shown any more
  let name = "";
  let threshold = model.threshold;
  let bitmaps = {}; // the small photograph and its cut-out

  const settings = () =>
    ({ threshold, ground: element.querySelector("[name=ground]:checked").value });
  const say = (state, text) => {
    element.dataset.state = state;
    part("status").textContent = text;
  };
  const paint = (bitmap) => {
    const canvas = part("canvas");
    [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
  };
  /** Run what a user asked for; if it fails, say so. */
  const attempt = (what, work) => async (...given) => {
    try {
      await work(...given);
    } catch (error) {
      say("failed", `${what(...given)}: ${error.message}`);
    }
  };

  const draw = lastOnly(async () => {
    const mine = turn;
    const { bitmap, share } = await call("draw", settings());
    if (mine !== turn) return;
    bitmaps.cutout = bitmap;
    paint(bitmap);
    const found = share ? `${percent(share)} of the photograph` : "nothing; a lower one finds more";
    part("share").textContent = `above ${threshold.toFixed(2)}: ${found}`;
  });

  async function show(file) {
    const mine = ++turn;
    const stale = () => mine !== turn;
    const start = performance.now();
    const seconds = () => `${((performance.now() - start) / 1000).toFixed(1)} s`;
    name = file.name;
    say("reading", `Reading ${name} …`);
    const { bitmap } = await call("open", { file });
    if (stale()) return;
    bitmaps = { photo: bitmap };
    paint(bitmap);
    part("result").hidden = false;
    part("canvas").setAttribute("aria-label", `What was cut out of ${name}`);
    part("variants").replaceChildren();
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
    const variants = models.filter((each) => !each.default);
    await showVariants(part("variants"), variants, bitmap, look, stale);
  }
  const open = attempt((file) => file.name, show);

  takeFiles(element, part("file"), open);
  for (const { name: example, url } of examples) {
    const onclick = async () => open(new File([await (await fetch(url)).blob()], example));
    const image = h("img", { src: url, alt: `Example: ${example}` });
    part("examples").append(h("button", { type: "button", onclick }, image));
  }

  part("threshold").value = threshold;
  part("threshold").oninput = ({ target }) => {
    threshold = target.valueAsNumber;
    draw();
  };
  element.querySelectorAll("[name=ground]").forEach((radio) => (radio.onchange = draw));
  part("ground").onchange = attempt(({ target }) => target.files[0].name, async ({ target }) => {
    await call("setGround", { file: target.files[0] });
    Object.assign(part("ground-picture"), { disabled: false, checked: true });
    draw();
  });
  whileHeld(part("hold"), (held) => paint(held ? bitmaps.photo : bitmaps.cutout ?? bitmaps.photo));
  for (const kind of ["cutout", "mask"]) {
    part(`save-${kind}`).onclick = attempt(() => name, async () => {
      const href = URL.createObjectURL(await call("save", { kind, ...settings() }));
      h("a", { href, download: `${name.replace(/\.[^.]*$/, "")}_${kind}.png` }).click();
    });
  }
}

/** @param {number} share */
export const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** The worker's actions as one function: call(action, given) -> what it answers. */
function startWorker() {
  const script = new Blob([WORKER], { type: "text/javascript" }); // WORKER: see build.mjs
  const worker = new Worker(URL.createObjectURL(script));
  const waiting = [];
  worker.onmessage = ({ data: { id, result, error } }) => {
    if (error === undefined) waiting[id].resolve(result);
    else waiting[id].reject(new Error(error));
    delete waiting[id];
  };
  return (action, given) => new Promise((resolve, reject) => {
    const id = waiting.push({ resolve, reject }) - 1;
    worker.postMessage({ id, action, given });
  });
}

/** A function that brings a model into the worker, once; before the first one, the runtime. */
function loader(call) {
  const loading = {};
  const once = (key, work) => (loading[key] ??= work());
  return ({ key }) => once(key, async () => {
    await once("", () => call("start", { runtime: packed("ort-js"), wasm: packed("ort-wasm") }));
    await call("load", { key, packed: packed(`model-${key}`) });
  });
}

/** A function that does `work`, and once more afterwards if it was called meanwhile. */
function lastOnly(work) {
  let running = null;
  let again = false;
  const run = async () => {
    while (again) {
      again = false;
      await work();
    }
    running = null;
  };
  return () => {
    again = true;
    return (running ??= run());
  };
}

/** Call `open` with a picture that is chosen, dropped or pasted. */
function takeFiles(element, input, open) {
  const take = (files) => files.length && open(files[0]);
  const drag = (dragged) => (event) => {
    event.preventDefault();
    element.classList.toggle("dragged", dragged);
  };
  input.onchange = () => take(input.files);
  addEventListener("paste", (event) => take(event.clipboardData.files));
  addEventListener("dragover", drag(true));
  addEventListener("dragleave", drag(false));
  addEventListener("drop", (event) => {
    drag(false)(event);
    take(event.dataTransfer.files);
  });
}

/** Tell `show` whether the button is held down, by a pointer or the space bar. */
function whileHeld(button, show) {
  const hold = (held) => () => {
    button.setAttribute("aria-pressed", held);
    show(held);
  };
  const ofSpace = (then) => ({ key }) => key === " " && then();
  button.onpointerdown = hold(true);
  button.onpointerup = button.onpointerleave = button.onblur = hold(false);
  button.onkeydown = ofSpace(hold(true));
  button.onkeyup = ofSpace(hold(false));
}
