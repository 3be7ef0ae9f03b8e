/* A drawing whose parts are chosen (body of gr.HTML's js_on_load: element, trigger): with a click, Enter or Space; arrow
   keys go from part to part. The server explains the part; the drawing is marked here, so that the keyboard keeps its
   place. */
const partOf = (event) => event.target.closest && event.target.closest("[data-part][role=button]");
const partsOf = () => [...element.querySelectorAll("[data-part][role=button]")];
const choose = (part) => {
  partsOf().forEach((other) => other.setAttribute("aria-pressed", String(other === part)));
  const said = element.querySelector("[data-said]");
  if (said) said.textContent = part.getAttribute("aria-label") + ". Explained below the figure.";
  trigger("select", { part: part.dataset.part });
};
element.addEventListener("click", (event) => {
  const part = partOf(event);
  if (part) choose(part);
});
element.addEventListener("keydown", (event) => {
  const part = partOf(event);
  if (!part) return;
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step) {
    const parts = partsOf();
    const next = parts[parts.indexOf(part) + step];
    if (next) next.focus();
  } else if (event.key === "Enter" || event.key === " ") choose(part);
  else return;
  event.preventDefault();
});
