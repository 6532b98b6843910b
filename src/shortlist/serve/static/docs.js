// Draws /openapi.json as a page.

const made = (tag, text) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  return element;
};

const row = (...cells) => {
  const element = made("tr");
  element.append(...cells.map((each) => (each instanceof Node ? each : made("td", each))));
  return element;
};

function link(name) {
  const cell = made("td");
  const anchor = made("a", name);
  anchor.href = `#${name}`;
  cell.append(anchor);
  return cell;
}

const nameOf = (schema) => schema.$ref?.split("/").pop();

function typeOf(schema) {
  if (schema.$ref) return nameOf(schema);
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" | ");
  if (schema.enum) return schema.enum.map((each) => JSON.stringify(each)).join(" | ");
  if (schema.type === "array") return `list of ${typeOf(schema.items || {})}`;
  return schema.format || schema.type || "anything";
}

function operation(path, method, what) {
  const part = made("section");
  part.append(made("h2", `${method.toUpperCase()} ${path}`), made("p", what.summary));
  const body = what.requestBody?.content["application/json"];
  const table = made("table");
  for (const each of what.parameters || []) table.append(row(each.name, `${each.in}, ${typeOf(each.schema)}`, each.description || each.schema.description || ""));
  if (body) table.append(row("body", link(nameOf(body.schema)), ""));
  for (const [status, answer] of Object.entries(what.responses)) {
    const [type, { schema = {} }] = Object.entries(answer.content || {})[0] || ["nothing", {}];
    table.append(row(status, schema.$ref ? link(nameOf(schema)) : type, status === "default" ? "see Errors" : ""));
  }
  part.append(table);
  if (body?.example) {
    const shell = JSON.stringify(body.example).replaceAll("'", "'\\''");
    const flag = method === "post" ? "" : ` -X ${method.toUpperCase()}`;
    part.append(made("pre", `curl -s${flag} ${location.origin}${path.replace("{id}", "42")} -H 'Content-Type: application/json' -d '${shell}'`));
  }
  return part;
}

function shape(name, schema) {
  const part = made("section");
  const title = made("h3", name);
  title.id = name;
  const table = made("table");
  for (const [field, each] of Object.entries(schema.properties || {})) {
    const needed = (schema.required || []).includes(field) ? "" : "may be left out. ";
    table.append(row(field, typeOf(each), needed + (each.description || "")));
  }
  part.append(title, made("p", schema.description || ""), table);
  return part;
}

async function load() {
  const key = sessionStorage.getItem("key"); // that of the page of people, too; forgotten with the tab
  const answer = await fetch("/openapi.json", { headers: key ? { Authorization: `Bearer ${key}` } : {} });
  const given = answer.status === 401 && window.prompt("This server wants an API key (read) to show its contract:");
  if (!given) return answer.json();
  sessionStorage.setItem("key", given.trim());
  return load();
}

const contract = await load();
if (contract.detail) {
  document.getElementById("operations").append(made("p", `${contract.detail} (${contract.hint})`));
  throw new Error(contract.detail);
}
for (const [path, methods] of Object.entries(contract.paths))
  for (const [method, what] of Object.entries(methods)) document.getElementById("operations").append(operation(path, method, what));
for (const [name, code] of Object.entries(contract["x-codes"])) {
  const line = row(name, code.status, code.title, code.retryable ? "yes" : "no", code.hint);
  line.id = name;
  document.getElementById("codes").append(line);
}
for (const [name, schema] of Object.entries(contract.components.schemas)) document.getElementById("shapes").append(shape(name, schema));
if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
