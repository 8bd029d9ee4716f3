/** Runs before the first paint, as a classic script: the theme that was chosen earlier, if one was. */
try {
  const theme = localStorage.getItem("softprompt.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // storage is forbidden: the system's theme holds
}
