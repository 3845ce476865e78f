/** `node tests/page.mjs FILE [FOLDER]`: look at the page FILE; pictures of it go to FOLDER. */
import assert from "node:assert/strict";
import { openPage } from "./browser.mjs";

const [file, folder] = process.argv.slice(2);
const { page, problems, close } = await openPage(file);
const record = await page.evaluate(() => JSON.parse(document.getElementById("data").textContent));

// Every section that there is something to show for, with a heading and a line in the contents.
const sections = {
  photo: record.models.length, params: record.revisions, experiments: true, curves: true,
  effects: record.effects, cost: record.costs, pictures: record.pictures?.length,
  suspects: record.suspects,
};
const expected = Object.keys(sections).filter((id) => sections[id]);
const found = await page.$$eval("main > section", (all) => all.map(({ id }) => id));
assert.deepEqual(found, expected);
for (const id of expected) {
  assert.ok(await page.locator(`#${id} h2`).innerText());
  assert.equal(await page.locator(`nav a[href="#${id}"]`).count(), 1, id);
}

// A click on a heading sorts, a second one the other way round; text stays text.
const table = page.locator("#experiments table").first();
for (const column of [1, 0]) {
  const heading = table.locator("thead th").nth(column);
  const cells = table.locator(`tbody tr > :nth-child(${column + 1})`);
  const shown = async () => (await cells.allInnerTexts()).map((text) => text.trim());
  await heading.locator("button").click();
  const order = await heading.getAttribute("aria-sort");
  assert.equal(order, column ? "descending" : "ascending");
  const first = await shown();
  const values = first.map((text) => (column ? Number.parseFloat(text) : text));
  assert.deepEqual(values, values.toSorted((a, b) => (column ? b - a : a < b ? -1 : 1)));
  await heading.locator("button").press("Enter");
  assert.notEqual(await heading.getAttribute("aria-sort"), order);
  assert.deepEqual((await shown()).toSorted(), first.toSorted());
}
assert.equal(await page.evaluate(() => window.harmed), undefined);

// Variants go off and on; the keyboard moves through the epochs, and so does the pointer.
const chart = page.locator("#curves figure").first();
const lines = chart.locator("polyline");
assert.equal(await lines.count(), record.curves.length);
const toggle = page.locator("#curves .toggles button").first();
const name = (await toggle.innerText()).trim();
const ofName = record.curves.filter(({ key }) => key === name);
await toggle.press("Space");
assert.equal(await toggle.getAttribute("aria-pressed"), "false");
assert.equal(await lines.count(), record.curves.length - ofName.length);
await toggle.click();
assert.equal(await lines.count(), record.curves.length);
const read = async () => {
  const items = await chart.locator(".readout li").allInnerTexts();
  return items.map((text) => text.replace(/\s+/g, " ").trim());
};
const epochs = ofName[0].epoch;
const lineName = record.revisions ? `${name}, ${ofName[0].revision}` : name;
const line = (i) => `${lineName} ${ofName[0].val_iou[i].toFixed(4)}`;
await chart.locator("svg[role=slider]").focus();
await page.keyboard.press("ArrowLeft");
const before = epochs.length - 2;
assert.equal((await read())[0], `epoch ${epochs[before]}`);
assert.ok((await read()).includes(line(before)), `${line(before)} in ${await read()}`);
await chart.locator("svg[role=slider]").hover({ position: { x: 55, y: 100 } });
assert.ok((await read()).includes(line(0)));

if (record.effects) {
  const panels = record.effects.flatMap((group) => group.panels);
  assert.equal(await page.locator("#effects figure").count(), panels.length);
  const rows = panels.flatMap((panel) => panel.rows);
  for (const [side, is] of [["above", (r) => r.low > 0], ["below", (r) => r.high < 0]]) {
    assert.equal(await page.locator(`#effects g.${side}`).count(), rows.filter(is).length);
  }
  await page.locator("#cost select").first().selectOption("accuracy");
  const points = record.costs.reduce((sum, { points: all }) => sum + all.length, 0);
  assert.equal(await page.locator("#cost circle").count(), points);
}
if (record.pictures?.length) {
  const picture = page.locator("#pictures button.picture").first();
  await picture.press("Enter");
  assert.equal(await page.locator("dialog[open]").count(), 1);
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("dialog[open]").count(), 0);
  const loaded = await page.$$eval("#pictures dialog img", (all) =>
    Promise.all(all.map((image) => image.decode())));
  assert.equal(loaded.length, record.pictures.flatMap(({ urls }) => urls.filter(Boolean)).length);
}

// Whatever can be pressed or looked at has a name.
const nameless = await page.$$eval("button, select, input, svg, canvas", (all) => all
  .filter((one) => !one.closest("[aria-hidden=true], [hidden]") && !one.textContent.trim()
    && !one.ariaLabel && !one.labels?.length && !one.querySelector("img[alt]:not([alt=''])"))
  .map((one) => one.outerHTML.slice(0, 80)));
assert.deepEqual(nameless, []);

// Text stands out from its ground by 4.5 to 1, and a phone needs no sideways scroll.
for (const colorScheme of ["light", "dark"]) {
  await page.emulateMedia({ colorScheme });
  assert.deepEqual(await page.evaluate(faint), [], colorScheme);
  for (const width of [1280, 390]) {
    await page.setViewportSize({ width, height: 900 });
    await page.waitForTimeout(300); // charts are drawn anew
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
    const path = `${folder}/${width}-${colorScheme}.png`;
    if (folder) await page.screenshot({ path, fullPage: true });
  }
}
assert.deepEqual(problems, []);
await close();

/** The palette's colours of text whose contrast to a ground is below 4.5; runs in the page. */
function faint() {
  const luminance = (name) => {
    document.body.style.caretColor = `var(--${name})`;
    const [red, green, blue] = getComputedStyle(document.body).caretColor.match(/\d+/g)
      .map((value) => ((value / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  return ["ground", "panel"].flatMap((ground) => ["text", "quiet", "accent"].filter((text) => {
    const [low, high] = [luminance(ground), luminance(text)].toSorted((a, b) => a - b);
    return (high + 0.05) / (low + 0.05) < 4.5;
  }));
}
