// What the administrator of the tenant acme does in a test, through the API or in the page.

import { button, choose, dialog, keyRow, view, visit } from "./page.js";

export const EDITOR = "editor@acme.example";
export const PREVIOUS = "User Management";

export function inAcme(stack) {
  /** Adds a user whose id is the first part of the e-mail address. */
  async function addUser(email, role = "viewer", name = email.split("@")[0]) {
    const [id] = email.split("@");
    await stack.acme.call("PUT", `/v1/users/${id}`, { role, name, email });
    return id;
  }

  const addKey = (owner, name, more = {}) => stack.acme.createKey(owner, { name, role: "viewer", ...more });
  const record = (owner, id) => stack.acme.call("GET", `/v1/users/${owner}/access-keys/${id}`);
  const signIn = (t, options) => stack.signIn(t, "admin@acme.example", options);

  /** Signs in, and goes to Access Keys in such a way that Back leads to User Management and Forward to Clusters. */
  async function betweenPlaces(t) {
    const opened = await signIn(t, { place: "#users" });
    await view(opened.page, PREVIOUS).waitFor();
    await visit(opened.page, "Access Keys");
    await visit(opened.page, "Clusters");
    await opened.page.goBack();
    await view(opened.page, "Access Keys").waitFor();
    return opened;
  }

  /** The two ways to get a new key, named like the button that sends the form. `open` opens the form in Access Keys. */
  const WAYS = {
    Generate: {
      url: "**/v1/users/admin/access-keys",
      async open(page, name) {
        await button(page, "Create key").click();
        await dialog(page).getByLabel("Name").fill(name);
      },
    },
    Rotate: {
      url: "**/rotate",
      async open(page, name) {
        await addKey("admin", name);
        await visit(page, "Clusters");
        await page.goBack();
        await choose(page, keyRow(page, name), "Rotate");
      },
    },
  };

  async function newKey(page, way, name) {
    await WAYS[way].open(page, name);
    await button(page, way).click();
    await button(page, "Copy").waitFor();
  }

  return { addUser, addKey, record, signIn, betweenPlaces, WAYS, newKey };
}
