/** A page from the disk in Chromium, without a network; everything that goes wrong is noted. */
import { chromium } from "playwright-core";

const QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--no-first-run"];

/** The page of `file`, and the list of errors in its console and of requests that it made. */
export async function openPage(file) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: QUIET,
  });
  const viewport = { width: 1280, height: 900 };
  const context = await browser.newContext({ viewport, offline: true });
  const problems = [];
  await context.route(/^(?!file:|data:|blob:)/, (route) => {
    problems.push(`request: ${route.request().url()}`);
    return route.abort();
  });
  const page = await context.newPage();
  page.on("pageerror", (error) => problems.push(`error: ${error.message}`));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) problems.push(message.text());
  });
  await page.goto(`file://${file}`);
  return { page, problems, close: () => browser.close() };
}
