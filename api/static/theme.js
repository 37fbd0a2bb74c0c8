// Before anything is painted: the theme that was chosen, if one was.
const chosen = localStorage.getItem("normlab-theme");
if (chosen) document.documentElement.dataset.theme = chosen;
