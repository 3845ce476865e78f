// Builds page/shell, what `python -m tools.page` puts into each page: `npm ci && npm run build`.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { gunzipSync, gzipSync } from "node:zlib";
import { build } from "esbuild";

const SHELL = new URL("shell/", import.meta.url);
const RUNTIME = new URL("node_modules/onnxruntime-web/", import.meta.url);

/** Bundle one entry of src/ to a script without imports. */
async function bundle(entry, define = {}) {
  const made = await build({
    entryPoints: [new URL(`src/${entry}`, import.meta.url).pathname],
    bundle: true, minify: true, format: "iife", target: "es2022", charset: "utf8",
    legalComments: "none", write: false, define,
  });
  return made.outputFiles[0].text;
}

/** Write `content` gzipped, unless it is there: other versions of zlib make other bytes of it. */
function writeGzipped(name, content) {
  const file = new URL(name, SHELL);
  try {
    if (gunzipSync(readFileSync(file)).equals(content)) return;
  } catch { /* missing or damaged */ }
  writeFileSync(file, gzipSync(content, { level: 9 }));
}

mkdirSync(SHELL, { recursive: true });
// The worker is in the page as text: a page from the disk may load no second file.
const worker = await bundle("worker.js");
const script = await bundle("main.js", { WORKER: JSON.stringify(worker) });
writeFileSync(new URL("page.js", SHELL), script);
writeGzipped("ort.mjs.gz", readFileSync(new URL("dist/ort.wasm.bundle.min.mjs", RUNTIME)));
writeGzipped("ort.wasm.gz", readFileSync(new URL("dist/ort-wasm-simd-threaded.wasm", RUNTIME)));
