// The worklist: follows the node, and never moves what a reader points at or has in focus.
import { act } from "./opinions.js";
import { ask, element, fill, follow, heardOf, onKeys, say, titled } from "./talk.js";

const RENEW_MS = 30_000; // the order changes with time alone, too
const IDLE_MS = 60_000; // a pointer that lies still for so long points at nothing
const main = document.querySelector("main");
const body = document.querySelector("tbody");
const fresh = document.getElementById("new");
const form = { text: document.getElementById("text"), within: document.getElementById("within"), kind: document.getElementById("kind") };
const view = { priors: false, page: 0 };
let plain = false; // pictures without what was outlined
let waiting = null; // the newest order that is not shown yet
let moved = 0;
let asking = false;
let again = false;
let first = true;
let newest = performance.now();

const rowOf = (number) => document.getElementById(`study-${number}`);
const rows = () => [...body.children];

async function renew() {
  if (asking) { again = true; return; }
  asking = true;
  const known = Object.fromEntries(rows().map((row) => [row.dataset.number, row.dataset.tag]));
  const kinds = form.kind.value ? [form.kind.value] : [];
  try {
    const asked = { within: form.within.value, kinds, text: form.text.value, ...view, known };
    take(await ask("/list", asked), asked);
    newest = performance.now();
    heardOf(0);
  } catch { /* the mark says how old the page is */ }
  asking = false;
  if (again) { again = false; renew(); }
}

function take(answer, asked) {
  const made = Object.fromEntries(Object.entries(answer.rows).map(([number, html]) => [number, element(html)]));
  const came = answer.order.filter((number) => !rowOf(number));
  const turned = Object.keys(made).filter((number) => turnsLoud(rowOf(number), made[number]));
  for (const [number, row] of Object.entries(made)) if (rowOf(number)) replace(rowOf(number), row);
  waiting = { order: answer.order, made: { ...waiting?.made, ...made } };
  bare();
  fill(document.getElementById("summary"), answer.summary);
  if (take.watch !== answer.watch) fill(document.getElementById("watch"), answer.watch);
  take.watch = answer.watch;
  titled(answer.loud ? `(${answer.loud}) ` : "");
  ages();
  const otherView = JSON.stringify({ ...asked, known: 0 }) !== take.view;
  take.view = JSON.stringify({ ...asked, known: 0 });
  if (!first && !otherView) announce(...[came, turned].map((some) => some.map((number) => answer.new[number])));
  if (otherView && !first || !held()) apply(!first && !otherView); else offer();
  first = false;
}

/** Whether a row that is shown must be looked at from now on. */
const turnsLoud = (old, row) => old && !old.classList.contains("loud") && row.classList.contains("loud");

function announce(came, turned) {
  const loud = came.filter((words) => !/^(pending|not suspected)$/.test(words));
  const said = [loud.length && `New: ${loud.join("; ")}`, turned.length && `Now: ${turned.join("; ")}`].filter(Boolean);
  if (said.length) say(said.join(". "));
  else if (came.length) say(`${came.length} new ${came.length > 1 ? "studies" : "study"}`);
}

/** Put a newer row in the place of an older one; what was in focus stays in focus. */
function replace(old, row) {
  const inside = old.contains(document.activeElement);
  old.replaceWith(row);
  if (inside) row.querySelector(".open").focus({ preventScroll: true });
}

/** Whether a reader points at a row or has one in focus, and is there. */
function held() {
  const busy = performance.now() - moved < IDLE_MS;
  return busy && (body.matches(":hover") || body.contains(document.activeElement));
}

const differs = () => waiting && (waiting.order.length !== body.children.length
  || waiting.order.some((number, place) => body.children[place].dataset.number !== String(number)));

function offer() {
  if (!differs()) { fresh.hidden = true; return; }
  const came = waiting.order.filter((number) => !rowOf(number)).map((number) => waiting.made[number]);
  const loud = came.filter((row) => row?.classList.contains("loud")).length;
  fresh.textContent = came.length ? `${came.length} new${loud ? `, ${loud} to look at` : ""}: show (.)` : "The order changed: show (.)";
  fresh.classList.toggle("loud", loud > 0);
  fresh.hidden = false;
}

