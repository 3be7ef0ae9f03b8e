/* The stage of the Inside tab (body of gr.HTML's js_on_load: element, trigger). A map shows its value under the mouse;
   a map that can be picked from takes clicks, and arrow keys that move its mark. */
const cellAt = (map, event) => {
  const box = map.getBoundingClientRect();
  const rows = Number(map.dataset.rows);
  const columns = Number(map.dataset.columns);
  const row = Math.min(rows - 1, Math.max(0, Math.floor(((event.clientY - box.top) / box.height) * rows)));
  const column = Math.min(columns - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * columns)));
  return [row, column];
};
const mapOf = (event) => event.target.closest && event.target.closest(".map__picture[data-values]");
element.addEventListener("mousemove", (event) => {
  const map = mapOf(event);
  if (!map) return;
  const [row, column] = cellAt(map, event);
  const value = map.dataset.values.split(",")[row * Number(map.dataset.columns) + column];
  const readout = map.querySelector(".map__value");
  readout.textContent = `row ${row + 1}, column ${column + 1}: ${value}`;
  readout.classList.add("map__value--shown");
});
element.addEventListener("mouseout", (event) => {
  const map = mapOf(event);
  if (map && !map.contains(event.relatedTarget)) map.querySelector(".map__value").classList.remove("map__value--shown");
});
const pick = (map, row, column) => {
  map.dataset.row = row;
  map.dataset.column = column;
  trigger("select", { row, column });
};
element.addEventListener("click", (event) => {
  const map = mapOf(event);
  if (map && map.dataset.pick) pick(map, ...cellAt(map, event));
});
let waiting;
element.addEventListener("keydown", (event) => {
  const map = mapOf(event);
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  if (!map || !map.dataset.pick || !moves[event.key]) return;
  event.preventDefault();
  const [down, across] = moves[event.key];
  const row = Math.min(Number(map.dataset.rows) - 1, Math.max(0, Number(map.dataset.row) + down));
  const column = Math.min(Number(map.dataset.columns) - 1, Math.max(0, Number(map.dataset.column) + across));
  map.dataset.row = row;
  map.dataset.column = column;
  map.querySelector(".map__value").textContent = `row ${row + 1}, column ${column + 1}`;
  map.querySelector(".map__value").classList.add("map__value--shown");
  clearTimeout(waiting);
  waiting = setTimeout(() => trigger("select", { row, column }), 250);
});
