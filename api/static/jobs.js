// Keeps the list of jobs up to date: an event of any job reloads the rows of this page.
import { at, follow, onReturn, throttled } from "./app.js";
import { moment } from "./times.js";

const rows = document.getElementById("rows");
const live = document.getElementById("live");

const refresh = throttled(async () => {
  const answer = await fetch(at(`/jobs/rows${location.search}`), { headers: { Accept: "text/html" } });
  if (!answer.ok) { setTimeout(refresh, 3000); return; }  // no later event may come to trigger another try
  const focused = document.activeElement?.closest?.("tr[data-job]")?.dataset.job;
  rows.innerHTML = await answer.text();
  // The focused element keeps the focus, although its row is replaced.
  if (focused) rows.querySelector(`tr[data-job="${focused}"] a`)?.focus();
  live.textContent = `Up to date at ${moment(Date.now(), true)}`;
}, 1000);

follow("/v1/events", refresh, live.dataset.after);
onReturn(refresh);
// Progress does not send an event here.
setInterval(() => { if (!document.hidden && rows.querySelector(".state.running")) refresh(); }, 3000);
