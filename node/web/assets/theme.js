"use strict";
// Dark unless the reader chose otherwise on this machine. Runs before the page is drawn.
(() => {
  const names = { dark: "Dark", light: "Light", system: "System" };
  const stored = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const keep = (theme) => { try { localStorage.setItem("theme", theme); } catch { /* private window */ } };
  let theme = names[stored()] ? stored() : "dark";
  document.documentElement.dataset.theme = theme;
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const say = () => { button.textContent = names[theme]; button.setAttribute("aria-label", `Theme: ${names[theme]}`); };
    button.addEventListener("click", () => {
      const all = Object.keys(names);
      theme = all[(all.indexOf(theme) + 1) % all.length];
      document.documentElement.dataset.theme = theme;
      keep(theme);
      say();
    });
    say();
  });
})();
