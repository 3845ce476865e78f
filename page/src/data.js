/** What Python put into the page: the record as JSON, and packed files as base64 of gzip. */

/** The parsed record, see unet/report/page.py. */
export function record() {
  return JSON.parse(document.getElementById("data").textContent);
}

/**
 * A packed file, which worker.js unpacks: "ort-js", "ort-wasm" or "model-KEY".
 * @param {string} id of its element
 * @returns {string} base64 of gzip
 */
export function packed(id) {
  return document.getElementById(id).textContent;
}
