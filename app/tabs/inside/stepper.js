/* Arrow keys in the stepper: gradio gives every radio button a name of its own, so the browser does not know that they
   belong together. */
document.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const box = event.target.closest && event.target.closest("#stepper");
  if (!step || !box || event.target.type !== "radio") return;
  event.preventDefault();
  const buttons = [...box.querySelectorAll("input[type=radio]")];
  const next = buttons[buttons.indexOf(event.target) + step];
  if (!next) return;
  next.focus();
  next.click();
});
