/* Deep links: keeps the page's address in step with what is chosen (see app/ui/links.py), and copies it. Names only: a
   private database or a photo of the visitor's own is left out. */
(() => {
  const state = {}; // values by tab and word
  const about = {}; // what app/ui/links.py says of each tab
  let active = null;
  let opened = false; // until the address has been read, it is not written
  let secret = null; // how keys of private databases begin

  /* where the page has a base, plotly clips its points by the address at which it drew, and write() changes that; "./" is
     where the page is anyway */
  document.querySelector('base[href="./"]')?.removeAttribute("href");

  const same = (a, b) => JSON.stringify(a ?? "") === JSON.stringify(b ?? "");
  const remember = (tab, values) => {
    about[tab.tab] = tab;
    state[tab.tab] = Object.fromEntries(tab.fields.map((word, at) => [word, values[at]]));
  };
  const isPrivate = (value) => [].concat(value ?? []).some((one) => String(one).startsWith(secret));

  /* [[word, value], …] of the open tab; what is as on a fresh page is left out */
  const pairs = () => {
    const tab = about[active];
    const found = [["tab", active]];
    if (!tab) return found;
    const values = state[active];
    const own = isPrivate(values.database);
    tab.fields.forEach((word, at) => {
      const value = values[word];
      if (own && ["database", "query", "batch_mates"].includes(word)) return;
      const needed = word === "database" && values.query;
      if (value === null || value === undefined || value === "" || (same(value, tab.first[at]) && !needed)) return;
      [].concat(value).forEach((one) => found.push([word, String(one)]));
    });
    return found;
  };
  const known = () => new Set(["tab", ...Object.values(about).flatMap((tab) => tab.fields)]);

  const write = () => {
    if (!opened || !active) return;
    const search = new URLSearchParams(window.location.search);
    known().forEach((word) => search.delete(word));
    const own = pairs();
    const first = active === document.querySelector("#tabs [role=tab]")?.id.replace(/^tab-|-button$/g, "");
    if (own.length > 1 || !first) own.forEach(([word, value]) => search.append(word, value));
    const text = search.toString();
    const address = window.location.pathname + (text ? `?${text}` : "") + window.location.hash;
    if (address !== window.location.pathname + window.location.search + window.location.hash) {
      window.history.replaceState(window.history.state, "", address);
    }
  };

  const link = () => {
    const search = new URLSearchParams(active ? pairs() : []).toString();
    return window.location.origin + window.location.pathname + (search ? `?${search}` : "");
  };
  const copied = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const field = document.createElement("textarea"); // pages without https, and frames that may not use the other way
      field.value = text;
      field.setAttribute("readonly", "");
      field.style.cssText = "position:fixed;opacity:0";
      document.body.append(field);
      field.select();
      const done = document.execCommand("copy");
      field.remove();
      return done;
    }
  };
  let fading;
  const say = (words) => {
    const told = document.querySelector("[data-link-told]");
    if (!told) return;
    told.textContent = words;
    clearTimeout(fading);
    fading = setTimeout(() => (told.textContent = ""), 6000);
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest && event.target.closest("[data-copy-link]");
    if (!button) return;
    const done = await copied(link());
    button.focus();
    const tab = state[active] || {};
    const mine = tab.query === "own photo" ? "photo is" : "";
    const own = isPrivate(tab.database) ? "places are" : mine;
    const left = own ? ` Your own ${own} not part of it.` : "";
    say(done ? `Link copied.${left}` : "Copying is not allowed here. Copy the address of the page instead.");
  });

  window.studioLinks = {
    note(tab, values) {
      remember(tab, values);
      if (tab.tab === active) write();
    },
    open(tab, values) {
      remember(tab, values);
      active = tab.tab;
      write();
    },
    ready(tabs, values, prefix) {
      secret = prefix;
      let at = 0;
      tabs.forEach((tab) => remember(tab, values.slice(at, (at += tab.fields.length))));
      const selected = document.querySelector("#tabs [role=tab][aria-selected=true]");
      active = active || (selected ? selected.id.replace(/^tab-|-button$/g, "") : null);
      opened = true;
      write();
    },
  };
})();
