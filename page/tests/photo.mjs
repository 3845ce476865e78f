/**
 * `node tests/photo.mjs FILE FOLDER PHOTO...`: the section for photographs of the page FILE. The masks
 * of the PHOTOs go to FOLDER/0.png and so on, what is said of the last one's variants to stdout.
 */
import assert from "node:assert/strict";
import { openPage } from "./browser.mjs";

const [file, folder, ...photos] = process.argv.slice(2);
const { page, problems, close } = await openPage(file);
page.setDefaultTimeout(300_000); // on busy cores

const state = (...states) => page.waitForSelector(
  states.map((name) => `#photo[data-state="${name}"]`).join(), { state: "attached" });
const text = (id) => page.textContent(`#photo-${id}`);
const share = async () => Number(/([\d.]+) %/.exec(await text("share"))?.[1] ?? 0);
/** Red, green, blue and alpha of the canvas's first pixel. */
const corner = () => page.$eval("#photo-canvas", (canvas) => {
  const pixel = new OffscreenCanvas(1, 1).getContext("2d");
  pixel.drawImage(canvas, 0, 0);
  return [...pixel.getImageData(0, 0, 1, 1).data];
});
const cornerIs = async (wanted) => {
  while (`${await corner()}` !== `${wanted}`) await page.waitForTimeout(20);
};

async function save(kind, name) {
  const download = page.waitForEvent("download");
  await page.click(`#photo-save-${kind}`);
  await (await download).saveAs(`${folder}/${name}`);
}

for (const [i, photo] of photos.entries()) {
  await page.setInputFiles("#photo-file", photo);
  await state("ready", "failed");
  assert.match(await text("status"), /^Ready/, photo);
  await save("mask", `${i}.png`);
}
await page.waitForFunction(() => document.querySelectorAll("#photo-variants figure").length === 3);
console.log((await page.locator("#photo-variants figcaption").allTextContents()).join("\n"));

// A file that is no picture, in one line; the page goes on.
await page.setInputFiles("#photo-file", { name: "note.jpg", mimeType: "image/jpeg", buffer: Buffer.from("no") });
await state("failed");
assert.match(await text("status"), /^note\.jpg: is no picture .*$/);

// An example, by keyboard; the slider; the ground; the photograph while the button is held.
await page.focus("#photo-examples button");
await page.keyboard.press("Enter");
await state("ready");
const before = await share();
await page.fill("#photo-threshold", "0.9");
await page.waitForFunction(() => document.getElementById("photo-share").textContent.includes("0.90"));
assert.ok(await share() < before && await share() > 0);
await save("mask", "example90.png");
await cornerIs([0, 0, 0, 0]);
await page.check("[name=ground][value=white]");
await cornerIs([255, 255, 255, 255]);
await page.setInputFiles("#photo-ground", photos[0]);
await page.waitForSelector("#photo-ground-picture:checked");
await page.check("[name=ground][value=white]");
await cornerIs([255, 255, 255, 255]);
await page.focus("#photo-hold");
await page.keyboard.down(" ");
assert.notDeepEqual(await corner(), [255, 255, 255, 255]);
await page.keyboard.up(" ");
await cornerIs([255, 255, 255, 255]);
await page.check("[name=ground][value=transparent]");
await save("cutout", "example90_cutout.png");

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
