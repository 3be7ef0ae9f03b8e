/* One selection for Find, Inside and Stability: each notes what was chosen in it (photo, database, batch), and a tab that is
   opened takes over what was chosen last in another one. Values stay in the browser. */
(() => {
  const chosen = {}; // by tab: [photo, database, batch]
  let latest = null;
  const same = (a, b) => (a?.path ?? a?.url ?? a ?? "") === (b?.path ?? b?.url ?? b ?? "");
  const copy = (value) => (value && typeof value === "object" ? JSON.parse(JSON.stringify(value)) : value);
  window.studioSelection = {
    /* A value of a tab changed; a tab that is shown again reports its old ones, which is no choice. */
    note(tab, values) {
      const old = chosen[tab] ?? [];
      if (!values.every((value, at) => same(value, old[at]))) latest = tab;
      chosen[tab] = values.map(copy); // a copy: two fields that share one photo tell each other of every change for ever
    },
    /* What a tab that is opened takes over: [photo, database, batch] of the tab in which something was chosen last, undefined
       for what stays. A batch of Stability is a list of photos, Figures has none; that of the others says how many follow,
       written "+3" where Stability gets it. */
    take(tab, values) {
      const theirs = chosen[latest];
      if (!theirs || latest === tab || !theirs[0]) return [];
      const [photo, database, count] = theirs;
      const own = tab === "stability" ? `+${count}` : count;
      const batch = latest === "stability" || count === undefined ? values[2] : own;
      return [photo, database, batch].slice(0, values.length).map((one, at) => (same(one, values[at]) ? undefined : copy(one)));
    },
  };
})();
