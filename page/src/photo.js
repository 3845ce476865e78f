/** The section "Your photo": its markup is in template.html, its work is done in worker.js. */

import { h } from "./dom.js";
import { percent, showVariants } from "./variants.js";

/**
 * @typedef {object} Model as unet/report/page_models.py describes it
 * @param {HTMLElement} element the section
 * @param {{models: Model[], examples: {name: string, url: string}[]}} record
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
  /** Do what a user asked for with a file; if it fails, say so. */
  const attempt = async (file, work) => {
    try {
      await work();
    } catch (error) {
      say("failed", `${file}: ${error.message}`);
    }
  };

  const draw = lastOnly(async () => {
    const { bitmap, covered } = await call("draw", settings());
    if (part("controls").disabled) return; // another photograph is being read
    bitmaps.cutout = bitmap;
    paint(bitmap);
    const found = covered ? `${percent(covered)} of the photo` : "nothing; a lower one finds more";
    part("share").textContent = `above ${threshold.toFixed(2)}: ${found}`;
  });

  const open = (file) => attempt(file.name, async () => {
    const mine = ++turn;
    const stale = () => mine !== turn;
    const start = performance.now();
    const seconds = () => `${((performance.now() - start) / 1000).toFixed(1)} s`;
    const controls = part("controls");
    controls.disabled = true;
    say("reading", `Reading ${file.name} …`);
    const { bitmap } = await call("open", { file }).catch((error) => {
      controls.disabled = !bitmaps.cutout; // the photograph before stays
      throw error;
    });
    if (stale()) return;
    name = file.name;
    bitmaps = { photo: bitmap };
    paint(bitmap);
    part("canvas").setAttribute("aria-label", `What was cut out of ${name}`);
    part("variants").replaceChildren();
    part("result").hidden = false;
    say("looking", "Looking for the animal …");
    await load(model);
    await call("find", { model, sizes: [model.image_size], flip: false });
    if (stale()) return;
    controls.disabled = false;
    await draw();
    say("first", `First answer after ${seconds()}; the mean of six passes follows.`);
    await call("find", { model, sizes: model.tta_sizes, flip: true });
    if (stale()) return;
    await draw();
    say("ready", `Ready: the mean of six passes, after ${seconds()}.`);
    const look = (variant) => load(variant).then(() => call("look", { model: variant }));
    const variants = models.filter((each) => !each.default);
    await showVariants(part("variants"), variants, bitmap, look, stale);
  });

  takeFiles(element, part("file"), open);
  for (const { name: example, url } of examples) {
    const onclick = async () => open(new File([await (await fetch(url)).blob()], example));
    const image = h("img", { src: url, alt: `Example: ${example}` });
    part("examples").append(h("button", { type: "button", onclick }, image));
  }

  part("threshold").value = threshold;
  part("threshold").oninput = ({ target }) => {
    threshold = target.valueAsNumber;
    attempt(name, draw);
  };
  for (const radio of element.querySelectorAll("[name=ground]")) {
    radio.onchange = () => attempt(name, draw);
  }
  const setGround = async (file) => {
    await call("setGround", { file });
    Object.assign(part("ground-picture"), { disabled: false, checked: true });
    await draw();
  };
  part("ground").onchange = ({ target: { files: [file] } }) =>
    file && attempt(file.name, () => setGround(file));
  whileHeld(part("hold"), (held) => paint(held ? bitmaps.photo : bitmaps.cutout ?? bitmaps.photo));
  for (const kind of ["cutout", "mask"]) {
    part(`save-${kind}`).onclick = () => attempt(name, async () => {
      const download = `${name.replace(/\.[^.]*$/, "")}_${kind}.png`;
      const href = URL.createObjectURL(await call("save", { kind, ...settings() }));
      h("a", { href, download }).click();
    });
  }
}

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
  const packed = (id) => document.getElementById(id).textContent; // base64 of gzip
  const loading = {};
  const once = (key, work) => (loading[key] ??= work());
  return ({ key }) => once(key, async () => {
    await once("", () => call("start", { runtime: packed("ort-js"), wasm: packed("ort-wasm") }));
    await call("load", { key, packed: packed(`model-${key}`) });
  });
}

/** A function that does `work`, and once more afterwards where it was called meanwhile. */
function lastOnly(work) {
  let running = Promise.resolve();
  let waiting = null;
  const next = () => {
    waiting = null;
    running = work();
    return running;
  };
  return () => (waiting ??= running.then(next, next));
}

/** Call `open` with a picture that is chosen, dropped or pasted. */
function takeFiles(element, input, open) {
  const drag = (dragged) => element.classList.toggle("dragged", dragged);
  const take = (event, { files: [file] }) => {
    event.preventDefault();
    drag(false);
    if (file) open(file);
  };
  input.onchange = (event) => take(event, input);
  addEventListener("paste", (event) => take(event, event.clipboardData));
  addEventListener("drop", (event) => take(event, event.dataTransfer));
  addEventListener("dragleave", () => drag(false));
  addEventListener("dragover", (event) => {
    event.preventDefault();
    drag(true);
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
