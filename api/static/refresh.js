// Reloads a part of a page every few seconds while the page is visible.
import { connected } from "./app.js";

const part = document.getElementById("refreshed");

setInterval(async () => {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    connected(true);
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    part.replaceChildren(...page.getElementById("refreshed").childNodes);
  } catch {
    connected(false);
  }
}, Number(part.dataset.every));
