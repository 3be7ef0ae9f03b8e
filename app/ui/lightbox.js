/* Photos marked data-enlarge open large: click, Enter or Space; Escape or a click closes. No library, no requests. */
(() => {
  let dialog;
  const build = () => {
    dialog = document.createElement("dialog");
    dialog.className = "lightbox";
    dialog.setAttribute("aria-label", "Photo, enlarged");
    const figure = document.createElement("figure");
    const image = document.createElement("img");
    const caption = document.createElement("figcaption");
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = "Close";
    figure.append(image, caption, close);
    dialog.append(figure);
    dialog.addEventListener("click", () => dialog.close());
    document.body.append(dialog);
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest("[data-enlarge]");
    if (!button) return;
    const source = button.querySelector("img");
    if (!dialog) build();
    const image = dialog.querySelector("img");
    image.src = source.src;
    image.alt = source.alt;
    dialog.querySelector("figcaption").textContent = button.dataset.caption || source.alt;
    dialog.showModal();
  });
})();
