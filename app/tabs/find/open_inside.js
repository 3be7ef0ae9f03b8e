(photo, database, batch) => {
  /* Goes to Inside; gives what is chosen there: the match that was asked about, as match.js noted it. */
  const { role, rank } = window.studioWhy;
  window.studioOpenTab?.("Inside");
  return [JSON.parse(JSON.stringify(photo)), database, role, rank, batch];
}
