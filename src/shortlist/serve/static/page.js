// The page of one person: history, list, reasons, and buttons whose events change the next list.
// Everything that comes from data goes through textContent.

const $ = (id) => document.getElementById(id);

function made(tag, text, name) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (name) element.className = name;
  return element;
}

let key = sessionStorage.getItem("key") || ""; // of the API, where the server wants one; forgotten with the tab

async function send(path, options = {}) {
  const used = key;
  const headers = { ...options.headers, ...(used && { Authorization: `Bearer ${used}` }) };
  const response = await fetch(path, { ...options, headers });
  if (response.status !== 401) return response;
  if (used === key) {
    const given = window.prompt("This server wants an API key (with pii:read to see people):");
    if (!given) return response;
    sessionStorage.setItem("key", (key = given.trim()));
  }
  return send(path, options);
}

async function ask(path, body) {
  const options = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await send(path, options);
  const answer = await response.json();
  if (!response.ok) throw new Error(`${answer.detail} (${answer.hint})`);
  return answer;
}

const path = (id, rest) => `/v1/users/${encodeURIComponent(id)}${rest}`;
let info = { titles: "title", kinds: [] };
let person = "";
let turn = 0; // answers of an earlier turn are thrown away
let shown = [];

async function history(id) {
  if (!id) return [];
  const response = await send(path(id, "/history?limit=30"));
  return response.ok ? (await response.json()).events : []; // a person whom nobody knows has no history
}

function showHistory(events) {
  const graded = new Set(events.filter((event) => event.value !== 1).map((event) => event.type));
  const rows = events.map((event) => {
    const row = made("li");
    row.append(made("span", event.title || event.item_id));
    const value = graded.has(event.type) ? ` ${Number(event.value.toFixed(2))}` : "";
    row.append(made("span", `${event.type}${value} · ${new Date(event.time).toLocaleDateString()}`, "when"));
    return row;
  });
  $("history").replaceChildren(...(rows.length ? rows : [made("li", "Nothing yet: say what you think of something in the list.", "quiet")]));
}

function button(text, type, item, at) {
  const element = made("button", text);
  element.type = "button";
  element.setAttribute("aria-label", `${text}: ${item.fields?.[info.titles] || item.id}`);
  element.addEventListener("click", async () => {
    await tell(type, item.id);
    if (document.activeElement !== document.body) return;
    const rows = $("list").children; // the button went with its list: the keyboard goes on at the same place
    rows[Math.min(at, rows.length - 1)]?.querySelector("button").focus();
  });
  return element;
}

function personButton(id, text) {
  const element = made("button", text);
  element.type = "button";
  element.value = id;
  element.addEventListener("click", () => choose(id));
  return element;
}

function showList(answer) {
  const before = shown;
  shown = answer.items.map((item) => item.id);
  const rows = answer.items.map((item, at) => {
    const row = made("li", undefined, before.length && before[at] !== item.id ? "moved" : "");
    row.append(made("span", `${item.rank}. ${item.fields?.[info.titles] || item.id}`));
    const why = [...new Set((item.why || []).map((each) => each.text))].slice(0, 2).join(" · ");
    row.append(made("span", why, "why"));
    const buttons = made("span", undefined, "do");
    const likes = info.kinds.includes("like") ? "like" : "click";
    buttons.append(button(`I ${likes} it`, likes, item, at));
    if (info.kinds.includes("hide")) buttons.append(button("Not for me", "hide", item, at));
    row.append(buttons);
    return row;
  });
  $("list").replaceChildren(...rows);
  const changed = shown.filter((id) => !before.includes(id)).length;
  const release = answer.versions.release ? `release ${answer.versions.release}` : "no release yet";
  const news = before.length ? ` · changed: ${changed} of ${shown.length}` : "";
  $("status").textContent = rows.length
    ? `${rows.length} items in ${answer.timing_ms.toFixed(1)} ms · ${release}${news}`
    : "There is nothing to show: the catalogue holds no (further) items.";
  $("lamp").textContent = answer.degradation.level === "none" ? "● as configured" : `● ${answer.degradation.reasons.join("; ")}`;
  $("lamp").className = answer.degradation.level;
  $("stages").replaceChildren(
    ...(answer.trace || []).map((step) => {
      const row = made("tr");
      row.append(...[step.stage, step.error ? `${step.name}: ${step.error}` : step.name, step.rows_in, step.rows_out, step.ms.toFixed(2)].map((each) => made("td", each)));
      return row;
    }),
  );
}

async function show() {
  const mine = ++turn;
  const body = { n: 20, explain: "full", fields: info.columns };
  if (person) body.user_id = person;
  const shell = JSON.stringify(body).replaceAll("'", "'\\''");
  $("curl").textContent = `curl -s ${location.origin}/v1/recommend -H 'Content-Type: application/json' -d '${shell}'`;
  try {
    const [events, answer] = await Promise.all([history(person), ask("/v1/recommend", body)]);
    if (mine !== turn) return;
    showHistory(events);
    showList(answer);
  } catch (error) {
    if (mine === turn) $("status").textContent = `That did not work: ${error.message}`;
  }
}

async function tell(type, item) {
  if (!person) {
    person = `visitor-${crypto.getRandomValues(new Uint32Array(2)).reduce((text, each) => text + each.toString(36), "")}`;
    $("person").value = person;
  }
  try {
    const { results } = await ask("/v1/events", { events: [{ user_id: person, item_id: item, type }] });
    if (results[0].result === "rejected") throw new Error(results[0].message);
    await show();
  } catch (error) {
    $("status").textContent = `That did not work: ${error.message}`;
  }
}

function choose(id) {
  person = id;
  shown = [];
  $("person").value = id;
  for (const each of $("worth").children) each.setAttribute("aria-pressed", each.value === id);
  window.history.replaceState(null, "", id ? `?user=${encodeURIComponent(id)}` : "/");
  return show();
}

async function start() {
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    choose($("person").value);
  });
  try {
    const [about, { users }] = await Promise.all([ask("/v1/info"), ask("/v1/people?limit=8")]);
    info = about;
    info.columns = info.item_columns.includes(info.titles) ? [info.titles] : [];
    $("about").textContent = `${info.items.toLocaleString()} items, ${info.users.toLocaleString()} people; choose one, or be somebody new.`;
    $("people").replaceChildren(...users.map((user) => Object.assign(made("option"), { value: user.id })));
    $("worth").replaceChildren(
      ...users.map((user) => personButton(user.id, `${user.id} · ${user.events} ${user.events === 1 ? "event" : "events"}`)),
      personButton("", "somebody new"),
    );
    await choose(new URLSearchParams(location.search).get("user") ?? users[users.length >> 1]?.id ?? "");
  } catch (error) {
    $("status").textContent = `That did not work: ${error.message}`;
  }
}

start();
