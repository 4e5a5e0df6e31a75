// The local stack, a browser, signed-in users, and mocks of what the stack cannot produce.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import Ajv from "ajv/dist/2020.js";
import axe from "axe-core";
import { chromium } from "playwright-core";
import { parse } from "yaml";

const ROOT = new URL("../../", import.meta.url).pathname;
const SCREENSHOTS = process.env.SCREENSHOTS ?? "target/screenshots";

const WIDE = { width: 1440, height: 900 };
export const NARROW = { width: 360, height: 740 };

/** Starts a browser and the test stack, with the users of `cargo run`. */
export async function startStack() {
  await mkdir(`${ROOT}${SCREENSHOTS}`, { recursive: true });
  const stack = spawn("cargo", ["run", "--quiet", "--locked", "--bin", "test-stack"], { cwd: ROOT, stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface(stack.stdout)[Symbol.asyncIterator]();
  const { url, users } = JSON.parse((await lines.next()).value ?? assert.fail("the test stack does not start"));
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    // Containers lack the namespaces that Chromium's sandbox needs, and their /dev/shm is small.
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });

  /** Calls the API directly, not through the page, and returns the body of the response. */
  const call = async (token, method, path, body) => {
    const headers = { authorization: `Bearer ${token}`, ...(body && { "content-type": "application/json" }) };
    const response = await fetch(url + path, { method, headers, body: body && JSON.stringify(body) });
    const text = await response.text();
    assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`);
    return text ? JSON.parse(text) : undefined;
  };

  /** Calls the API as the administrator of a tenant. */
  const tenant = (id) => {
    const { token } = users.find((user) => user.tenant_id === id && user.role === "admin");
    return {
      call: (...request) => call(token, ...request),
      createKey: (owner, key) => call(token, "POST", `/v1/users/${owner}/access-keys`, key),
    };
  };

  /** Makes the requests of the Lambda function `name` to DynamoDB fail until the returned callback is called. */
  const refuse = async (name) => {
    const send = (line) => stack.stdin.write(`${line}\n`) && lines.next();
    await send(name);
    return () => send("");
  };

  const validate = (key) => call(key, "POST", "/v1/access-keys/validate");
  const onboard = (key, node) => call(key, "POST", "/access-token/api/v1/process", node);

  const stop = async () => {
    await browser.close();
    stack.stdin.end();
    const [code] = stack.exitCode === null ? await once(stack, "exit") : [stack.exitCode];
    assert.equal(code, 0, "the test stack stops cleanly");
  };

  /** Opens a separate browser window. CSP violations, script errors and alerts fail the test. */
  const open = async (t, viewport = WIDE, options = {}) => {
    const context = await browser.newContext({ viewport, reducedMotion: "reduce", ...options });
    await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: url });
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    const requests = [];
    const complaints = [];
    page.on("request", (request) => requests.push(request));
    page.on("pageerror", (error) => complaints.push(`script error: ${error.message}`));
    page.on("console", (entry) => {
      // Error responses are expected, and the page shows them.
      if (entry.type() === "error" && !entry.text().startsWith("Failed to load resource")) complaints.push(entry.text());
    });
    page.on("dialog", (dialog) => {
      if (dialog.type() !== "beforeunload") complaints.push(`${dialog.type()}: ${dialog.message()}`);
      dialog.accept();
    });
    await page.exposeBinding("noteViolation", (_, text) => complaints.push(`CSP: ${text}`));
    await page.addInitScript(() =>
      addEventListener("securitypolicyviolation", (event) => noteViolation(`${event.violatedDirective} ${event.blockedURI}`)),
    );
    t.after(async () => {
      await context.close();
      assert.deepEqual(complaints, []);
    });
    return { page, requests };
  };

  /** Signs in on the issuer's page, which then redirects to the console. */
  const beginSignIn = async (page, user, place = "") => {
    await page.goto(`${url}/console${place}`);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("link", { name: user }).click();
  };

  /** Opens a window in which the user is signed in, at a place in the page such as `#users`. */
  const signIn = async (t, user, { place = "", viewport } = {}) => {
    const opened = await open(t, viewport);
    await beginSignIn(opened.page, user, place);
    await opened.page.getByRole("navigation", { name: "Views" }).waitFor();
    return opened;
  };

  return { url, acme: tenant("acme"), globex: tenant("globex"), refuse, validate, onboard, open, beginSignIn, signIn, stop };
}

/** The OpenAPI document. Its objects allow no undocumented fields, except the schemas named `…Fields`, which other schemas extend. */
const DOCUMENT = parse(await readFile(`${ROOT}infra/openapi.yaml`, "utf8"), (name, value) =>
  value?.type === "object" && !String(name).endsWith("Fields") ? { unevaluatedProperties: false, ...value } : value);

/** Mocks one response that the stack cannot produce. Fails unless infra/openapi.yaml allows the response. */
export async function answerWith(page, operation, status, body) {
  const operations = Object.entries(DOCUMENT.paths).flatMap(([path, item]) => Object.entries(item).map(([method, definition]) => ({ path, method, ...definition })));
  const { path, method, responses } = operations.find(({ operationId }) => operationId === operation);
  const response = responses[status]?.$ref.split("/").pop();
  assert.ok(response, `${operation} never returns ${status}`);
  const [[contentType, { schema }]] = Object.entries(DOCUMENT.components.responses[response].content);
  const ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true });
  const isAllowed = ajv.compile({ components: DOCUMENT.components, allOf: [schema], unevaluatedProperties: false });
  assert.ok(isAllowed(body), `${operation} never returns this ${status} response: ${ajv.errorsText(isAllowed.errors)}`);
  const pattern = new RegExp(`^${path.replace(/\{\w+\}/g, "[^/]+")}$`);
  await page.route(({ pathname }) => pattern.test(pathname), (route) =>
    route.request().method() === method.toUpperCase() ? route.fulfill({ status, contentType, body: JSON.stringify(body) }) : route.fallback(),
    { times: 1 });
}

