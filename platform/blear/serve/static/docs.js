"use strict";
// Shows openapi.json as a page.

const main = document.getElementById("operations");

function element(name, content, attributes = {}) {
  const made = document.createElement(name);
  if (content !== null) made.textContent = content;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.type === "array") return `list of ${typeOf(schema.items)}`;
  if (schema.additionalProperties) return `name to ${typeOf(schema.additionalProperties)}`;
  const range = schema.minimum === undefined ? "" : ` from ${schema.minimum} to ${schema.maximum}`;
  return (schema.const ?? schema.enum?.join(" or ") ?? schema.type ?? "any") + range;
}

function table(title, rows) {
  const made = element("table", null);
  made.append(element("caption", title));
  const head = element("tr", null);
  for (const name of ["Name", "Type", "Meaning"]) head.append(element("th", name, { scope: "col" }));
  made.append(head);
  for (const [name, schema, meaning] of rows) {
    const row = element("tr", null);
    const fallback = schema.default === undefined || schema.default === null ? "" : `; default ${schema.default}`;
    row.append(element("th", name, { scope: "row" }), element("td", typeOf(schema) + fallback), element("td", meaning ?? ""));
    made.append(row);
  }
  return made;
}

fetch("openapi.json").then(response => response.json()).then(api => {
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const section = element("section", null);
      section.append(element("h2", `${method.toUpperCase()} ${path}`), element("p", operation.summary));
      if (operation.description) section.append(element("p", operation.description));
      const body = operation.requestBody ? " --data-binary @face.jpg" : "";
      section.append(element("pre", `curl${body} ${location.origin}${path}`));
      if (operation.parameters?.length) section.append(table("Parameters", operation.parameters.map(one => [one.name, one.schema, one.description])));
      section.append(table("Responses", Object.entries(operation.responses).map(([code, response]) => [code, response.content?.["application/json"]?.schema ?? {}, response.description])));
      main.append(section);
    }
  }
  for (const [name, schema] of Object.entries(api.components.schemas)) {
    if (!schema.properties) continue;
    const section = element("section", null);
    section.append(table(name, Object.entries(schema.properties).map(([key, value]) => [key, value, value.description])));
    main.append(section);
  }
  document.body.dataset.ready = "true";
});
