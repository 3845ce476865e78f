/**
 * `node tests/photo.mjs FILE FOLDER PHOTO...`: the section for photographs of the page FILE. Masks
 * of the PHOTOs go to FOLDER/0.png and so on, what is said of the last one's variants to stdout.
 */
import assert from "node:assert/strict";
import { openPage } from "./browser.mjs";

const [file, folder, ...photos] = process.argv.slice(2);
const { page, problems, close } = await openPage(file);
page.setDefaultTimeout(300_000); // on busy cores

const state = (name) => page.waitForSelector(`#photo[data-state=${name}]`, { state: "attached" });
const text = (id) => page.textContent(`#photo-${id}`);
const share = async () => Number(/([\d.]+) %/.exec(await text("share"))?.[1] ?? 0);
const TRANSPARENT = [0, 0, 0, 0];
const WHITE = [255, 255, 255, 255];
// A white pixel.
const GIF = Buffer.from("R0lGODlhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs=", "base64");
/** Wait until the canvas's first pixel is this, or is not. */
const corner = (colour, same = true) => page.waitForFunction(([colour, same]) => {
  const pixel = new OffscreenCanvas(1, 1).getContext("2d");
  pixel.drawImage(document.getElementById("photo-canvas"), 0, 0);
  return same === (`${pixel.getImageData(0, 0, 1, 1).data}` === `${colour}`);
}, [colour, same]);

async function save(kind, name) {
  const download = page.waitForEvent("download");
  await page.click(`#photo-save-${kind}`);
  await (await download).saveAs(`${folder}/${name}`);
}

for (const [i, photo] of photos.entries()) {
  await page.setInputFiles("#photo-file", photo);
  await state("ready");
  await save("mask", `${i}.png`);
}
await page.waitForFunction(() => document.querySelectorAll("#photo-variants figure").length === 3);
console.log((await page.locator("#photo-variants figcaption").allTextContents()).join("\n"));

// A file that is no picture, in one line; the page goes on.
const note = { name: "note.jpg", mimeType: "image/jpeg", buffer: Buffer.from("no") };
await page.setInputFiles("#photo-file", note);
await state("failed");
assert.match(await text("status"), /^note\.jpg: is no picture .*$/);
assert.ok(await page.isEnabled("#photo-save-mask")); // of the photograph before

// An example, by keyboard; the slider; the grounds; the photograph while the button is held.
await page.focus("#photo-examples button");
await page.keyboard.press("Enter");
await state("ready");
const before = await share();
await page.fill("#photo-threshold", "0.9");
await page.locator("#photo-share", { hasText: "0.90" }).waitFor();
assert.ok(await share() < before && await share() > 0);
await corner(TRANSPARENT);
await save("mask", "slid.png");
await save("cutout", "cutout.png");
const white = { name: "white.gif", mimeType: "image/gif", buffer: GIF };
await page.setInputFiles("#photo-ground", white);
await corner(WHITE);
await page.check("[name=ground][value=transparent]");
await corner(TRANSPARENT);
await page.check("[name=ground][value=white]");
await corner(WHITE);
await page.focus("#photo-hold");
await page.keyboard.down(" ");
await corner(WHITE, false);
await page.keyboard.up(" ");
await corner(WHITE);

// A dropped and a pasted file.
for (const [kind, holder] of [["drop", "dataTransfer"], ["paste", "clipboardData"]]) {
  await page.evaluate(([kind, holder]) => {
    const files = new DataTransfer();
    files.items.add(new File(["no"], `${kind}.png`));
    dispatchEvent(Object.assign(new Event(kind, { cancelable: true }), { [holder]: files }));
  }, [kind, holder]);
  await page.waitForFunction((kind) =>
    document.getElementById("photo-status").textContent.startsWith(`${kind}.png`), kind);
}
assert.deepEqual(problems, []);
await close();
