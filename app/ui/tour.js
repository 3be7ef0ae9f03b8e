/* The guided tour, and buttons marked data-go: they do clicks for the visitor (open a tab, press something in it).
   The steps are data in the page (tour.py). Nothing starts by itself and nothing is blocked. */
(() => {
  const KEY = "scicevpr-tour";
  const PATIENCE_MS = 240000;
  const page = document.documentElement;
  const remember = () => {
    page.dataset.tour = "seen";
    try {
      localStorage.setItem(KEY, "seen");
    } catch {} // storage may be forbidden, for instance in a frame
  };
  try {
    if (localStorage.getItem(KEY)) page.dataset.tour = "seen";
  } catch {}

  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  const seen = (selector) => [...document.querySelectorAll(selector)].find((element) => element.getClientRects().length);
  const appears = async (selector, still, patience = PATIENCE_MS) => {
    for (const end = Date.now() + patience; still() && Date.now() < end; await pause(100)) {
      const found = seen(selector);
      if (found) return found;
    }
    return null;
  };
  const openTab = (window.studioOpenTab = async (name) => {
    const offered = document.querySelectorAll("#tabs > .tab-wrapper :is([role=tab], .overflow-dropdown button)");
    const button = [...offered].find((other) => other.textContent.trim() === name);
    if (!button || button.getAttribute("aria-selected") === "true") return;
    button.click();
    await pause(600); // what is in a tab listens a moment after it is seen
  });
  /* What is there and no longer worked on: two events of a tab may follow each other. */
  const settled = async (selector, still) => {
    await appears(selector, still);
    const end = Date.now() + PATIENCE_MS;
    for (let calm = 0; still() && calm < 4 && Date.now() < end; await pause(150)) {
      calm = seen(selector) && !seen(".progress-text") ? calm + 1 : 0;
    }
  };
  /* Moves: ["tab", name], ["click", selector], ["wait", selector], ["pick", there, selector] (click unless `there`). */
  const act = async (moves, still = () => true) => {
    for (const [kind, what, instead] of moves) {
      if (!still()) return;
      if (kind === "tab") await openTab(what);
      else if (kind === "wait") await settled(what, still);
      else if (kind === "pick" && (await appears(what, still, 1500))) continue;
      else {
        const target = await appears(instead || what, still);
        if (target && still()) target.click();
      }
    }
  };

  let number = -1; // of the open step; -1: closed
  let visit = 0; // counts what was shown, so that whatever belongs to an earlier step stops
  let opener = null;
  const panel = () => document.querySelector(".tour");
  const part = (name) => panel().querySelector(name);
  const steps = () => JSON.parse(panel().dataset.steps);
  const point = (target) => {
    document.querySelectorAll(".tour-target").forEach((old) => old.classList.remove("tour-target"));
    if (!target) return;
    target.classList.add("tour-target");
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    target.scrollIntoView({ block: "start", behavior: calm ? "auto" : "smooth" });
  };
  const tell = (text) => {
    const told = part(".tour__told");
    if (told.textContent !== text) told.textContent = text; // it is read aloud when it changes
  };
  const lead = (next) => {
    part("[data-tour-do]").classList.toggle("tour__button--main", !next);
    part("[data-tour-next]").classList.toggle("tour__button--main", next);
  };
  const outcome = (step) => {
    const lines = step.read.map(([name, selector]) => {
      const found = seen(selector);
      const sign = found && found.querySelector("[aria-hidden]");
      const words = found ? found.textContent.slice(sign ? sign.textContent.length : 0).trim() : "";
      return name && words ? `${name}: ${words}` : words;
    });
    return lines.filter(Boolean).join("\n") || (step.offer ? "✓ Done." : "");
  };
  const show = async (next) => {
    const all = steps();
    const step = all[next];
    const mine = ++visit;
    const still = () => visit === mine;
    number = next;
    page.classList.add("tour-open");
    panel().hidden = false;
    part(".tour__count").textContent = `Step ${next + 1} of ${all.length}`;
    part(".tour__title").textContent = step.title;
    const words = () => (step.before && !seen(step.done) ? step.before : step.text);
    part(".tour__words").textContent = words();
    tell("");
    part("[data-tour-back]").disabled = next === 0;
    part("[data-tour-next]").textContent = next === all.length - 1 ? "Finish" : "Next";
    const button = part("[data-tour-do]");
    button.textContent = step.offer;
    button.hidden = !step.offer;
    button.disabled = false;
    lead(!step.offer);
    part(".tour__title").focus({ preventScroll: true });
    point(null);
    await openTab(step.tab);
    const target = await appears(step.look_at, still);
    if (still()) point(target);
    for (; still(); await pause(250)) {
      if (part(".tour__words").textContent !== words()) part(".tour__words").textContent = words();
      const working = button.disabled && step.follow && seen(step.follow);
      if (working && working.textContent.trim()) tell(`Working … ${working.textContent.trim()}`);
      if (button.disabled || !step.done || !seen(step.done)) continue;
      lead(true);
      tell(outcome(step));
    }
  };
  const doIt = async () => {
    const step = steps()[number];
    const mine = visit;
    const still = () => visit === mine;
    const button = part("[data-tour-do]");
    button.disabled = true;
    tell("Working …");
    await act(step.moves, still);
    const done = await appears(step.done, still);
    if (!still()) return;
    button.disabled = false;
    tell(done ? outcome(step) : "This takes longer than it should. Try it by hand, or go on.");
    point(seen(step.look_at));
  };
  const close = () => {
    visit++;
    number = -1;
    point(null);
    panel().hidden = true;
    page.classList.remove("tour-open");
    const back = [opener, ...document.querySelectorAll("[data-tour-start]"), document.querySelector("#tabs [role=tab]")];
    back.find((element) => element && element.getClientRects().length)?.focus();
  };

  document.addEventListener("click", (event) => {
    const at = (selector) => event.target.closest && event.target.closest(selector);
    const go = at("[data-go]");
    const started = at("[data-tour-start]");
    if (go) act(JSON.parse(go.dataset.go));
    else if (started && panel()) {
      opener = started;
      remember();
      show(0);
    } else if (at("[data-tour-dismiss]")) remember();
    else if (at("[data-tour-close]")) close();
    else if (at("[data-tour-do]")) doIt();
    else if (at("[data-tour-back]")) show(number - 1);
    else if (at("[data-tour-next]")) number + 1 < steps().length ? show(number + 1) : close();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && number >= 0 && panel().contains(document.activeElement)) close();
  });
})();
