/* The tray of the Stability tab (body of gr.HTML's js_on_load: element, trigger): drag photos between the zones, or move
   them with a click or Enter. The server draws the tray anew. */
let dragged = null;
const move = (row, to) => trigger("select", { row: Number(row), to });
element.addEventListener("dragstart", (event) => {
  const tile = event.target.closest("button[data-row]");
  if (!tile) return;
  dragged = tile;
  event.dataTransfer.setData("text/plain", tile.dataset.row);
  event.dataTransfer.effectAllowed = "move";
  tile.classList.add("tray__dragged");
});
element.addEventListener("dragend", () => {
  if (dragged) dragged.classList.remove("tray__dragged");
  element.querySelectorAll(".tray__over").forEach((zone) => zone.classList.remove("tray__over"));
  dragged = null;
});
element.addEventListener("dragover", (event) => {
  const zone = event.target.closest("[data-zone]");
  if (!zone || !dragged) return;
  event.preventDefault();
  element.querySelectorAll(".tray__over").forEach((other) => other !== zone && other.classList.remove("tray__over"));
  zone.classList.add("tray__over");
});
element.addEventListener("drop", (event) => {
  const zone = event.target.closest("[data-zone]");
  if (!zone || !dragged) return;
  event.preventDefault();
  zone.classList.remove("tray__over");
  if (zone.dataset.zone === dragged.dataset.to) move(dragged.dataset.row, zone.dataset.zone);
});
element.addEventListener("click", (event) => {
  const tile = event.target.closest("button[data-row]");
  if (tile) move(tile.dataset.row, tile.dataset.to);
});
