// One study: scroll, window, overlay. Every picture comes from the node; the last ones stay here.
import { act } from "./opinions.js";
import { ask, fill, follow, heardOf, onKeys } from "./talk.js";

const main = document.querySelector("main");
const number = main.dataset.case;
const stage = document.getElementById("stage");

// --- the slices ----------------------------------------------------------------------------------

if (stage) {
  const KEPT = 120; // pictures
  const AHEAD = 4; // slices fetched before they are asked for
  const count = Number(stage.dataset.count);
  const shown = { slice: document.getElementById("slice"), mask: document.getElementById("mask") };
  const scroll = document.getElementById("scroll");
  const cursor = document.getElementById("cursor");
  const trouble = document.getElementById("trouble");
  const overlay = document.getElementById("overlay");
  const opacity = document.getElementById("opacity");
  const beside = document.getElementById("beside");
  const pictures = new Map();
  const now = { at: Number(stage.dataset.first), level: 40, width: 80, on: true };
  let asked = "";

  const sliceOf = (at, of = number) => `/cases/${of}/slices/${at}.png?level=${Math.round(now.level)}&width=${Math.round(now.width)}`;
  const maskOf = (at, of = number) => `/cases/${of}/slices/${at}/mask.png`;

  /** Return a picture that is loaded, or will be; the oldest ones are let go. */
  function picture(path) {
    let image = pictures.get(path);
    if (!image) {
      image = new Image();
      image.decoding = "async";
      image.ready = new Promise((resolve) => {
        image.onload = () => resolve(true);
        image.onerror = () => { pictures.delete(path); resolve(false); };
      });
      image.src = path;
    } else pictures.delete(path);
    pictures.set(path, image);
    for (const path of pictures.keys()) { if (pictures.size <= KEPT) break; pictures.delete(path); }
    return image;
  }

  function put(role, image, words) {
    image.id = role;
    image.className = role;
    image.alt = words;
    image.hidden = false;
    if (role === "mask") { image.classList.toggle("off", !now.on); image.style.opacity = opacity.value / 100; }
    if (shown[role] !== image) { shown[role].replaceWith(image); shown[role] = image; }
  }

  async function show() {
    const { at } = now;
    const path = asked = sliceOf(at);
    scroll.value = at;
    cursor?.setAttribute("x", at - 1);
    document.getElementById("place").textContent = `slice ${at} of ${count}${at === Number(stage.dataset.key) ? ", key slice" : ""}`;
    document.getElementById("window").textContent = `W ${Math.round(now.width)} L ${Math.round(now.level)}`;
    for (const one of document.querySelectorAll(".preset")) one.setAttribute("aria-pressed", Number(one.dataset.level) === now.level && Number(one.dataset.width) === now.width);
    const slice = picture(path);
    const mask = picture(maskOf(at));
    const [whole, outlined] = await Promise.all([slice.ready, mask.ready]);
    if (asked !== path) return; // another one was asked for meanwhile
    if (whole) put("slice", slice, `Slice ${at} of ${count}`);
    if (outlined && mask.naturalWidth > 1) put("mask", mask, "What was outlined on this slice");
    else shown.mask.hidden = true; // the node sends one pixel where nothing was outlined
    shown.slice.hidden = !whole;
    trouble.hidden = whole;
    if (!whole) trouble.textContent = await why(path);
    stage.dataset.shown = at;
    if (beside) showBeside();
    for (let step = 1; step <= AHEAD; step += 1) for (const near of [at + step, at - step]) if (near >= 1 && near <= count) { picture(sliceOf(near)); }
  }

  /** Whether two scans lie at heights that can be compared: they share half of the shorter one. */
  function shareHeights(own, its) {
    if (!own.length || !its.length) return false;
    const [from, to] = [own, its].map((heights) => [Math.min(...heights), Math.max(...heights)])
      .reduce((a, b) => [Math.max(a[0], b[0]), Math.min(a[1], b[1])]);
    const shorter = Math.min(...[own, its].map((heights) => Math.max(...heights) - Math.min(...heights)));
    return to - from >= shorter / 2;
  }

  /** Return for each slice the one of the other scan that lies nearest; if heights differ, the one as far along. */
  function neighbours() {
    const [own, its] = [stage, beside].map((one) => JSON.parse(one.dataset.heights));
    const total = Number(beside.dataset.count);
    if (!shareHeights(own, its)) return Array.from({ length: count }, (_, at) => Math.min(total, Math.max(1, Math.round((at + 1) / count * total))));
    return own.map((place) => 1 + its.reduce((best, height, at) => Math.abs(height - place) < Math.abs(its[best] - place) ? at : best, 0));
  }

  const partner = beside && neighbours();

  /** Show the slice of the other scan that belongs to the one shown. */
  async function showBeside() {
    const total = Number(beside.dataset.count);
    const near = partner[now.at - 1];
    const of = beside.dataset.case;
    const [slice, mask] = [picture(sliceOf(near, of)), picture(maskOf(near, of))];
    const from = now.at;
    const [whole, outlined] = await Promise.all([slice.ready, mask.ready]);
    if (now.at !== from) return;
    const [image, over] = beside.querySelectorAll("img");
    image.hidden = !whole;
    if (whole) { image.src = slice.src; image.alt = `Slice ${near} of ${total} of case ${of}`; }
    over.hidden = !(outlined && mask.naturalWidth > 1);
    if (!over.hidden) over.src = mask.src;
    over.classList.toggle("off", !now.on);
    over.style.opacity = opacity.value / 100;
    beside.querySelector(".place").textContent = `case ${of}, slice ${near} of ${total}`;
    beside.dataset.shown = near;
  }

  async function why(path) {
    try { return (await (await fetch(path)).text()).slice(0, 400); } catch { return "The node does not answer."; }
  }

  const go = (at) => { const next = Math.min(count, Math.max(1, at)); if (next !== now.at) { now.at = next; show(); } };
  const masks = () => document.querySelectorAll(".stage .mask");
  const toggle = () => { now.on = !now.on; overlay.setAttribute("aria-pressed", now.on); for (const one of masks()) one.classList.toggle("off", !now.on); };
  const preset = (place) => document.querySelectorAll(".preset")[place]?.click();

  overlay.addEventListener("click", toggle);
  opacity.addEventListener("input", () => { for (const one of masks()) one.style.opacity = opacity.value / 100; });
  scroll.addEventListener("input", () => go(Number(scroll.value)));
  document.getElementById("to-key")?.addEventListener("click", () => go(Number(stage.dataset.key)));
  document.getElementById("strip")?.addEventListener("click", (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    go(1 + Math.floor((event.clientX - box.left) / box.width * count));
  });
  for (const one of document.querySelectorAll(".preset")) one.addEventListener("click", () => {
    now.level = Number(one.dataset.level);
    now.width = Number(one.dataset.width);
    show();
  });
  const wheel = (event) => {
    event.preventDefault();
    if (event.ctrlKey) zoom(event.deltaY < 0 ? 1.25 : 0.8, event); else go(now.at + Math.sign(event.deltaY));
  };
  for (const one of document.querySelectorAll(".stage")) one.addEventListener("wheel", wheel, { passive: false });

  // Zoom: about the pointer, else the middle; both scans alike.
  const FARTHEST = 1;
  const NEAREST = 8;
  const view = { scale: 1, x: 0, y: 0 };

  function zoom(by, event) {
    const box = stage.getBoundingClientRect();
    const [x, y] = event ? [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2] : [0, 0];
    const scale = Math.min(NEAREST, Math.max(FARTHEST, view.scale * by));
    move(x - (x - view.x) * scale / view.scale, y - (y - view.y) * scale / view.scale, scale);
  }

  /** Put the picture there, so that it keeps covering the middle. */
  function move(x, y, scale) {
    const box = stage.getBoundingClientRect();
    const within = (to, size) => Math.min(size * (scale - 1) / 2, Math.max(-size * (scale - 1) / 2, to));
    Object.assign(view, { scale, x: within(x, box.width), y: within(y, box.height) });
    stage.parentElement.style.setProperty("--zoom", `translate(${view.x}px, ${view.y}px) scale(${scale})`);
    stage.dataset.zoom = scale.toFixed(2);
  }

  document.getElementById("nearer").addEventListener("click", () => zoom(1.25));
  document.getElementById("farther").addEventListener("click", () => zoom(0.8));
  document.getElementById("whole").addEventListener("click", () => move(0, 0, 1));
  stage.addEventListener("dblclick", () => move(0, 0, 1));

  // Drag: to the right widens the window, upwards darkens. One picture is asked for at a time.
  let drag = null;
  let drawing = false;
  stage.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch") return;
    drag = { x: event.clientX, y: event.clientY, level: now.level, width: now.width, from: event.shiftKey && { ...view } };
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", async (event) => {
    if (!drag) return;
    if (drag.from) { move(drag.from.x + event.clientX - drag.x, drag.from.y + event.clientY - drag.y, view.scale); return; }
    const pace = Math.max(0.25, drag.width / 400);
    now.width = Math.min(8000, Math.max(1, Math.round(drag.width + (event.clientX - drag.x) * pace)));
    now.level = Math.min(4000, Math.max(-1000, Math.round(drag.level + (drag.y - event.clientY) * pace)));
    if (drawing) return;
    drawing = true;
    await show();
    drawing = false;
  });
  for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, () => { if (drag) { drag = null; show(); } });

  onKeys({
    j: () => go(now.at + 1), k: () => go(now.at - 1), ArrowDown: () => go(now.at + 1), ArrowUp: () => go(now.at - 1),
    h: () => go(Number(stage.dataset.key ?? stage.dataset.first)), o: toggle,
    "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), 0: () => move(0, 0, 1),
    1: () => preset(0), 2: () => preset(1), 3: () => preset(2), 4: () => preset(3),
  });
  show().then(async () => {
    const sides = await ask(`/cases/${number}/sides`).catch(() => ({}));
    for (const [edge, letter] of Object.entries(sides)) stage.querySelector(`.side.${edge}`).textContent = letter;
  });
}

// --- how the study stands ------------------------------------------------------------------------

async function renew() {
  try {
    const facts = await ask(`/studies/${number}/standing`);
    fill(document.getElementById("standing"), facts.standing);
    document.getElementById("standing").className = `standing ${facts.classes}`;
    fill(document.getElementById("said"), facts.said);
    main.dataset.shown = facts.shown;
    const newer = document.getElementById("newer");
    newer.hidden = facts.as_of === main.dataset.asOf || !main.dataset.asOf;
    newer.textContent = "The result changed since this page was opened. Load it again to see all of it.";
    main.dataset.asOf ||= facts.as_of;
    heardOf(0);
  } catch { /* the mark says how old the page is */ }
}

async function opine(kind) {
  await act(kind, { case: number, shown: main.dataset.shown });
  await renew();
}

for (const button of document.querySelectorAll("button[data-act]")) button.addEventListener("click", () => opine(button.dataset.act));
onKeys({
  a: () => opine("acknowledge"), y: () => opine("agree"), n: () => opine("disagree"), u: () => opine("undo"),
  Escape: () => location.assign("/"),
});
follow(renew);
