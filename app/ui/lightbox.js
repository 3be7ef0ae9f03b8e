/* Photos marked data-enlarge open large: click, Enter or Space; Escape closes. Those of an answer (data-compare) open beside
   the visitor's own photo (data-query), with the previous and the next match and a slider that wipes from one to the other.
   No library, no requests. */
(() => {
  let dialog;
  let group = []; // the photos of the answer that is looked at
  let at = 0;
  const part = (name) => dialog.querySelector(`[data-part="${name}"]`);
  const build = () => {
    dialog = document.createElement("dialog");
    dialog.className = "lightbox";
    dialog.setAttribute("aria-label", "Photo, enlarged");
    dialog.innerHTML = `<figure>
      <div class="lightbox__pair"><img data-part="query" alt=""><img data-part="photo" alt=""></div>
      <label class="lightbox__wipe" data-part="wipe">Wipe <input type="range" min="0" max="100" value="0"
        aria-label="Wipe from the match to your photo"></label>
      <figcaption data-part="words" role="status"></figcaption>
      <footer><button type="button" data-part="previous">‹ Previous</button><button type="button" data-part="next">Next ›
        </button><button type="button" data-part="why">Why this match?</button><button type="button" data-part="close">
        Close</button></footer></figure>`;
    const wipe = part("wipe").querySelector("input");
    const wiped = () => {
      dialog.style.setProperty("--wipe", `${wipe.value}%`);
      dialog.classList.toggle("lightbox--wiped", Number(wipe.value) > 0);
    };
    wipe.addEventListener("input", wiped);
    dialog.addEventListener("close", () => ((wipe.value = 0), wiped()));
    dialog.addEventListener("click", (event) => {
      const name = event.target.dataset.part;
      if (event.target === dialog || name === "close") dialog.close();
      else if (name === "previous") show(at - 1);
      else if (name === "next") show(at + 1);
      else if (name === "why") {
        dialog.close();
        group[at].closest(".card").querySelector("[data-why]").click();
      }
    });
    dialog.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || event.target === wipe) return;
      event.preventDefault();
      if (group[at + step]) show(at + step);
    });
    document.body.append(dialog);
  };
  const show = (next) => {
    at = next;
    const button = group[at];
    const source = button.querySelector("img");
    const query = button.closest("[data-compare]") && document.querySelector("[data-query]");
    const image = part("photo");
    image.src = source.src;
    image.alt = source.alt;
    dialog.classList.toggle("lightbox--pair", Boolean(query));
    part("query").hidden = part("wipe").hidden = !query;
    if (query) {
      part("query").src = query.src;
      part("query").alt = query.alt;
    }
    part("words").textContent = button.dataset.caption || source.alt;
    const card = button.closest(".card");
    part("why").hidden = !(card && card.querySelector("[data-why]"));
    part("previous").hidden = part("next").hidden = group.length < 2;
    part("previous").disabled = at === 0;
    part("next").disabled = at === group.length - 1;
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest("[data-enlarge]");
    if (!button) return;
    if (!dialog) build();
    const answer = button.closest("[data-compare]");
    group = answer ? [...answer.querySelectorAll(".cards [data-enlarge]")] : [button];
    show(group.indexOf(button));
    dialog.showModal();
    part("close").focus(); // not the slider, so that arrow keys go from match to match
  });
})();
