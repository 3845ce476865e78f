// Drives the page's section "Your photo": node photo.mjs PAGE FOLDER PHOTO... -> masks in FOLDER,
// and in FOLDER/captions.json what the page says of the variants.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { chromium } from "playwright-core";

const [page_, folder, ...photos] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
const context = await browser.newContext();
await context.setOffline(true);
const page = await context.newPage();
page.setDefaultTimeout(300_000); // on busy cores
const complaints = [];
page.on("console", (message) => complaints.push(message.text()));
page.on("pageerror", (error) => complaints.push(error.message));
page.on("request", (request) => {
  if (!/^(file|data|blob):/.test(request.url())) complaints.push(request.url());
});

const state = (...states) => page.waitForSelector(
  states.map((name) => `#photo[data-state="${name}"]`).join(), { state: "attached" });
const text = (id) => page.textContent(`#photo-${id}`);
const share = async () => Number(/([\d.]+) %/.exec(await text("share"))?.[1] ?? 0);
/** Red, green, blue and alpha of the canvas's first pixel. */
const corner = () => page.$eval("#photo-canvas", (canvas) =>
  [...canvas.getContext("2d").getImageData(0, 0, 1, 1).data]);
const cornerIs = async (wanted) => {
  while (`${await corner()}` !== `${wanted}`) await page.waitForTimeout(20);
};

async function save(kind, name) {
  const download = page.waitForEvent("download");
  await page.click(`#photo-save-${kind}`);
  await (await download).saveAs(`${folder}/${name}`);
}

await page.goto(`file://${page_}`);
for (const [i, photo] of photos.entries()) {
  await page.setInputFiles("#photo-file", photo);
  await state("ready", "failed");
  assert.match(await text("status"), /^Ready/, photo);
  await save("mask", `mask${i}.png`);
}
await page.waitForFunction(() => document.querySelectorAll("#photo-variants figure").length === 3);
const captions = await page.$$eval("#photo-variants figcaption", (all) => all.map((c) => c.textContent));
writeFileSync(`${folder}/captions.json`, JSON.stringify(captions));

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
assert.deepEqual(complaints, []);
await browser.close();
