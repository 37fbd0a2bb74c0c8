// Runs before the first paint: applies the selected theme, if there is one.
const chosen = localStorage.getItem("normlab-theme");
if (chosen) document.documentElement.dataset.theme = chosen;
