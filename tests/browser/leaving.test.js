// A new key is not lost when the user leaves, and nothing keeps or sends a key.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { EDITOR, PREVIOUS, inAcme } from "./acme.js";
import { hold, startStack } from "./harness.js";
import { KEY, NOT_COPIED, button, closed, copyKey, dialog, fragment, hasFocus, isGone, isInView, kept, openForm, requestText, toast, view } from "./page.js";

const stack = await startStack();
after(() => stack.stop());
const { WAYS, addKey, betweenPlaces, newKey, record, signIn } = inAcme(stack);

/** The ways to leave the place, except by reloading. Each ends elsewhere if nothing stops it. */
const EXITS = {
  Back: (page) => page.goBack(),
  Forward: (page) => page.goForward(),
  "a typed fragment": (page) => page.goto(`${stack.url}/console#activity`),
  "a link": (page) => page.getByRole("link", { name: "Activity" }).evaluate((link) => link.click()),
};

for (const way of ["Generate", "Rotate"]) {
  for (const [exit, leave] of Object.entries(EXITS)) {
    test(`after ${way}, ${exit} does not lose a key that is not copied`, async (t) => {
      const { page } = await betweenPlaces(t);
      await newKey(page, way, `${way}-then-${exit}`);
      await leave(page);
      await dialog(page).getByText(NOT_COPIED).waitFor();
      await hasFocus(page, "Back to the key");
      assert.equal(fragment(page), "#keys");
      await button(page, "Back to the key").click();
      assert.equal((await stack.validate(await copyKey(page))).active, true);
    });

    test(`during ${way}, ${exit} does not hide the key that comes`, async (t) => {
      const { page } = await betweenPlaces(t);
      await WAYS[way].open(page, `${exit}-during-${way}`);
      const release = await hold(page, WAYS[way].url);
      await button(page, way).click();
      await button(page, /^(Generating|Rotating)…$/).waitFor();
      await leave(page);
      await toast(page, "Wait for the response.");
      assert.equal(fragment(page), "#keys");
      release();
      assert.equal((await stack.validate(await copyKey(page))).active, true);
    });
  }

  test(`after ${way}, a second Back does not lose the key either`, async (t) => {
    const { page } = await betweenPlaces(t);
    await newKey(page, way, `twice-${way}`);
    await page.goBack();
    await dialog(page).getByText(NOT_COPIED).waitFor();
    await page.goBack();
    await page.waitForFunction(() => location.hash === "#keys");
    await button(page, "Back to the key").click();
    await page.goBack();
    await button(page, "Back to the key").click();
    assert.equal((await stack.validate(await copyKey(page))).active, true);
  });

  test(`a key that ${way} has just shown is protected from its first moment`, async (t) => {
    const { page } = await betweenPlaces(t);
    await WAYS[way].open(page, `first-moment-${way}`);
    await page.evaluate(() => {
      const isShown = () => [...document.querySelectorAll("dialog button")].some(({ textContent }) => textContent === "Copy");
      const observer = new MutationObserver(() => {
        if (!isShown()) return;
        observer.disconnect();
        location.hash = "#activity";
      });
      observer.observe(document.body, { childList: true, subtree: true });
    });
    await button(page, way).click();
    await dialog(page).getByText(NOT_COPIED).waitFor();
    await button(page, "Back to the key").click();
    assert.equal((await stack.validate(await copyKey(page))).active, true);
  });

  test(`after ${way}, Back works once the key is copied, and leaves nothing of the key`, async (t) => {
    const { page } = await betweenPlaces(t);
    await newKey(page, way, `copied-${way}`);
    const key = await copyKey(page);
    await page.goBack();
    await view(page, PREVIOUS).waitFor();
    await closed(page);
    assert.equal(fragment(page), "#users");
    assert.ok(!(await kept(page)).includes(key));
    await page.goForward();
    await view(page, "Access Keys").waitFor();
    assert.equal(await dialog(page).count(), 0);
    assert.ok(!(await kept(page)).includes(key));
  });

  test(`after ${way}, leaving the page for another one asks first`, async (t) => {
    const { page } = await signIn(t);
    await newKey(page, way, `asks-${way}`);
    const question = page.waitForEvent("dialog");
    await page.evaluate(() => location.assign("/console/licenses.txt"));
    assert.equal((await question).type(), "beforeunload");
    // Closing a window that is still leaving its page can hang forever in Chromium.
    await page.waitForURL("**/licenses.txt");
  });
}

