// Writes the schemas of infra/openapi.yaml to src/api-types.ts, so that the page can only use what the API documents.
// A schema that this script does not support becomes `unknown`, so code that uses one of its fields does not compile.

import { readFile, writeFile } from "node:fs/promises";
import { parse } from "yaml";

const { schemas } = parse(await readFile(new URL("../../../infra/openapi.yaml", import.meta.url), "utf8")).components;

function type(schema) {
  const { $ref, allOf = [], oneOf, anyOf } = schema;
  const parts = [...allOf.map(type), ...[oneOf, anyOf].filter(Boolean).map((all) => union(all.map(type)))];
  if ($ref) parts.push($ref.replace("#/components/schemas/", ""));
  if (schema.enum ?? "const" in schema) parts.push(union((schema.enum ?? [schema.const]).map((value) => JSON.stringify(value))));
  else if (schema.type) parts.push(union([schema.type].flat().map((name) => plain(name, schema))));
  else if (schema.properties) parts.push(object(schema));
  return parts.join(" & ") || "unknown";
}

function plain(name, schema) {
  switch (name) {
    case "integer": return "number";
    case "array": return `(${type(schema.items ?? {})})[]`;
    case "object": return object(schema);
    default: return name;
  }
}

function object({ properties = {}, required = [], additionalProperties }) {
  if (typeof additionalProperties === "object") return `Record<string, ${type(additionalProperties)}>`;
  const fields = Object.entries(properties).map(([name, schema]) => `${JSON.stringify(name)}${required.includes(name) ? "" : "?"}: ${type(schema)};`);
  return `{ ${fields.join(" ")} }`;
}

const union = (types) => (types.length === 1 ? types[0] : `(${types.join(" | ")})`);

const types = Object.entries(schemas).map(([name, schema]) => `export type ${name} = ${type(schema)};\n`);
await writeFile(new URL("src/api-types.ts", import.meta.url), `// Written by types.js.\n\n${types.join("")}`);
