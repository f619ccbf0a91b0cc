// One person decides study after study. Every picture comes from the command; the last ones stay here.
import { ask, heardOf, onKeys, say } from "./talk.js";

const at = (id) => document.getElementById(id);
const BEAT_MS = 3000; // how often the page hears how far the person is
const KEPT = 200; // pictures
const AHEAD = 5; // slices fetched before they are asked for

const form = at("who");
if (form) {
  setInterval(() => heardOf(0), BEAT_MS); // nothing here gets old
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try { await ask("/who", { name: form.elements.name.value }); location.reload(); } catch (error) { at("refused").textContent = error.message; }
  });
} else begin();

function begin() {
  const blind = document.querySelector("main").dataset.blind === "yes";
  const pictures = new Map();
  const now = { place: 0, of: 0, slices: 0, z: 0, window: "brain", outlined: true, answer: null };
  let wanted = "";

  // --- the slices --------------------------------------------------------------------------------

  const path = (z, last) => `/asked/${now.place}/slices/${z}${last}`;
  const sliceOf = (z) => path(z, `.png?window=${now.window}`);

  /** Return a picture that is loaded, or will be; the oldest ones are let go. */
  function picture(from) {
    let image = pictures.get(from);
    if (image) pictures.delete(from);
    else {
      image = new Image();
      image.ready = new Promise((resolve) => { image.onload = () => resolve(true); image.onerror = () => { resolve(false); }; });
      image.src = from;
    }
    pictures.set(from, image);
    for (const old of pictures.keys()) { if (pictures.size <= KEPT) break; pictures.delete(old); }
    return image;
  }

  function put(role, image, words) {
    image.id = role;
    image.className = role;
    image.alt = words;
    image.hidden = false;
    at(role).replaceWith(image);
  }

  async function show() {
    const { z } = now;
    const from = wanted = sliceOf(z);
    at("scroll").value = z + 1;
    at("place").textContent = `slice ${z + 1} of ${now.slices}, from the lowest${now.sided ? "" : "; left and right are not known"}`;
    at("window").textContent = now.window;
    for (const one of document.querySelectorAll(".preset")) one.setAttribute("aria-pressed", one.dataset.window === now.window);
    const slice = picture(from);
    const mask = blind ? null : picture(path(z, "/mask.png"));
    const [whole, outlined] = await Promise.all([slice.ready, mask?.ready]);
    if (wanted !== from) return; // another one was asked for meanwhile
    at("trouble").hidden = whole;
    if (whole) put("slice", slice, `Slice ${z + 1} of ${now.slices}`);
    else { at("slice").hidden = true; at("trouble").textContent = "This slice cannot be shown."; }
    if (outlined && mask.naturalWidth > 1) { put("mask", mask, "What the node outlined"); at("mask").classList.toggle("off", !now.outlined); } else at("mask").hidden = true;
    at("stage").dataset.shown = z;
    for (let step = 1; step <= AHEAD; step += 1) for (const near of [z + step, z - step]) if (near >= 0 && near < now.slices) picture(sliceOf(near));
  }

  const go = (z) => { const next = Math.min(now.slices - 1, Math.max(0, z)); if (now.slices && next !== now.z) { now.z = next; show(); } };
  const look = (place) => { const button = document.querySelectorAll(".preset")[place]; if (button && now.slices) { now.window = button.dataset.window; show(); } };
  const toggle = () => { now.outlined = !now.outlined; at("overlay")?.setAttribute("aria-pressed", now.outlined); at("mask").classList.toggle("off", !now.outlined); };
  document.querySelectorAll(".preset").forEach((button, place) => button.addEventListener("click", () => look(place)));
  at("overlay")?.addEventListener("click", toggle);
  at("scroll").addEventListener("input", (event) => go(Number(event.target.value) - 1));
  at("stage").addEventListener("wheel", (event) => { event.preventDefault(); go(now.z + Math.sign(event.deltaY)); }, { passive: false });

  // --- one study ---------------------------------------------------------------------------------

  async function open(place) {
    const facts = await ask(`/asked/${place}`);
    const sides = facts.sides ?? {};
    Object.assign(now, { place, slices: facts.slices, z: facts.first ?? 0, sided: "left" in sides });
    for (const edge of ["left", "right", "top", "bottom"]) document.querySelector(`#stage .side.${edge}`).textContent = sides[edge] ?? "";
    pictures.clear();
    at("study").textContent = `study ${place + 1} of ${now.of}: ${facts.study}`;
    at("scroll").max = Math.max(1, facts.slices);
    at("note").value = facts.note;
    for (const box of document.querySelectorAll("#subtypes input")) box.checked = facts.subtypes.includes(box.value);
    choose(facts.answer);
    at("standing-answer").textContent = facts.answer ? `You said: ${[facts.answer, ...facts.subtypes].join(", ")}. Recording again replaces it.` : "";
    if (!blind) tell(facts);
    if (facts.slices) await show();
    else { at("slice").hidden = at("mask").hidden = true; at("trouble").hidden = false; at("trouble").textContent = "There are no images of this study in the folder of the proof."; }
    document.querySelector("main").dataset.place = place;
  }

  function tell({ node, report }) {
    const lines = [["Result", node.flagged ? "flagged" : "not flagged"], ["Probability", node.probability?.toFixed(2) ?? "none"], ["Outlined volume", node.volume_ml ? `${node.volume_ml.toFixed(1)} mL` : "none"]];
    at("node").replaceChildren(...lines.flatMap((line) => line.map((words, place) => element(place ? "dd" : "dt", words))));
    at("remarks").replaceChildren(...node.remarks.map((words) => element("li", words)));
    at("says").textContent = report.says;
    at("sentence").textContent = report.sentence;
    at("rule").textContent = report.rule;
  }

  function element(kind, words) {
    const made = document.createElement(kind);
    made.textContent = words;
    return made;
  }

  // --- the answer --------------------------------------------------------------------------------

  function choose(answer) {
    now.answer = answer;
    for (const button of document.querySelectorAll("[data-answer]")) button.setAttribute("aria-pressed", button.dataset.answer === answer);
    at("subtypes").disabled = answer !== "bleeds";
    at("record").disabled = !answer;
  }

  function subtype(key) {
    const box = document.querySelector(`#subtypes input[data-key="${key}"]`);
    if (at("subtypes").disabled) return;
    box.checked = !box.checked;
  }

  let doing = Promise.resolve();
  /** Do one thing after another, so that no key is lost; say what went wrong. */
  function once(act) {
    doing = doing.then(act).catch((error) => say(error.message));
  }

  const record = () => once(async () => {
    if (!now.answer) { say("Say first whether it bleeds: B, N or C"); return; }
    const named = [...document.querySelectorAll("#subtypes input:checked")].map((box) => box.value);
    const body = { place: now.place, answer: now.answer, subtypes: now.answer === "bleeds" ? named : [], note: at("note").value };
    const facts = await ask("/decide", body);
    told(facts);
    document.activeElement?.blur();
    say(`Recorded: ${now.answer}`);
    const later = facts.open.find((place) => place > now.place) ?? facts.next;
    if (later === null) { say("All studies are decided."); await open(now.place); } else await open(later);
  });
  const undo = () => once(async () => {
    const { place } = await ask("/undo", {});
    if (place === null) { say("There is nothing to take back."); return; }
    say("Taken back");
    told(await ask("/progress"));
    await open(place);
  });
  const step = (by) => once(async () => { const place = now.place + by; if (place >= 0 && place < now.of) await open(place); });
  const toOpen = () => once(async () => { const facts = await ask("/progress"); if (facts.next === null) say("All studies are decided."); else await open(facts.next); });

  for (const button of document.querySelectorAll("[data-answer]")) button.addEventListener("click", () => choose(button.dataset.answer));
  at("record").addEventListener("click", record);
  at("undo").addEventListener("click", undo);
  at("before").addEventListener("click", () => step(-1));
  at("after").addEventListener("click", () => step(1));
  at("to-open").addEventListener("click", toOpen);
  onKeys({
    j: () => go(now.z + 1), k: () => go(now.z - 1), ArrowDown: () => go(now.z + 1), ArrowUp: () => go(now.z - 1),
    1: () => look(0), 2: () => look(1), 3: () => look(2), o: toggle,
    b: () => choose("bleeds"), n: () => choose("none"), c: () => choose("cannot tell"),
    e: () => subtype("E"), p: () => subtype("P"), v: () => subtype("V"), s: () => subtype("S"), d: () => subtype("D"),
    Enter: (event) => { if (event.target.closest?.("button")) return false; record(); return true; }, u: undo, "[": () => step(-1), "]": () => step(1),
  });

  // --- how far the person is ---------------------------------------------------------------------

  function told(facts) {
    heardOf(0);
    now.of = facts.of;
    at("bar").max = Math.max(1, facts.of);
    at("bar").value = facts.done;
    at("progress").textContent = `${facts.done} of ${facts.of} decided${facts.next === null ? ": all done" : ""}`;
    at("kappa").replaceChildren(...facts.kappa.map((one) => element("p", `${one.people.join(" and ")}: the same in ${one.agreed} of ${one.studies}; ${one.value === null ? "no kappa, both say one and the same" : `kappa ${one.value.toFixed(2)} (${one.low.toFixed(2)} to ${one.high.toFixed(2)})`}`)));
  }
  setInterval(async () => { try { told(await ask("/progress")); } catch { /* the mark says how old the page is */ } }, BEAT_MS);
  once(async () => { const facts = await ask("/progress"); told(facts); if (facts.of) await open(facts.next ?? 0); });
}
