// Acknowledge, agree, disagree, undo: the same on both pages.
import { ask, maySay, role, say } from "./talk.js";

const dialog = document.getElementById("disagree");

function asked(shown) {
  const form = dialog.querySelector("form");
  form.reset();
  form.elements.mistake.value = shown === "SUSPECTED" ? "FALSE_ALARM" : "MISSED";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const { mistake, place, reason } = form.elements;
      resolve(dialog.returnValue === "say" && { mistake: mistake.value, place: place.value, reason: reason.value });
    }, { once: true });
  });
}

/** Record what the reader says of a study; return whether it was recorded. */
export async function act(kind, study) {
  if (!maySay) {
    say(role ? "Your role may look, and not acknowledge." : "Nobody is signed in: this page can only be read.");
    return false;
  }
  const more = kind === "disagree" ? await asked(study.shown) : {};
  if (!more) return false;
  try {
    const path = `/studies/${study.case}/${kind === "undo" ? "undo" : "feedback"}`;
    const answer = await ask(path, kind === "undo" ? {} : { kind, saw: study.shown, ...more });
    say(`${answer.said[0].toUpperCase()}${answer.said.slice(1)}. U undoes it.`.replace("Undone. U undoes it.", "Undone."));
    return true;
  } catch (error) {
    say(error.status ? error.message : "The node does not answer: nothing was recorded.");
    return error.status === 409;
  }
}
