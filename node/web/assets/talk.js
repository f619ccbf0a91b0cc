// What both pages do: ask the node, say things, help, and note how fresh the page is.
const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";
export const maySay = meta("may-say") === "yes";
export const role = meta("role");

/** Return the answer's JSON; throw an Error whose message is the node's words. */
export async function ask(path, body) {
  const options = { signal: AbortSignal.timeout(8000), headers: { "x-ichnode-page": meta("token") } };
  if (body !== undefined) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const answer = await fetch(path, options);
  if (answer.status === 401) signIn();
  if (!answer.ok) {
    const error = new Error((await answer.text()).slice(0, 300) || `status ${answer.status}`);
    error.status = answer.status;
    throw error;
  }
  return answer.json();
}

/** Leave the page, whose session has ended, so that it shows nothing to who comes next. */
function signIn() {
  location.replace(`/login?next=${encodeURIComponent(location.pathname)}`);
}

let quiet;
/** Say something briefly, to eyes and to screen readers. */
export function say(words) {
  const place = document.getElementById("say");
  place.textContent = words;
  clearTimeout(quiet);
  quiet = setTimeout(() => { place.textContent = ""; }, 6000);
}

/** Return the element that a fragment of the node's own, escaped HTML makes. */
export function element(html) {
  const table = /^\s*<tr/.test(html);
  const fresh = new DOMParser().parseFromString(table ? `<table><tbody>${html}</tbody></table>` : html, "text/html");
  return document.importNode(table ? fresh.querySelector("tr") : fresh.body, true);
}

/** Put the node's HTML in the place of what an element holds. */
export function fill(place, html) {
  place.replaceChildren(...element(html).childNodes);
}

export const typing = (event) => event.target.closest?.("input:not([type=range]), textarea, select, dialog[open]") !== null
  || event.ctrlKey || event.metaKey || event.altKey;

/** Call `act` for a key, unless somebody types. */
export function onKeys(keys) {
  document.addEventListener("keydown", (event) => {
    if (typing(event) || document.querySelector("dialog[open]")) return;
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (act && act(event) !== false) event.preventDefault();
  });
}

const help = document.getElementById("help");
document.getElementById("help-button").addEventListener("click", () => help.showModal());
onKeys({ "?": () => help.showModal() });

// --- how fresh the page is ---------------------------------------------------------------------

const STALE_S = 8; // several beats of the node (2 s) and one slow look
const name = document.title;
let heard = performance.now();
let prefix = "";

/** Note that the page was true `age` seconds ago. */
export function heardOf(age) {
  heard = Math.max(heard, performance.now() - age * 1000);
  showFreshness();
}

export function titled(words) {
  prefix = words;
  showFreshness();
}

function showFreshness() {
  const age = Math.max(0, Math.round((performance.now() - heard) / 1000));
  const late = age >= STALE_S;
  const mark = document.getElementById("fresh");
  const words = late ? `STALE, last updated ${age} s ago` : `updated ${age} s ago`;
  if (mark.querySelector(".words").textContent !== words) mark.querySelector(".words").textContent = words;
  mark.classList.toggle("late", late);
  mark.setAttribute("role", "none"); // it changes each second: the alert below speaks instead
  const stale = document.getElementById("stale");
  if (late && stale.hidden) stale.textContent = "This page is not up to date: the node does not answer. Do not rely on it.";
  stale.hidden = !late;
  document.title = late ? `STALE - ${name}` : `${prefix}${name}`;
}
setInterval(showFreshness, 1000);

/** Call `changed(version)` whenever the list has another version; keep the connection up. */
export function follow(changed) {
  let source;
  let version = -1;
  let opened = 0;
  let ticks = 0;
  const open = () => {
    source?.close();
    opened = performance.now();
    source = new EventSource("/live");
    source.onerror = () => { // it does not say why: a session that ended, among others
      if (source.readyState === EventSource.CLOSED) ask("/healthz").catch(() => {});
    };
    source.onmessage = (message) => {
      const facts = JSON.parse(message.data);
      heardOf(facts.age_s);
      if (facts.version !== version) changed(version = facts.version);
    };
  };
  // A browser gives up after an answer such as 503, and holds few connections for hidden pages.
  setInterval(() => {
    const silent = performance.now() - heard > STALE_S * 1000 && performance.now() - opened > 5000;
    if (document.hidden) { source?.close(); source = undefined; if ((ticks += 1) % 4 === 0) changed(version); }
    else if (!source || source.readyState === EventSource.CLOSED || silent) open();
  }, 3000);
  open();
}
