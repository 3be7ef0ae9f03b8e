/* A model's column in Find (body of gr.HTML's js_on_load: element, trigger): "Why this match?" opens Inside with
   the model and the rank (open_inside.js). */
element.addEventListener("click", (event) => {
  const button = event.target.closest && event.target.closest("[data-why]");
  if (!button) return;
  window.studioWhy = { role: button.dataset.why, rank: Number(button.dataset.rank) };
  trigger("select", window.studioWhy);
});
