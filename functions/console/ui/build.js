// Bundles src/ into ../dist/: a script and a style sheet, whose names contain a hash of their content, and the page
// that loads them. The result depends only on the sources and package-lock.json.

import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { build } from "esbuild";

const dist = new URL("../dist/", import.meta.url);

await rm(dist, { recursive: true, force: true });
await mkdir(dist);
const { metafile } = await build({
  absWorkingDir: import.meta.dirname,
  entryPoints: ["src/main.tsx", "src/style.css"],
  outdir: "../dist",
  entryNames: "[name]-[hash]",
  bundle: true,
  minify: true,
  format: "esm",
  target: ["chrome123", "firefox125", "safari17.5"],
  jsx: "automatic",
  jsxImportSource: "preact",
  banner: { js: "// Licences of the libraries in this file: /console/licenses.txt" },
  metafile: true,
  logLevel: "warning",
});

// The licences of the bundled libraries must be distributed with the bundle.
const bundled = Object.keys(metafile.inputs).map((path) => /^node_modules\/[^/]+/.exec(path)?.[0]);
let licenses = "";
for (const library of [...new Set(bundled)].filter(Boolean).sort()) {
  const [file] = (await readdir(library)).filter((name) => name.startsWith("LICENSE"));
  licenses += `${basename(library)}\n\n${await readFile(`${library}/${file}`, "utf8")}\n\n`;
}
await writeFile(new URL("licenses.txt", dist), licenses);

let page = await readFile(new URL("src/index.html", import.meta.url), "utf8");
for (const [output, { entryPoint }] of Object.entries(metafile.outputs)) {
  page = page.replace(basename(entryPoint), basename(output));
}
await writeFile(new URL("index.html", dist), page);
