/** What Python put into the page: the record as JSON, and packed files as base64 of gzip. */

/** The parsed record, see unet/report/page.py. */
export function record() {
  return JSON.parse(document.getElementById("data").textContent);
}

/**
 * A packed file: "ort-js", "ort-wasm" or "model-KEY".
 * @param {string} id of its element
 * @returns {Promise<Uint8Array>}
 */
export async function unpack(id) {
  const text = document.getElementById(id).textContent;
  const packed = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