/** Holds the next request to a URL until the returned callback is called. */
export async function hold(page, url) {
  let release;
  const released = new Promise((resolve) => (release = resolve));
  await page.route(url, (route) => released.then(() => route.fallback()), { times: 1 });
  return release;
}

/** From now on, sends the page's token with a signature that does not verify. */
export const damageToken = (page) => page.route("**/v1/**", (route) => {
  const { authorization, ...headers } = route.request().headers();
  return route.continue({ headers: { ...headers, authorization: `${authorization}x` } });
});

/**
 * Checks that a view passes axe-core's rules and does not scroll sideways, in all colour schemes and at all widths. 320
 * pixels are also the width of a window of 1280 pixels at 400 % zoom.
 */
export async function inspect(page, name) {
  const { width, height } = page.viewportSize();
  for (const viewport of [WIDE, { width: 810, height: 900 }, NARROW, { width: 320, height: 256 }]) {
    for (const media of [{ colorScheme: "light" }, { colorScheme: "dark" }, { forcedColors: "active" }]) {
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme: "light", forcedColors: "none", ...media });
      const view = `${name}, ${JSON.stringify(media)}, ${viewport.width} px`;
      const [page_, dialog] = await page.evaluate(() => [document.documentElement, document.querySelector("dialog") ?? document.body].map((all) => all.scrollWidth - all.clientWidth));
      assert.ok(page_ <= 0 && dialog <= 0, `${view}: scrolls sideways by ${page_} and ${dialog} px`);
      // Axe takes most of the time. Its rules depend on the width only where the layout changes, and colours do not.
      if (viewport !== WIDE && (viewport !== NARROW || media.colorScheme !== "light")) continue;
      await page.evaluate(axe.source);
      const { violations } = await page.evaluate(() => axe.run());
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html + node.failureSummary).join("\n")}`);
      assert.deepEqual(found, [], view);
    }
  }
  await page.setViewportSize({ width, height });
  await page.emulateMedia({ colorScheme: "light", forcedColors: "none" });
}

export const screenshot = (page, name) => page.screenshot({ path: `${ROOT}${SCREENSHOTS}/${name}.png` });
