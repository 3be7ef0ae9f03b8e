async (photo, database, batch) => {
  /* Goes to Inside, and once it stands there gives what is chosen in it: the match that match.js noted. */
  const { role, rank } = window.studioWhy;
  await window.studioOpenTab?.("Inside");
  return [JSON.parse(JSON.stringify(photo)), database, role, rank, batch];
}