/** Show the newest order. */
function apply(marks) {
  fresh.hidden = true;
  if (!differs()) return;
  const focused = document.activeElement.closest?.("tbody tr")?.dataset.number;
  const next = waiting.order.map((number) => {
    const row = rowOf(number) ?? waiting.made[number];
    if (row && marks && !row.isConnected) row.classList.add("fresh-row");
    return row;
  });
  if (next.includes(undefined)) { renew(); return; } // another page asked in between
  body.replaceChildren(...next);
  bare();
  document.getElementById("empty").hidden = next.length > 0;
  waiting.made = {};
  if (focused) rowOf(focused)?.querySelector(".open").focus({ preventScroll: true });
}

function ages() {
  for (const place of document.querySelectorAll("time[data-since]")) {
    const s = Math.max(0, Math.floor((Date.now() - Date.parse(place.dataset.since)) / 1000));
    const said = s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min`
      : s < 86400 ? `${Math.floor(s / 3600)} h ${String(Math.floor(s % 3600 / 60)).padStart(2, "0")} min` : `${Math.floor(s / 86400)} d`;
    if (place.textContent !== said) place.textContent = said;
  }
}

function step(by) {
  const all = rows();
  const now = all.indexOf(document.activeElement.closest?.("tbody tr"));
  const row = all[now < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, now + by))];
  moved = performance.now();
  row?.querySelector(".open").focus();
  row?.scrollIntoView({ block: "nearest" });
}

async function opine(kind, row) {
  if (!row) { say("Choose a study first: J and K."); return; }
  moved = performance.now();
  const { case: number, shown } = row.dataset;
  const back = row.dataset.number;
  await act(kind, { case: number, shown });
  await renew();
  if (kind === "disagree") rowOf(back)?.querySelector(".open").focus({ preventScroll: true });
}

/** Show the pictures with or without what was outlined. */
function outlines() {
  plain = !plain;
  bare();
  say(plain ? "Outlines are off" : "Outlines are on");
}

function bare() {
  for (const image of body.querySelectorAll(".picture img")) {
    const path = image.getAttribute("src").split("?")[0] + (plain ? "?plain" : "");
    if (image.getAttribute("src") !== path) image.src = path;
  }
}

const chosen = () => document.activeElement.closest?.("tbody tr") ?? body.querySelector("tr:hover");
onKeys({
  j: () => step(1), k: () => step(-1), ".": () => apply(true),
  "/": () => form.text.focus(), o: outlines,
  a: () => opine("acknowledge", chosen()), y: () => opine("agree", chosen()),
  n: () => opine("disagree", chosen()), u: () => opine("undo", chosen()),
});

body.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-act]");
  if (button) opine(button.dataset.act, button.closest("tr"));
});
for (const kind of ["pointermove", "pointerdown", "keydown"]) body.addEventListener(kind, () => { moved = performance.now(); });
const leave = () => setTimeout(() => { if (!held()) apply(true); });
body.addEventListener("pointerleave", leave);
body.addEventListener("focusout", leave);
fresh.addEventListener("click", () => apply(true));

document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());
let typed;
form.text.addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(() => { view.page = 0; renew(); }, 200); });
for (const choice of [form.within, form.kind]) choice.addEventListener("change", () => { view.page = 0; renew(); });
document.getElementById("summary").addEventListener("click", (event) => {
  const id = event.target.closest("button")?.id;
  if (id === "priors") view.priors = !view.priors;
  if (id === "previous") view.page -= 1;
  if (id === "next") view.page += 1;
  if (id) renew();
});

titled(Number(main.dataset.loud) ? `(${main.dataset.loud}) ` : "");
setInterval(() => {
  ages();
  if (waiting && !held()) apply(true);
  if (performance.now() - newest > RENEW_MS) renew();
}, 5000);
follow(renew);