for (const viewport of [{ width: 360, height: 640 }, { width: 320, height: 256 }]) {
  const size = `${viewport.width} × ${viewport.height} pixels`;
  for (const [how, close] of [["Close", (page) => button(page, "Close").click()], ["the X", (page) => button(page, "Close dialog").click()], ["Escape", (page) => page.keyboard.press("Escape")]]) {
    test(`at ${size}, the warning after ${how} is in view and has the focus`, async (t) => {
      const { page } = await signIn(t, { place: "#users", viewport });
      await openForm(page, EDITOR, "small-window");
      await button(page, "Generate").click();
      await button(page, "Copy").waitFor();
      await close(page);
      await hasFocus(page, "Back to the key");
      for (const part of [dialog(page).getByText(NOT_COPIED), button(page, "Back to the key"), button(page, "Close without the key")]) {
        assert.equal(await isInView(part), true, await part.textContent());
      }
    });
  }
}

test("after Back to the key, the keyboard still works in the dialog", async (t) => {
  const { page } = await signIn(t);
  await newKey(page, "Generate", "keyboard");
  for (let times = 0; times < 2; times++) {
    await page.keyboard.press("Escape");
    await hasFocus(page, "Back to the key");
    await page.keyboard.press("Enter");
    await hasFocus(page, "Copy");
  }
});

for (const way of ["Generate", "Rotate"]) {
  test(`after Close, nothing keeps or sends the key of ${way}`, async (t) => {
    const { page, requests } = await signIn(t);
    await newKey(page, way, `gone-${way}`);
    assert.doesNotMatch(await kept(page), KEY, "the key is masked at first");
    await button(page, "Show the key").click();
    const key = await copyKey(page);
    assert.equal(await dialog(page).getByLabel("Access Key", { exact: true }).inputValue(), key);
    const from = requests.length;
    await button(page, "Close").click();
    await closed(page);
    await isGone(page, requests, from, key);
  });

  test(`after "Close without the key", nothing keeps or sends the key of ${way}`, async (t) => {
    const { page, requests } = await signIn(t);
    await newKey(page, way, `given-up-${way}`);
    await button(page, "Show the key").click();
    const key = await dialog(page).getByLabel("Access Key", { exact: true }).inputValue();
    assert.match(key, KEY);
    const from = requests.length;
    await button(page, "Close").click();
    await button(page, "Close without the key").click();
    await closed(page);
    await isGone(page, requests, from, key);
  });
}

test("a found key is sent only to be validated and to be revoked, and is gone after Close", async (t) => {
  const { access_key, id } = await addKey("editor", "found");
  const { page, requests } = await signIn(t);
  await button(page, "Found a key?").click();
  await dialog(page).getByLabel("Access key").fill(access_key);
  await button(page, "Check").click();
  await dialog(page).getByText(id, { exact: true }).waitFor();
  await button(page, "Revoke it").click();
  await toast(page, "The key is revoked");
  assert.equal((await record("editor", id)).status, "revoked");
  const texts = await Promise.all(requests.map(async (request) => [new URL(request.url()).pathname, await requestText(request)]));
  const carriers = texts.filter(([, text]) => text.includes(access_key));
  assert.deepEqual(carriers.map(([path]) => path), ["/v1/access-keys/validate", "/v1/access-keys/revoke"]);
  assert.ok(carriers.every(([, text]) => !text.split("\n")[0].includes(access_key)), "not in a URL");
  assert.ok(carriers.every(([, text]) => !/"authorization"/.test(text)), "without the user's token");
  const from = requests.length;
  await dialog(page).locator("footer").getByRole("button", { name: "Close" }).click();
  await closed(page);
  await isGone(page, requests, from, access_key);
});

test("the link from a found key to its record carries nothing of the key", async (t) => {
  const { access_key, id } = await addKey("editor", "found-link");
  const { page, requests } = await signIn(t);
  await button(page, "Found a key?").click();
  await dialog(page).getByLabel("Access key").fill(access_key);
  await button(page, "Check").click();
  const from = requests.length;
  await page.getByRole("link", { name: "Show details of this key" }).click();
  await view(page, "found-link").waitFor();
  assert.equal(fragment(page), `#keys/editor/${id}`);
  await isGone(page, requests, from, access_key);
});
