/* Everything listens: show where the page was opened, frame 0 or #frame=120. */
const asked = /^#frame=(\d+)$/.exec(location.hash);
seek(asked ? Number(asked[1]) : 0);
window.worldkv = { clock, seek };
