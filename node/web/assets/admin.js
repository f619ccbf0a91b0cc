// The admin page: echo a destination, retry or cancel deliveries, keep the numbers fresh.
import { ask, fill, follow, onKeys, say } from "./talk.js";

const running = document.getElementById("running");

async function renew() {
  // Nothing moves under the pointer or the focused button.
  if (running.matches(":hover") || running.contains(document.activeElement)) return;
  const answer = await fetch("/admin/running", { signal: AbortSignal.timeout(8000) }).catch(() => null);
  if (answer?.ok) fill(running, await answer.text());
}

async function act(button) {
  const { echo, act, destination, number } = button.dataset;
  if (act === "cancel" && !confirm("Cancel this delivery? The destination will not get it.")) return;
  button.disabled = true;
  try {
    const what = destination === undefined ? { numbers: [Number(number)] } : { destination };
    const answer = echo === undefined ? await ask("/admin/deliveries", { act, ...what }) : await ask("/admin/echo", { destination: echo });
    say(answer.said);
  } catch (error) {
    say(error.status ? error.message : "The node does not answer: nothing is known to be done.");
  }
  button.disabled = false;
  if (act) { button.blur(); const fresh = await fetch("/admin/running").catch(() => null); if (fresh?.ok) fill(running, await fresh.text()); }
}

running.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) act(button);
});
onKeys({ Escape: () => location.assign("/") });
follow(renew);
setInterval(renew, 10000);
