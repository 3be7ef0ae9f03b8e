/* Queries of the Benchmarks tab (body of gr.HTML's js_on_load: element, trigger): a button opens one in another tab. */
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-to]");
  if (button) trigger("select", { row: Number(button.dataset.row), to: button.dataset.to });
});
